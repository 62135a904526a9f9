"""Supervision: the service manager hears that this node can be reached, what it is about, and that its loop goes round.

Everything is said from the event loop. A loop that hangs says nothing, and then the service manager ends the process
and starts it again; what runs on the compute thread may take as long as it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edged.core.messages import JobState, MemberState
from edged.roles.observer import Observer, why_it_stands
from edged.roles.outlook import newest_step
from edged.telemetry.supervisor import Supervisor

EXTENSION_SECONDS = 30
"""A node that starts or leaves asks for so much more time, at every look: however slow its disk, or its links."""

OPENING_SECONDS = 3600.0
"""A node that is not ready after that asks for no more: something hangs."""

LOOK_SECONDS = 1.0
"""How often it is looked whether there is anything new to say."""


class Supervision:
    """Speaks to a ``Supervisor``: ``open`` at once, ``start`` when others can reach this node, ``stop``, ``close``."""

    def __init__(self, supervisor: Supervisor) -> None:
        """Say nothing yet."""
        self._supervisor = supervisor
        self._said: dict[str, str] = {}
        self._running: asyncio.Task[None] | None = None
        self._sentence: Callable[[], str] | None = None
        self._stops = False

    def say(self, **facts: str) -> None:
        """Say what was not said before; what was not taken is said again the next time."""
        news = {name: value for name, value in facts.items() if self._said.get(name) != value}
        if self._supervisor and news and self._supervisor.tell(news):
            self._said |= news

    def open(self, status: str) -> None:
        """Ask for the time that it takes until others can reach this node: all that its disk holds is read first."""
        self.say(STATUS=status)
        self._running = asyncio.get_running_loop().create_task(self._run())

    def start(self, sentence: Callable[[], str]) -> asyncio.Task[None]:
        """Be ready from now on. ``sentence``: what this node is about just now. The task ends only if that raises."""
        self._sentence = sentence
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
        elif self._supervisor:
            self._say_ready(sentence)
        return self._running

    def stop(self, status: str) -> None:
        """Say the last words. The loop goes round until ``close``, and asks for the time that it takes."""
        self._stops = True
        if self._running is not None:
            self.say(STOPPING="1", STATUS=status)

    async def close(self) -> None:
        """Say no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        beat_seconds = self._supervisor.watchdog_seconds / 2
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell() if self._supervisor else asyncio.Event().wait())
            if beat_seconds:
                group.create_task(self._beat(beat_seconds))

    async def _tell(self) -> None:
        clock = asyncio.get_running_loop().time
        patience = clock() + OPENING_SECONDS
        while True:
            if self._sentence is not None and not self._stops:
                self._say_ready(self._sentence)
            elif self._stops or clock() < patience:
                self._supervisor.tell({"EXTEND_TIMEOUT_USEC": f"{EXTENSION_SECONDS}000000"})
            await asyncio.sleep(LOOK_SECONDS)

    def _say_ready(self, sentence: Callable[[], str]) -> None:
        self.say(READY="1", STATUS=sentence())

    async def _beat(self, period_seconds: float) -> None:
        while True:
            if self._sentence is not None:  # until then the time to start is what counts
                self._supervisor.tell({"WATCHDOG": "1"})
            await asyncio.sleep(period_seconds)


def sentence(why_not_ready: str, observer: Observer) -> str:
    """What a node is about, in one line."""
    if why_not_ready:
        return f"not ready: {why_not_ready}"
    alive = sum(record.state is MemberState.ALIVE for record in observer.members.values())
    cluster = f"{alive} node{'s' * (alive != 1)} alive, {observer.name(observer.leader)} leads"
    job = observer.current()
    if job is None:
        return f"{cluster}; no job"
    state = job.state.name.lower()
    if job.state is JobState.RUNNING:
        state = f"step {newest_step(observer, job)} of {job.steps}"
    return f"{cluster}; {job.name}: {why_it_stands(job) or state}"
