"""A core node that can be watched: also what its machines tell each other, which never leaves it as an effect."""

from __future__ import annotations

from collections.abc import Callable

from edged.core.effects import Effect
from edged.core.events import Event
from edged.core.node import Node


class ObservedNode(Node):
    """A ``Node`` that shows every event to ``watch`` after its machines have read it; a watcher changes nothing."""

    watch: Callable[[Event], None]

    def _dispatch(self, event: Event, now: float) -> list[Effect]:
        effects = super()._dispatch(event, now)
        self.watch(event)
        return effects
