"""How long the source waits for a word from a node of the plan before it calls it stuck.

Membership finds nodes that died; this finds those that live and say nothing: a stopped process, a link cut one way, a
computation that never ends (``pace.py``). A pipeline that moves proves that all its nodes live, so only while it stands
still is anyone's silence counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from edged.core.ids import NodeId

LEAST_SECONDS = 2.0
"""No silence shorter than this is called stuck: it is four questions that were not answered."""

STEPS_OF_SILENCE = 4.0
"""Nor any shorter than so many steps, as long as they usually take."""


class Patience:
    """Remembers when each node was heard last, and when the pipeline moved last."""

    def __init__(self, nodes: Iterable[NodeId], now: float) -> None:
        """All of ``nodes`` count as heard at ``now``."""
        self._heard = dict.fromkeys(nodes, now)
        self._moved = now
        self._stepped: float | None = None
        self._step_seconds = 0.0

    def hear(self, node: NodeId, now: float) -> None:
        """A node has said something about the plan."""
        if node in self._heard:
            self._heard[node] = now

    def move(self, now: float) -> None:
        """A forward, a result or an update has been told that was not known before."""
        self._moved = now

    def step(self, now: float) -> None:
        """A step is done on all hops."""
        if self._stepped is not None:
            self._step_seconds = max(now - self._stepped, 0.5 * self._step_seconds)
        self._stepped = now

    def forgive(self, now: float) -> None:
        """This node itself was not there to hear anyone."""
        self._heard = dict.fromkeys(self._heard, now)
        self._moved = now

    def stuck(self, now: float) -> list[NodeId]:
        """Return the nodes that have been silent for too long while nothing moved."""
        limit = now - max(LEAST_SECONDS, STEPS_OF_SILENCE * self._step_seconds)
        return [node for node, heard in self._heard.items() if heard < limit] if self._moved < limit else []
