"""Orders that the user gives to jobs and to other nodes: pause, resume, leave, expel; and the exchange of the key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from edged.core.events import ExpelAsked, KeyRotateAsked, LeaveAsked, LeaveNodeAsked, PauseAsked, ResumeAsked
from edged.core.ids import JobId, NodeId
from edged.core.joblist import ENDED
from edged.core.messages import JobRecord, JobState, MemberRecord, MemberState
from edged.errors import ConfigError, JobError, JobFailedError
from edged.roles.observer import Observer
from edged.roles.pump import Post
from edged.transport.security import new_cluster_key

PAUSE_SECONDS = 30.0
"""How long ``pause`` waits for the step under way: it may be a long one."""

RESUME_SECONDS = 5.0
EXPEL_SECONDS = 10.0
ROTATE_SECONDS = 15.0
"""How long ``rotate`` waits for those that are there: one that has just fallen silent is held for dead by then."""

LOOK_SECONDS = 0.05

_PRESENT = frozenset({MemberState.ALIVE, MemberState.SUSPECT})


Taken = Callable[[bytes], Collection[NodeId] | None]
"""A cluster key -> the other members that are known to have it; ``None`` while this node has not got it itself."""


class Orders:
    """Each order becomes an event for the core; the answer tells what has become of it."""

    def __init__(self, observer: Observer, post: Post, taken: Taken) -> None:
        """``observer`` knows the names; ``post`` hands events to the core; ``taken`` tells who has a new key."""
        self._observer = observer
        self._post = post
        self._taken = taken

    async def pause(self, record: JobRecord) -> dict[str, Any]:
        """Let a job stand after the step it is in. Raises ``JobError`` if it is over."""
        self._refuse_ended(record)
        if record.state is not JobState.PAUSED:
            self._post(PauseAsked(record.job))
            await _until(lambda: self._state(record.job) in {JobState.PAUSED, *ENDED}, PAUSE_SECONDS)
        return self._answer(record.job)

    async def resume(self, record: JobRecord) -> dict[str, Any]:
        """Put a paused job back into the queue. Raises ``JobError`` if it is over; others are left as they are."""
        self._refuse_ended(record)
        if record.state is JobState.PAUSED:
            self._post(ResumeAsked(record.job))
            await _until(lambda: self._state(record.job) is not JobState.PAUSED, RESUME_SECONDS)
        return self._answer(record.job)

    def leave(self, wanted: object) -> dict[str, Any]:
        """Let this node (``wanted`` is ``None``) or another one leave gracefully; the answer names it.

        One that has gone already is left as it is.
        """
        member = self._own() if wanted is None else self.find(wanted)
        if member.state in _PRESENT:
            self._post(LeaveAsked() if member.node == self._observer.own_id else LeaveNodeAsked(member.node))
        return {"node": member.node, "name": member.name}

    async def expel(self, wanted: object) -> dict[str, Any]:
        """Shut another node out for good, also one that is not there."""
        member = self.find(wanted)
        if member.node == self._observer.own_id:
            raise ConfigError("a node cannot expel itself: `edged leave` takes it out; or expel it from another node")
        self._post(ExpelAsked(member.node))
        await _until(lambda: self._observer.members[member.node].expelled, EXPEL_SECONDS)
        if not self._observer.members[member.node].expelled:
            raise JobFailedError(
                f"{member.name} could not be expelled in {EXPEL_SECONDS:.0f} s: nobody leads, or the leader cannot be "
                "reached; `edged status` tells. The order stands until this node ends"
            )
        return {"node": member.node, "name": member.name}

    async def rotate(self) -> dict[str, Any]:
        """Give the cluster a new key; the answer tells by name who has ``taken`` it, and who has not.

        ``lacking`` are there, as far as is known, but have not said that they have it; ``absent`` are not there.
        """
        key = new_cluster_key().encode("ascii")
        self._post(KeyRotateAsked(key))
        await _until(lambda: self._taken(key) is not None and not self._lacking(key), ROTATE_SECONDS)
        if self._taken(key) is None:
            raise JobFailedError(
                f"there is no new key after {ROTATE_SECONDS:.0f} s: nobody leads, or the leader cannot be reached; "
                "`edged status` tells. The order stands until this node ends"
            )
        lacking = self._lacking(key)
        there = {node for node, member in self._observer.members.items() if member.state in _PRESENT}
        absent = [node for node, member in self._observer.members.items() if node not in there and not member.expelled]
        return {"taken": self._named(there - lacking), "lacking": self._named(lacking), "absent": self._named(absent)}

    def _lacking(self, key: bytes) -> set[NodeId]:
        """Who is there and has not said that it has this key."""
        has = {self._observer.own_id, *(self._taken(key) or ())}
        members = self._observer.members.items()
        return {node for node, member in members if member.state in _PRESENT and node not in has}

    def _named(self, nodes: Collection[NodeId]) -> list[str]:
        return sorted(self._observer.name(node) for node in nodes)

    def find(self, wanted: object) -> MemberRecord:
        """The member with this id (or its beginning) or name; those that are there win over those that have gone.

        Raises ``JobFailedError`` if there is none or more than one, ``ConfigError`` if ``wanted`` is no text.
        """
        if not isinstance(wanted, str) or not wanted:
            raise ConfigError("the request lacks 'node': a node's name or id (see `edged status`)")
        members = list(self._observer.members.values())
        found = [member for member in members if member.node == wanted]
        found = found or [member for member in members if member.name == wanted]
        found = found or [member for member in members if member.node.startswith(wanted)]
        found = [member for member in found if member.state in _PRESENT] or found
        if len(found) > 1:
            ids = ", ".join(sorted(member.node for member in found))
            raise JobFailedError(f"{len(found)} nodes are called {wanted!r}: type one of their ids, {ids}")
        if not found:
            known = ", ".join(sorted(f"{member.name} ({member.node})" for member in members))
            raise JobFailedError(f"no node is called {wanted!r}; known nodes: {known}")
        return found[0]

    def _own(self) -> MemberRecord:
        return self._observer.members[self._observer.own_id]

    def _state(self, job: JobId) -> JobState:
        record = self._observer.jobs().get(job)
        return record.state if record is not None else JobState.STOPPED

    def _answer(self, job: JobId) -> dict[str, Any]:
        record = self._observer.jobs().get(job)
        step = record.step if record is not None else 0
        return {"job": job, "state": self._state(job).name.lower(), "step": step}

    def _refuse_ended(self, record: JobRecord) -> None:
        if record.state in ENDED:
            raise JobError(f"job {record.name} is {record.state.name.lower()}: it can be neither paused nor resumed")


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when ``condition`` holds, but not later than ``seconds`` from now: a leader may be missing."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - the list has no bell
        await asyncio.sleep(LOOK_SECONDS)
