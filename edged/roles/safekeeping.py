"""What the leader said of committed versions, and how old they are; for people, who want to know what they may kill."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from edged.core.ids import JobId, NodeId
from edged.core.messages import Committed, StepReport
from edged.core.protection import without

STEPS_KEPT = 500


@dataclass(slots=True)
class _Word:
    newest: Committed
    held: Committed | None
    """The newest word that names a version: its holders keep it until another is committed."""

    heard_at: float


class Safekeeping:
    """The newest ``Committed`` of every job."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._words: dict[JobId, _Word] = {}
        self._steps: dict[JobId, deque[tuple[int, float]]] = {}

    def commit(self, message: Committed) -> None:
        """Take the leader's word, unless it is of an older plan."""
        job = message.stamp.job
        known = self._words.get(job)
        if known is not None and message.stamp < known.newest.stamp:
            return
        held = message if message.version >= 0 else (known.held if known else None)
        same = known is not None and known.held is not None and held is not None and known.held.version == held.version
        heard_at = known.heard_at if known is not None and same else self._clock()
        self._words[job] = _Word(message, held, heard_at)

    def step(self, report: StepReport) -> None:
        """A step was done: from then on its version could be committed."""
        steps = self._steps.setdefault(report.stamp.job, deque(maxlen=STEPS_KEPT))
        while steps and steps[-1][0] >= report.step:  # these were rolled back
            steps.pop()
        steps.append((report.step, self._clock()))

    def lose(self, node: NodeId) -> None:
        """The process of ``node`` has ended: who comes back under its name holds nothing until the leader says so."""
        for word in self._words.values():
            word.newest = without(word.newest, node)
            word.held = None if word.held is None else without(word.held, node)

    def forget(self, listed: Collection[JobId]) -> None:
        """Let go of jobs that are not listed any more."""
        for store in (self._words, self._steps):
            for job in [job for job in store if job not in listed]:
                del store[job]

    def protects(self, job: JobId) -> bool:
        """Whether the plan that runs has committed a version."""
        word = self._words.get(job)
        return word is not None and word.newest.version >= 0

    def committed(self, job: JobId) -> Committed | None:
        """Where the newest committed version lies, also one of the plan before; who copies the samples now."""
        word = self._words.get(job)
        if word is None:
            return None
        return word.newest if word.held is None else replace(word.held, data_holder=word.newest.data_holder)

    def age(self, job: JobId) -> float | None:
        """Seconds since the committed version was the newest there was; ``None`` if there is none."""
        word = self._words.get(job)
        if word is None or word.held is None:
            return None
        done = next((at for step, at in self._steps.get(job, ()) if step == word.held.version), word.heard_at)
        return max(0.0, self._clock() - min(done, word.heard_at))
