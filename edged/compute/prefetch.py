"""Draws micro-batches ahead of being asked, in the loader processes that a job wishes for (``workers``).

A node asks for works in feeding order (``JobSpec.works_at``), so what comes next is known. After a jump (a replay of
older steps) drawing starts afresh from there; what is drawn does not depend on who draws it.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from edged.compute.sampling import Sampler
from edged.compute.user_code import UserCode
from edged.core.job import JobSpec, Work
from edged.errors import JobError

_AHEAD_PER_WORKER = 2


class Prefetcher:
    """A ``Sampler`` with worker processes. They end with this object (``close``) or with this process."""

    def __init__(self, sampler: Sampler, workers: int) -> None:
        """Start nothing yet; ``workers`` is at least 1."""
        self._sampler = sampler
        self._workers = workers
        self._expected: Iterator[Work] = iter(())
        self._drawn: Iterator[dict[str, torch.Tensor] | _Failure] = iter(())

    def draw(self, work: Work) -> dict[str, torch.Tensor]:
        """Like ``Sampler.draw``; raises ``JobError``."""
        with UserCode("the loader's processes failed"):
            if next(self._expected, None) != work:
                self._expected = iter(())  # until there is a loader: where none can be made, the next draw tries again
                ahead = following(self._sampler.spec, work)
                self._drawn = iter(loader(_MicroBatches(self._sampler), ahead, self._workers))
                self._expected = islice(following(self._sampler.spec, work), 1, None)
            drawn = next(self._drawn)
        if isinstance(drawn, _Failure):
            error = JobError(drawn.sentence)
            error.add_note(drawn.detail)
            raise error
        return drawn

    def close(self) -> None:
        """End the worker processes."""
        self._expected, self._drawn = iter(()), iter(())


@dataclass(frozen=True, slots=True)
class _Failure:
    """A ``JobError`` on its way out of a worker: the loader would bury its sentence in a traceback."""

    sentence: str
    detail: str


class _MicroBatches(Dataset[dict[str, torch.Tensor] | _Failure]):
    """A job's micro-batches as a map-style data set whose indices are works."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __getitem__(self, work: Work) -> dict[str, torch.Tensor] | _Failure:
        try:
            return self._sampler.draw(work)
        except JobError as error:
            return _Failure(str(error), "".join(traceback.format_exception(error.__cause__ or error)))


def loader(
    items: Dataset[Any], keys: Iterator[Any], workers: int, begin: Callable[[int], None] | None = None
) -> DataLoader[Any]:
    """The items with these keys, in order, from worker processes that work ahead; ``begin`` is called in each."""
    forks = "fork" in multiprocessing.get_all_start_methods()
    return DataLoader(
        items,
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=_AHEAD_PER_WORKER,
        generator=torch.Generator(),
        multiprocessing_context="fork" if forks else None,
        worker_init_fn=begin,
    )


def following(spec: JobSpec, work: Work) -> Iterator[Work]:
    """``work`` and all works after it, in feeding order, to the end of the job."""
    for version in range(work.version, spec.steps + 1):
        yield from (later for later in spec.works_at(version) if later >= work)


def _as_it_is(drawn: Any) -> Any:
    return drawn
