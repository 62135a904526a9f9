"""Clipping by global norm across nodes: everyone tells everyone the norms of its parameters' gradients.

::

    own norms of version v ──> all others            then wait until all others' norms of v are here
    every half second        ──> those still missing  ("again": please say yours again)

Whoever is asked again answers, even when it has already gone on to the next step: nobody can be more than one step
ahead of a node that waits, so the norms of the last two steps are kept.
"""

from __future__ import annotations

from edged.core.effects import Effect, SendMessage
from edged.core.ids import NodeId, Stamp
from edged.core.messages import GradientNorms
from edged.errors import BrokenInvariantError

REPEAT_SECONDS = 0.5

NormList = tuple[tuple[int, float], ...]
"""(index of a parameter in the program's order, 2-norm of its gradient)."""


class NormExchange:
    """One node's side of the exchange. ``version`` is always that which the update leads to."""

    def __init__(self, stamp: Stamp, node: NodeId, nodes: tuple[NodeId, ...]) -> None:
        """``nodes``: all of the plan."""
        self._stamp = stamp
        self._others = tuple(other for other in nodes if other != node)
        self._own: dict[int, NormList] = {}
        self._theirs: dict[int, dict[NodeId, NormList]] = {}
        self._waiting_for: int | None = None
        self._repeat_at = 0.0

    def tell(self, version: int, norms: NormList, now: float) -> list[Effect]:
        """This node's norms are known: tell all others, and wait for theirs."""
        self._own = {v: kept for v, kept in self._own.items() if v >= version - 1} | {version: norms}
        self._theirs = {v: kept for v, kept in self._theirs.items() if v >= version}
        self._waiting_for = version
        self._repeat_at = now + REPEAT_SECONDS
        return [self._message(other, version, again=False) for other in self._others]

    def receive(self, sender: NodeId, message: GradientNorms, version: int) -> list[Effect]:
        """Another node's norms have come while this node works towards ``version``; answer if it asks for ours."""
        if sender not in self._others:
            return []
        if version <= message.version <= version + 1:
            self._theirs.setdefault(message.version, {})[sender] = message.norms
        if message.again and message.version in self._own:
            return [self._message(sender, message.version, again=False)]
        return []

    def joined(self) -> NormList | None:
        """The norms of all the program's parameters, ascending, once all are here; ends the waiting."""
        if self._waiting_for is None or self._missing():
            return None
        version, self._waiting_for = self._waiting_for, None
        everyone = [self._own[version], *self._theirs.get(version, {}).values()]
        joined = sorted(entry for norms in everyone for entry in norms)
        if len({index for index, _ in joined}) != len(joined):
            raise BrokenInvariantError(f"two nodes sent a norm for one parameter, version {version}")
        return tuple(joined)

    def remind(self, now: float) -> list[Effect]:
        """Ask again those whose norms have not come in time."""
        if self._waiting_for is None or now < self._repeat_at:
            return []
        self._repeat_at = now + REPEAT_SECONDS
        return [self._message(other, self._waiting_for, again=True) for other in self._missing()]

    def deadline(self) -> float | None:
        """When to call ``remind``."""
        return None if self._waiting_for is None else self._repeat_at

    def _missing(self) -> list[NodeId]:
        there = self._theirs.get(self._waiting_for or 0, {})
        return [other for other in self._others if other not in there]

    def _message(self, to: NodeId, version: int, *, again: bool) -> SendMessage:
        return SendMessage(to, GradientNorms(self._stamp, version, self._own[version], again=again))
