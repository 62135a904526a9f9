"""Agreeing on an update across nodes: the gradients' norms for clipping, and whether the update is left out.

::

    own norms and verdict of version v ──> all others    then wait until all others' of v are here
    every half second                  ──> those still missing  ("again": please say yours again)

Whoever is asked again answers, even when it has already gone on to the next step: nobody can be more than one step
ahead of a node that waits, so what was said in the last two steps is kept. One node that has seen a loss that is not
finite is enough for all to skip the update.
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.core.effects import Effect, SendMessage
from edged.core.ids import NodeId, Stamp
from edged.core.messages import GradientNorms
from edged.errors import BrokenInvariantError

REPEAT_SECONDS = 0.5

NormList = tuple[tuple[int, float], ...]
"""(index of a parameter in the program's order, 2-norm of its gradient)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one node, or all together, say of an update: the norms, and whether it is to be skipped."""

    norms: NormList
    skip: bool


class NormExchange:
    """One node's side of the exchange. ``version`` is always that which the update leads to."""

    def __init__(self, stamp: Stamp, node: NodeId, nodes: tuple[NodeId, ...]) -> None:
        """``nodes``: all of the plan."""
        self._stamp = stamp
        self._others = tuple(other for other in nodes if other != node)
        self._own: dict[int, Verdict] = {}
        self._theirs: dict[int, dict[NodeId, Verdict]] = {}
        self._waiting_for: int | None = None
        self._repeat_at = 0.0

    def tell(self, version: int, own: Verdict, now: float) -> list[Effect]:
        """This node's norms and verdict are known: tell all others, and wait for theirs."""
        self._own = {v: kept for v, kept in self._own.items() if v >= version - 1} | {version: own}
        self._theirs = {v: kept for v, kept in self._theirs.items() if v >= version}
        self._waiting_for = version
        self._repeat_at = now + REPEAT_SECONDS
        return [self._message(other, version, again=False) for other in self._others]

    def receive(self, sender: NodeId, message: GradientNorms, version: int) -> list[Effect]:
        """Another node's norms have come while this node works towards ``version``; answer if it asks for ours."""
        if sender not in self._others:
            return []
        if version <= message.version <= version + 1:
            self._theirs.setdefault(message.version, {})[sender] = Verdict(message.norms, message.skip)
        if message.again and message.version in self._own:
            return [self._message(sender, message.version, again=False)]
        return []

    def joined(self) -> Verdict | None:
        """The norms of all the program's parameters, ascending, and what all do, once all are here; ends the wait."""
        if self._waiting_for is None or self._missing():
            return None
        version, self._waiting_for = self._waiting_for, None
        everyone = [self._own[version], *self._theirs.get(version, {}).values()]
        joined = sorted(entry for said in everyone for entry in said.norms)
        if len({index for index, _ in joined}) != len(joined):
            raise BrokenInvariantError(f"two nodes sent a norm for one parameter, version {version}")
        return Verdict(tuple(joined), any(said.skip for said in everyone))

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
        own = self._own[version]
        return SendMessage(to, GradientNorms(self._stamp, version, own.norms, again=again, skip=own.skip))
