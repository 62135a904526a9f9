"""The source's side of a second home for samples: rows from the feeder, one parcel after the other, as they are wanted.

::

    CopyData ──> feeder: copy row 0 ── rows ──> DataParcel ──> holder
    holder ── DataWanted (core) ── SendRows ──> feeder: copy row n ── rows ──> DataParcel ──> holder ...

The holder asks for each parcel, so no more than one is under way and nothing queues up. The feeder reads when it has
nothing else to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edged.core.effects import CopyData, SendRows
from edged.core.events import DataNotCopied
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec, Phase
from edged.core.messages import DataParcel
from edged.roles.feeders import SomeRows
from edged.roles.handed import Handed
from edged.roles.pump import Post, Table
from edged.roles.worker import SendParcel

MOST_BYTES: Final = 2 * 2**30
"""Samples that take more are not copied: on a quarter of a 100 Mbit/s link these take a dozen minutes."""

MOST_ROW_BYTES: Final = 2**26
"""A single sample that takes more is not copied: it would hold up what is computed with."""


@dataclass(slots=True)
class _Copying:
    """One job's samples on their way. ``wanted``: what the feeder has been asked for; ``given_up``: for good."""

    spec: JobSpec
    to: NodeId
    wanted: tuple[Phase, int] | None
    given_up: bool = False


class Copier:
    """Copies the samples of jobs that are drawn here to other nodes."""

    def __init__(self, jobs: Mapping[JobId, Handed], post: Post, send_parcel: SendParcel) -> None:
        """``jobs``: those of the source, who changes them."""
        self._jobs = jobs
        self._post = post
        self._send_parcel = send_parcel
        self._copying: dict[JobId, _Copying] = {}

    def table(self) -> Table:
        """Beginning, and going on."""
        return {CopyData: self._copy, SendRows: self._send_rows}

    def attached(self, job: JobId) -> None:
        """The job's feeder has connected: what an earlier one did not give is asked for again."""
        if (copying := self._copying.get(job)) is not None:
            self._ask(copying)

    def take(self, job: JobId, rows: SomeRows | str) -> None:
        """What the feeder has read; or the reason why these samples cannot be copied."""
        copying = self._copying.get(job)
        if copying is None or copying.given_up or copying.wanted is None:
            return
        if isinstance(rows, str):
            self._give_up(copying, rows)
        elif (rows.phase, rows.first_row) == copying.wanted:
            copying.wanted = None
            if problem := _too_large(copying.spec, rows):
                self._give_up(copying, problem)
                return
            header = DataParcel(job, rows.phase, rows.first_row, rows.rows, rows.tensors, rows.layouts)
            self._send_parcel(copying.to, header, rows.buffers)

    def drop_job(self, job: JobId) -> None:
        """The job is over."""
        self._copying.pop(job, None)

    def _copy(self, effect: CopyData) -> None:
        """Begin with the first row; a holder that has some says so."""
        known = self._copying.get(effect.spec.job)
        if known is None or not known.given_up:
            copying = self._copying[effect.spec.job] = _Copying(effect.spec, effect.to, (Phase.TRAIN, 0))
            self._ask(copying)

    def _send_rows(self, effect: SendRows) -> None:
        copying, wanted = self._copying.get(effect.job), (effect.phase, effect.first_row)
        if copying is not None and not copying.given_up and copying.to == effect.to and copying.wanted != wanted:
            copying.wanted = wanted
            self._ask(copying)

    def _ask(self, copying: _Copying) -> None:
        handed = self._jobs.get(copying.spec.job)
        if copying.wanted is not None and handed is not None and handed.link is not None:
            handed.link.copy(*copying.wanted)

    def _give_up(self, copying: _Copying, reason: str) -> None:
        copying.given_up, copying.wanted = True, None
        self._post(DataNotCopied(copying.spec.job, reason))


def _too_large(spec: JobSpec, rows: SomeRows) -> str:
    """Why these are too many bytes to be copied, by the first rows; empty if they are not."""
    row = sum(tensor.size_bytes for tensor in rows.tensors) / max(1, rows.rows)
    total = row * (spec.samples + spec.eval_samples)
    if total > MOST_BYTES:
        return f"they take about {total / 1e9:.1f} GB, more than {MOST_BYTES / 1e9:.1f} GB"
    return f"one takes {row / 1e6:.0f} MB, more than {MOST_ROW_BYTES / 1e6:.0f} MB" if row > MOST_ROW_BYTES else ""
