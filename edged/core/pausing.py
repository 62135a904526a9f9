"""What this node's user wants of whoever leads: that a job stands, or goes on. Repeated until the list shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from edged.core.effects import Effect, SendMessage
from edged.core.events import Event, LeaderChanged, PauseAsked, ResumeAsked
from edged.core.ids import JobId, NodeId
from edged.core.joblist import ENDED, JobList
from edged.core.messages import JobState, Message, PauseRequest, ResumeRequest

REPEAT_SECONDS: Final = 1.0
"""A request that shows no effect is sent again this often."""

PATIENCE_SECONDS: Final = 60.0
"""No longer than this: the leader has heard it by then, and somebody else may want the opposite."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants of one job: that it stands, or that it goes on; and until when that is repeated.

    ``told``: a leader has been asked once. That it goes on is said at least once: an earlier pause may be on its way.
    """

    stands: bool
    until: float
    told: bool = False


class Pausing:
    """The newest wish about each job; ``jobs`` is the node's job list, owned by the caller."""

    def __init__(self, jobs: JobList) -> None:
        """Begin with no wishes."""
        self._jobs = jobs
        self._wishes: dict[JobId, Wish] = {}
        self._leader: NodeId | None = None
        self._repeat_at: float | None = None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then send what is due."""
        match event:
            case PauseAsked(job) | ResumeAsked(job):
                self._wishes[job] = Wish(isinstance(event, PauseAsked), now + PATIENCE_SECONDS)
                self._repeat_at = now
            case LeaderChanged(leader):
                self._leader = leader
                self._repeat_at = now
            case _:
                pass
        # A wish that has come true is over, whatever comes after: somebody else may want the opposite by now.
        self._wishes = {job: wish for job, wish in self._wishes.items() if self._is_open(job, wish, now)}
        if self._repeat_at is None or now < self._repeat_at:
            return []
        self._repeat_at = now + REPEAT_SECONDS if self._wishes else None
        if self._leader is None:
            return []
        requests = [_request(job, wish) for job, wish in self._wishes.items()]
        self._wishes = {job: replace(wish, told=True) for job, wish in self._wishes.items()}
        return [SendMessage(self._leader, request) for request in requests]

    def deadline(self) -> float | None:
        """Return when to ask again."""
        return self._repeat_at

    def check(self) -> None:
        """Assert that a wish is repeated."""
        assert not self._wishes or self._repeat_at is not None, "a wish that is never told"

    def _is_open(self, job: JobId, wish: Wish, now: float) -> bool:
        record = self._jobs.records.get(job)
        if record is None or record.state in ENDED or now >= wish.until:
            return False
        return (record.state is JobState.PAUSED) != wish.stands or not (wish.stands or wish.told)


def _request(job: JobId, wish: Wish) -> Message:
    return PauseRequest(job) if wish.stands else ResumeRequest(job)
