"""The cleaner: what the end of a plan or of a job means for everyone who holds something of it."""

from __future__ import annotations

from collections.abc import Callable

from edged.core.effects import DropJob, DropStages
from edged.core.messages import DataParcel, Parcel, ProgramParcel, SoundingParcel
from edged.roles.copies import Copies
from edged.roles.keeper import Keeper
from edged.roles.pump import Table
from edged.roles.source import Source
from edged.roles.worker import Worker


class Cleaner:
    """Drops stages, parcels, samples, programs, feeders, held layers and copies of samples."""

    def __init__(
        self,
        worker: Worker,
        source: Source,
        keeper: Keeper,
        copies: Copies,
        drop_parcels: Callable[[Callable[[Parcel], bool]], None],
    ) -> None:
        """``drop_parcels``: the transport's."""
        self._worker = worker
        self._source = source
        self._keeper = keeper
        self._copies = copies
        self._drop_parcels = drop_parcels

    def table(self) -> Table:
        """The ends of plans and jobs."""
        return {DropStages: self._drop_stages, DropJob: self._drop_job}

    def _drop_stages(self, effect: DropStages) -> None:
        stamp = effect.stamp
        of_no_plan = (ProgramParcel, DataParcel, SoundingParcel)
        self._drop_parcels(lambda header: not isinstance(header, of_no_plan) and header.stamp == stamp)
        self._worker.drop_stages(stamp)
        self._source.drop_samples(stamp.job)

    def _drop_job(self, effect: DropJob) -> None:
        self._worker.drop_job(effect.job)
        self._source.drop_job(effect.job)
        self._keeper.drop_job(effect.job)
        self._copies.drop_job(effect.job)
