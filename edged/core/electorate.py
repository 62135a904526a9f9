"""The voters: how many, who, and what a majority of them is. Free functions over the ``Electorate`` record.

The record is changed by one voter at a time; majorities of neighbouring records overlap, so no two leaders of one term
can be elected by different records (Ongaro, "Consensus: Bridging Theory and Practice", section 4.1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from edged.core.ids import NodeId
from edged.core.messages import Electorate, MemberRecord, MemberState

MOST_VOTERS = 7
SMALLEST_MAJORITY = 2


@dataclass(frozen=True, slots=True)
class SavedVote:
    """What a voter keeps on its disk: the record that ``SaveVote`` writes."""

    term: int
    voted_for: NodeId | None
    electorate: Electorate | None


def found(lineage: str, term: int, founder: NodeId) -> Electorate:
    """The first record of a new lineage."""
    return Electorate(lineage, term, 1, (founder,))


def is_newer(one: Electorate, other: Electorate) -> bool:
    """Whether ``one`` is a later record of the same lineage than ``other``."""
    return (one.term, one.number) > (other.term, other.number)


def is_majority(of: Collection[NodeId], voters: Collection[NodeId]) -> bool:
    """Whether the nodes ``of`` hold more than half of ``voters``."""
    return 2 * len(set(of) & set(voters)) > len(voters)


def fitness(record: MemberRecord) -> tuple[float, NodeId]:
    """Sorts the fittest first: the fastest, those not yet measured last, then by id."""
    return (record.slowness or float("inf"), record.node)


def is_gone(record: MemberRecord | None) -> bool:
    """Whether the process certainly runs no more: said goodbye, or proven dead."""
    if record is None:
        return False
    return record.state is MemberState.LEFT or (record.state is MemberState.DEAD and record.proven)


def wanted_voters(members: int) -> int:
    """The largest odd number up to ``members`` and 7; both, at two."""
    if members == SMALLEST_MAJORITY:
        return members
    return max(1, min(MOST_VOTERS, members - 1 + members % 2))


def rank(node: NodeId, voters: Iterable[NodeId], members: Mapping[NodeId, MemberRecord], without: NodeId | None) -> int:
    """How many present voters are fitter than ``node``; ``without``: the leader that fell silent."""
    rivals = [
        members[voter]
        for voter in voters
        if voter not in {node, without} and voter in members and members[voter].state <= MemberState.SUSPECT
    ]
    own = members.get(node)
    return len(rivals) if own is None else sum(fitness(rival) < fitness(own) for rival in rivals)


def next_change(
    electorate: Electorate, leader: NodeId, members: Mapping[NodeId, MemberRecord], followers: Collection[NodeId]
) -> tuple[NodeId, ...] | None:
    """The voters after the one change that is most needed now, or ``None``.

    ``followers`` are the members that have lately accepted the leader; only they become voters.
    """
    voters = electorate.voters
    departed = [v for v in voters if v != leader and v in members and members[v].state > MemberState.SUSPECT]
    if departed:
        return tuple(voter for voter in voters if voter != departed[0])
    candidates = sorted(
        (members[node] for node in followers if node in members and members[node].state <= MemberState.SUSPECT),
        key=fitness,
    )
    fresh = [record.node for record in candidates if record.node not in voters and record.node != leader]
    wanted = wanted_voters(len(voters) + len(fresh))
    if len(voters) < wanted:
        return (*voters, fresh[0])
    if len(voters) > wanted:
        known = [members[voter] for voter in voters if voter != leader and voter in members]
        if known:
            worst = max(known, key=fitness).node
            return tuple(voter for voter in voters if voter != worst)
    return None


def succeed(electorate: Electorate, term: int, voters: tuple[NodeId, ...]) -> Electorate:
    """The next record of the same lineage."""
    return replace(electorate, term=term, number=electorate.number + 1, voters=voters)
