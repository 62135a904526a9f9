"""Lineages: which history of the cluster survives when two of them meet. Free functions over the ``Electorate`` record.

A lineage is founded once. Voters that can reach no majority go on as a *fork* of it: after a while, if the others are
only silent, and at once, if they are proven dead (a cut that refuses connects looks the same, and may make each side
prove it of the other). A fork is a lineage of its own, which remembers where it left::

    a: voters 0 1 2 3 4 --+--> a: voters 0 1 2      keeps the name: only a majority may go on under it
                          +--> b: voters 3 4        a fork: remembers the record of a with the five voters

What a fork computes is *tentative* while a majority may have gone on elsewhere: on meeting it may be discarded, and
computed again.
"""

from __future__ import annotations

from collections.abc import Collection

from edged.core.electorate import is_majority
from edged.core.ids import NodeId
from edged.core.messages import Ancestor, Electorate

MOST_ANCESTORS = 8
"""Forks of forks of forks remember so many records; older ones they have in common with nobody who is left."""


def fork(electorate: Electorate, lineage: str, term: int, voters: tuple[NodeId, ...]) -> Electorate:
    """The first record of a fork of ``electorate``, whose ``voters`` have agreed to it."""
    ancestors = (*electorate.ancestors, _tip(electorate))
    return Electorate(lineage, term, 1, voters, ancestors[-MOST_ANCESTORS:])


def descends(one: Electorate, other: Electorate) -> bool:
    """Whether ``one`` is a fork of ``other``, or a fork of such a fork."""
    return any(ancestor.lineage == other.lineage for ancestor in one.ancestors)


def inherits(one: Electorate, other: Electorate, gone: Collection[NodeId]) -> bool:
    """Whether ``one`` is a fork of ``other`` that all its voters belong to, but for those that are ``gone``."""
    return descends(one, other) and {*one.voters, *gone} >= {*other.voters}


def missing(electorate: Electorate, gone: Collection[NodeId]) -> tuple[NodeId, ...]:
    """The voters whose verdict a fork still waits for; nothing for a lineage that is none, or has its majority back.

    The voters are those of the record that the fork left; ``gone`` are those that certainly run no more: they cannot
    have gone on elsewhere.
    """
    if not electorate.ancestors:
        return ()
    left = electorate.ancestors[-1].voters
    there = {*electorate.voters, *gone}
    return () if is_majority(there, left) else tuple(voter for voter in left if voter not in there)


def why_outranked(own: Electorate, other: Electorate, own_steps: int, other_steps: int) -> str:
    """Why ``own`` gives way to ``other`` where they meet, as the end of a sentence; empty if it does not.

    In this order: a majority of the last voters that both had in common; more steps done; more voters (only of two
    lineages that have nothing in common); the higher term; the smaller id.
    """
    mine, theirs, related = _claims(own, other)
    if mine != theirs:
        return "it has the majority of the voters that both had in common" if theirs else ""
    if own_steps != other_steps:
        return f"it has done {other_steps} steps, this one {own_steps}" if other_steps > own_steps else ""
    if not related and len(own.voters) != len(other.voters):
        return "it has more voters" if len(other.voters) > len(own.voters) else ""
    if own.term != other.term:
        return "its term is higher" if other.term > own.term else ""
    return "its id is the smaller one" if other.lineage < own.lineage else ""


def _claims(own: Electorate, other: Electorate) -> tuple[bool, bool, bool]:
    """Whether either has a majority of the last voters in common, and whether there have been any."""
    mine, theirs = _path(own), _path(other)
    common = next((lineage for lineage in reversed(mine) if lineage in theirs), None)
    if common is None:
        return False, False, False
    if common in {own.lineage, other.lineage}:  # one has kept the name, which takes a majority
        return common == own.lineage, common == other.lineage, True
    left = min(mine[common], theirs[common], key=lambda record: (record.term, record.number))
    return is_majority(own.voters, left.voters), is_majority(other.voters, left.voters), True


def _path(electorate: Electorate) -> dict[str, Ancestor]:
    """The lineages that led to this one, oldest first, itself last."""
    return {record.lineage: record for record in (*electorate.ancestors, _tip(electorate))}


def _tip(electorate: Electorate) -> Ancestor:
    return Ancestor(electorate.lineage, electorate.term, electorate.number, electorate.voters)
