"""One change of plan as people are told of it: why, what it cost, who took over what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from edged.core.ids import NodeId
from edged.core.inventory import Transfers, moved_bytes, ranges, ranges_in_words
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord, RecoveryReport
from edged.core.plan import Plan
from edged.core.watch import named

LEAVES = "leaves"
"""The verb for a node whose layers are moved before it goes."""

LOSSES = frozenset({"died", "expelled"})
"""Causes by which nodes are lost, without a word before; several of both kinds are called ``died``."""

_WEIGHT = {"died": 3, "expelled": 3, "link": 2}
"""What a change is called if several things happen before it is through; everything else weighs 1."""


class Recovery:
    """Remembers what has happened since the job last went on. ``before`` is the plan by which it ran, if any.

    ``cause`` is the weightiest thing that happened, ``verbs`` says of each node concerned what it did ("died",
    "joined"); ``since`` is when the first was known; ``reached`` is the last step done.
    """

    def __init__(
        self, cause: str, verbs: Mapping[NodeId, str], before: Plan | None, reached: int, since: float
    ) -> None:
        """The first thing has happened."""
        self.cause = cause
        self.verbs = dict(verbs)
        self.before = before
        self.reached = reached
        self.since = since

    def also(self, cause: str, verbs: Mapping[NodeId, str], reached: int) -> None:
        """Something more has happened."""
        self.reached = max(self.reached, reached)
        if cause == self.cause or {cause, self.cause} == LOSSES:
            self.cause = cause if cause == self.cause else "died"
            self.verbs.update(verbs)
        elif _WEIGHT.get(cause, 1) > _WEIGHT.get(self.cause, 1):
            self.cause, self.verbs = cause, dict(verbs)

    @property
    def planned(self) -> bool:
        """Whether the job could have gone on as it was."""
        return self.cause in {"joined", "slow", "paused"} or LEAVES in self.verbs.values()

    def headline(self, members: Mapping[NodeId, MemberRecord]) -> str:
        """Say what happened: ``pi-4 died``."""
        match self.cause:
            case "leader":
                return "the leader changed"
            case "restarted":
                return "all nodes were restarted"
            case "paused":
                return "the job was resumed"
            case "slow" if not self.verbs:
                return "devices and links have changed"
            case _:
                groups = {verb: [n for n, its in self.verbs.items() if its == verb] for verb in self.verbs.values()}
                return " and ".join(f"{named(nodes, members)} {_plural(verb, nodes)}" for verb, nodes in groups.items())

    def report(
        self,
        plan: Plan,
        spec: JobSpec,
        version: int,
        moves: Transfers,
        members: Mapping[NodeId, MemberRecord],
        source: NodeId | None,
        now: float,
    ) -> RecoveryReport:
        """Say how it ended: ``plan`` runs from ``version``; ``source`` is the node that took over the data, if any."""
        seconds, again = now - self.since, max(self.reached - version, 0)
        parts = [self.headline(members), f"{self._consequence(plan, moves, members)} {seconds:.1f} s"]
        if source is not None:
            parts.append(f"{named([source], members)} goes on with the data")
        parts.append({0: "no step lost", 1: "1 step is done again"}.get(again, f"{again} steps are done again"))
        if self.cause == "restarted":
            parts[-1] = f"it goes on from version {version}"
        size_bytes = moved_bytes(spec, moves)
        return RecoveryReport(
            plan.stamp, self.cause, tuple(self.verbs), version, again, seconds, size_bytes, "; ".join(parts)
        )

    def _consequence(self, plan: Plan, moves: Transfers, members: Mapping[NodeId, MemberRecord]) -> str:
        """Say where the layers went, or came from, up to the word before the seconds."""
        one = len(self.verbs) == 1
        if self.cause == "joined" and (news := _layers_of(plan, self.verbs)):
            return f"{'it runs' if one else 'they run'} {ranges_in_words(ranges(news))} after"
        lost = set() if self.before is None else _layers_of(self.before, self.verbs)
        if not lost or self.cause not in {*LOSSES, "left"}:
            return "the job went on after"
        layers = f"{'its' if one else 'their'} {ranges_in_words(ranges(lost))}"
        if self.planned:
            hops = [hop for route in plan.routes for hop in route.hops]
            takers = dict.fromkeys(hop.node for hop in hops if lost & _span(hop.first_layer, hop.last_layer))
            return f"{layers} went to {named(takers, members)} in"
        pieces = [move for its in moves.values() for move in its if lost & _span(move.first_layer, move.last_layer)]
        return f"{layers} came back from {named(dict.fromkeys(move.holder for move in pieces), members)} in"


def cause_of(verbs: Collection[str]) -> str:
    """What it is called that nodes have done all this: ``left``, ``expelled``, or ``died``."""
    return {frozenset({"left"}): "left", frozenset({"was expelled"}): "expelled"}.get(frozenset(verbs), "died")


def _layers_of(plan: Plan, nodes: Iterable[NodeId]) -> set[int]:
    hops = [hop for node in nodes for _, _, hop in plan.hops_of(node)]
    return {layer for hop in hops for layer in _span(hop.first_layer, hop.last_layer)}


def _span(first: int, last: int) -> set[int]:
    return set(range(first, last + 1))


def _plural(verb: str, nodes: list[NodeId]) -> str:
    return verb if len(nodes) == 1 else {LEAVES: "leave", "was restarted": "were restarted"}.get(verb, verb)
