"""Copies of samples: every micro-batch has the bits and the layout of the original, or there is no copy."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset, default_collate

from edged import Job
from edged.compute.background import Background, LoaderReader
from edged.compute.prefetch import following
from edged.compute.rows import ROWS_BYTES, RowReader, WantRows
from edged.compute.sampling import Sampler
from edged.compute.tensors import to_wire
from edged.core.job import Phase, Work
from edged.errors import JobError
from tests.compute.copies import copy_samples, open_copy, read

FIRST = WantRows(Phase.TRAIN, 0)


class Made:
    """A data set of ``size`` samples that a function makes of their number."""

    def __init__(self, size: int, make: Callable[[int], Any]) -> None:
        self.size = size
        self.make = make

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def numbers(index: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(index))


def job(data: Any, **changes: Any) -> Job:
    given: dict[str, Any] = {
        "model": nn.Linear(2, 1),
        "objective": lambda net, batch: net(batch).mean(),
        "data": data,
        "optimizer": partial(torch.optim.SGD, lr=0.1),
        "batch_size": 8,
        "micro_batches": 2,
        "epochs": 2,
        "seed": 5,
    }
    return Job(**(given | changes))


def mixed(index: int) -> dict[str, Any]:
    pair = (numbers(index, 3).to(torch.bfloat16), torch.tensor(index % 2 == 0))
    return {"x": numbers(index, 2, 5), "pair": pair, "label": index, "scale": float(index)}


def halves(samples: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two slices of one block: neither is contiguous, and the second does not begin at aligned memory."""
    whole = torch.stack(samples)
    return whole[:, :3], whole[:, 3:]


def spread(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(samples)[:, None].expand(-1, 4, -1)


JOBS: dict[str, Callable[[], Job]] = {
    "tuples": lambda: job(TensorDataset(torch.randn(21, 3), torch.arange(21)), drop_last=False),
    "dicts": lambda: job(Made(16, mixed), eval_data=Made(11, mixed)),
    "uneven": lambda: job(Made(21, partial(numbers)), drop_last=False, eval_data=Made(3, partial(numbers))),
    "dropped": lambda: job(Made(21, lambda i: numbers(i, 4)), drop_last=True),
    "in order": lambda: job(Made(10, lambda i: numbers(i, 4)), shuffle=False, drop_last=False),
    "few steps": lambda: job(Made(21, lambda i: numbers(i, 4)), max_steps=1, drop_last=False),
    "channels last": lambda: job(Made(16, lambda i: numbers(i, 5, 6, 3).permute(2, 0, 1))),
    "slices": lambda: job(Made(17, lambda i: numbers(i, 7)), collate=halves, drop_last=False),
    "expanded": lambda: job(Made(17, lambda i: numbers(i, 7)), collate=spread, drop_last=False),
    "numpy": lambda: job(Made(16, lambda i: np.full((2, 3), i, dtype=np.float32))),
    "big": lambda: job(Made(16, lambda i: numbers(i, ROWS_BYTES // 10))),
    "not numbers": lambda: job(Made(16, lambda i: torch.tensor([float("nan"), -0.0, i]))),
    "empty": lambda: job(Made(16, lambda i: (numbers(i, 2), numbers(i, 0)))),
}


@pytest.mark.parametrize("name", JOBS)
def test_every_micro_batch_of_a_copy_has_the_bits_and_the_layout_of_the_original(name: str, tmp_path: Path) -> None:
    made = JOBS[name]()
    original = Sampler(made)
    copy_samples(made, RowReader(Sampler(made)), tmp_path / "one")
    copy = open_copy(tmp_path / "one")
    copy_samples(made, copy, tmp_path / "two")  # a copy of the copy, for whoever takes over next
    second = open_copy(tmp_path / "two")
    works = list(following(original.spec, Work(0, Phase.TRAIN, 0)))
    assert copy.spec == original.spec
    for work in works:
        expected = [to_wire(key, tensor) for key, tensor in original.draw(work).items()]
        for each in (copy, second):
            assert [to_wire(key, tensor) for key, tensor in each.draw(work).items()] == expected, work


def test_rows_come_in_pieces_that_are_not_too_large() -> None:
    reader = RowReader(Sampler(job(Made(64, lambda i: numbers(i, ROWS_BYTES // 40)))))
    rows = read(reader, FIRST)
    (tensor,) = rows.tensors.values()
    assert tensor.shape[0] == 10
    assert tensor.nbytes <= ROWS_BYTES
    assert [spec.shape[0] for spec in rows.layouts] == [4]
    assert read(reader, WantRows(Phase.TRAIN, 10)).layouts == ()
    assert torch.equal(read(reader, WantRows(Phase.TRAIN, 63)).tensors["batch"][0], numbers(63, ROWS_BYTES // 40))


def test_one_row_at_least_is_read_however_large_it_is() -> None:
    reader = RowReader(Sampler(job(Made(8, lambda i: numbers(i, ROWS_BYTES)))))
    assert read(reader, WantRows(Phase.TRAIN, 5)).tensors["batch"].shape[0] == 1


def flipping() -> Callable[[int], torch.Tensor]:
    calls = [0]

    def make(index: int) -> torch.Tensor:
        calls[0] += index == 5
        return torch.tensor(float(calls[0])) if index == 5 else numbers(index)

    return make


def shuffled(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(sorted(samples, key=float))


def padded(samples: list[torch.Tensor]) -> torch.Tensor:
    return nn.utils.rnn.pad_sequence(samples, batch_first=True)


NOT_COPIED = {
    "torch": (job(Made(16, lambda i: numbers(i) + torch.rand(()))), "sample 0 of data differs when drawn again"),
    "python": (job(Made(16, lambda i: torch.tensor(random.random()))), "sample 0 of data differs"),
    "numpy": (job(Made(16, lambda i: torch.tensor(np.random.rand()))), "sample 0 of data differs"),  # noqa: NPY002
    "counting": (job(Made(16, flipping())), "sample 5 of data differs when drawn again"),
    "mixup": (
        job(Made(16, lambda i: numbers(i, 3)), collate=lambda each: torch.stack(each) * torch.rand(())),
        "sample 0 of data differs when drawn again",
    ),
    "centred": (
        job(Made(16, lambda i: numbers(i, 3)), collate=lambda each: torch.stack(each) - torch.stack(each).mean()),
        "sample 0 of data, collated with others, is not what it is alone",
    ),
    "sorted": (job(Made(16, numbers), collate=shuffled), "collated with others, is not what it is alone"),
    "padded": (job(Made(16, lambda i: numbers(i, i // 4 + 1)), collate=padded), "sample 4 and following differs"),
    "raising": (job(Made(16, lambda i: torch.tensor(1 // (i - 9)))), r"data\[9\]: ZeroDivisionError"),
    "evaluation": (
        job(Made(16, numbers), eval_data=Made(9, lambda i: numbers(i) + torch.rand(()))),
        "sample 0 of eval_data differs",
    ),
}


@pytest.mark.parametrize("name", NOT_COPIED)
def test_samples_that_another_node_could_not_draw_alike_are_not_copied(name: str, tmp_path: Path) -> None:
    made, sentence = NOT_COPIED[name]
    with pytest.raises(JobError, match=sentence):
        copy_samples(made, RowReader(Sampler(made)), tmp_path / "copy")


def test_reading_leaves_the_random_state_as_it_was() -> None:
    reader = RowReader(Sampler(job(Made(16, numbers))))
    before = torch.get_rng_state(), random.getstate()
    read(reader, FIRST)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_a_reading_is_made_of_small_pieces() -> None:
    drawn: list[int] = []
    made = job(Made(16, lambda i: drawn.append(i) or numbers(i)))
    reading = RowReader(Sampler(made)).read(FIRST)
    for _ in range(7):
        before = len(drawn)
        next(reading)
        assert len(drawn) - before <= 1


def test_in_the_background_nothing_is_read_until_it_is_asked_for_and_rests_are_longer_than_work() -> None:
    background = Background(RowReader(Sampler(job(Made(64, lambda i: numbers(i, 500))))))
    assert background.pause is None
    background.ask(FIRST)
    assert background.pause == 0.0
    while (answer := background.work()) is None:
        assert background.pause is not None
        assert background.pause >= 0.005
    assert background.pause is None
    assert b'"rows": [1, 0, 64]' in bytes(answer[0])


def test_where_something_better_is_always_to_be_done_a_little_is_read_all_the_same() -> None:
    drawn: list[int] = []
    background = Background(RowReader(Sampler(job(Made(64, lambda i: drawn.append(i) or numbers(i))))))
    assert not background.overdue
    background.ask(FIRST)
    assert background.overdue
    background.work(spell=0.0)
    assert len(drawn) == 1


def test_what_cannot_be_copied_is_answered_with_a_sentence() -> None:
    background = Background(RowReader(Sampler(job(Made(16, lambda i: torch.rand(()))))))
    background.ask(FIRST)
    while (answer := background.work()) is None:
        pass
    assert b'{"uncopied": "sample 0 of data differs when drawn again' in bytes(answer[0])


def test_jobs_with_loader_processes_are_read_in_a_process_of_its_own(tmp_path: Path) -> None:
    opened: list[int] = []
    made = job(Made(21, lambda i: opened.append(i) or numbers(i, 2)), drop_last=False)
    reader = LoaderReader(RowReader(Sampler(made)))
    try:
        copy_samples(made, reader, tmp_path / "copy")
        assert not opened
        again = read(reader, WantRows(Phase.TRAIN, 7))
        assert torch.equal(again.tensors["batch"][0], numbers(7, 2))
    finally:
        reader.close()
    work = Work(2, Phase.TRAIN, 1)
    assert torch.equal(open_copy(tmp_path / "copy").draw(work)["batch"], Sampler(made).draw(work)["batch"])


def test_a_loader_process_ends_without_an_error_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 120.0)  # until it is ended by force
    reader = LoaderReader(RowReader(Sampler(job(Made(16, numbers)))))
    before = active_children()
    try:
        read(reader, FIRST)
        (process,) = set(active_children()) - set(before)
    finally:
        reader.close()
    assert process.exitcode == 0  # another would be raised in the main thread, of a job that also trains with loaders


def test_a_loader_process_tells_why_there_can_be_no_copy() -> None:
    reader = LoaderReader(RowReader(Sampler(job(Made(16, lambda i: torch.rand(()))))))
    try:
        with pytest.raises(JobError, match="sample 0 of data differs"):
            read(reader, FIRST)
    finally:
        reader.close()


def test_a_damaged_copy_is_refused(tmp_path: Path) -> None:
    made = job(Made(16, lambda i: numbers(i, 2)))
    copy_samples(made, RowReader(Sampler(made)), tmp_path / "copy")
    path = tmp_path / "copy" / "train-0.rows"
    path.write_bytes(path.read_bytes() + bytes(16))
    with pytest.raises(JobError, match="has 144 bytes, not 128"):
        open_copy(tmp_path / "copy")


def test_collate_of_the_default_kind_is_what_is_compared_with() -> None:
    rows = read(RowReader(Sampler(job(Made(16, mixed)))), FIRST)
    expected = default_collate([mixed(index) for index in range(16)])
    assert torch.equal(rows.tensors["batch['x']"], expected["x"])
