"""One round of asking for votes: a trial (pre-vote), the vote itself, or the question whether to found a lineage."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from edged.core.electorate import is_majority
from edged.core.ids import NodeId

THOUSAND = 1000
FORK_BITS = 30


@dataclass(slots=True)
class Ballot:
    """Votes for one candidate in one ``term``.

    ``rest`` is empty for an ordinary ballot, which needs a majority of ``voters``. Otherwise every other voter is
    proven dead, no majority is left, and all of ``rest`` must agree to go on as a lineage of their own. ``granted``
    maps a voter to whether it is *restored*: started from disk, without having heard a leader since.
    """

    term: int
    trial: bool
    voters: tuple[NodeId, ...]
    rest: tuple[NodeId, ...]
    deadline: float
    granted: dict[NodeId, bool] = field(default_factory=dict)
    refused: dict[NodeId, str] = field(default_factory=dict)

    def won(self, *, patient: bool) -> bool:
        """Whether the votes suffice.

        Voters that all come from disk may have been replaced while they were away: they need every vote, unless they
        have been ``patient`` (waited for the others long enough).
        """
        if self.rest:
            return all(voter in self.granted for voter in self.rest)
        if not is_majority(self.granted, self.voters):
            return False
        witnessed = not all(self.granted.values())
        return witnessed or patient or len(self.granted) == len(self.voters)


def survivors(voters: tuple[NodeId, ...], gone: set[NodeId]) -> tuple[NodeId, ...]:
    """The voters that must all agree because no majority is left; empty where a majority could still be had."""
    rest = tuple(voter for voter in voters if voter not in gone)
    return () if is_majority(rest, voters) else rest


def same_thousand(one: int, other: int) -> bool:
    """Whether two terms may be of one lineage: those that have parted count in thousands drawn anew."""
    return one // THOUSAND == other // THOUSAND


def fork_term(term: int, rng: Random) -> int:
    """The term in which a fork begins, or a lineage beside another, or goes on that has heard of a higher thousand.

    Nobody can ask those who are cut off, or dead, which terms they have used, and stamps of plans hold the term and no
    lineage. So every fork draws its thousand, and no two sides of a cut count the same terms.
    """
    return (term // THOUSAND + 1 + rng.getrandbits(FORK_BITS)) * THOUSAND
