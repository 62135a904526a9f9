"""Compares module and program at every size of micro-batch that a job meets, not only at the example's.

Export leaves the batch size free, but an ``if x.shape[0] > 3`` in ``forward`` is decided once, and batch norm of one
sample is an error in the module alone. A job's sizes are few: the full one, and the last one of an epoch and of an
evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from edged.compute.capture import Captured
from edged.compute.check import check_program
from edged.compute.comparison import Subject, compare_evaluation, compare_training, preserved
from edged.compute.description import own_state
from edged.compute.expectations import occurring
from edged.compute.sampling import Sampler
from edged.compute.structure import kept_state
from edged.compute.user_code import UserCode
from edged.core.job import Phase
from edged.errors import JobError, ProgramRefusedError
from edged.job import Job


def check_sizes(captured: Captured, model: nn.Module, job: Job, sampler: Sampler) -> None:
    """Compare at the sizes that capture has not seen. ``model``: the one captured; it is left as it was found.

    Raises ``JobError`` that says what to leave out, or to write, where the two differ or the module itself fails.
    """
    example = captured.program.inputs[0].shape[0]
    training, evaluation = (occurring(sampler.spec, phase) for phase in (Phase.TRAIN, Phase.EVALUATE))
    with preserved(model), kept_state(model):
        model.train()
        for size, work in training.items():
            if size != example:
                advice = (
                    f"write drop_last=True, or a batch_size for which no micro-batch of {size} is left over (data has "
                    f"{sampler.spec.samples} samples)"
                )
                _check_training(captured, _subject(model, job, sampler.batch(work)), size, advice)
        for size, work in evaluation.items():
            if size != example:
                advice = f"leave the last {size} of eval_data out"
                _check_evaluation(captured, _subject(model, job, sampler.batch(work)), size, advice)


def _subject(model: nn.Module, job: Job, batch: Any) -> Subject:
    return Subject(model, job.objective, job.metrics, batch, own_state(model))


def _check_training(captured: Captured, subject: Subject, size: int, advice: str) -> None:
    with _told(f"training fails on a micro-batch of {size}", advice), preserved(subject.model), UserCode("the model"):
        subject.objective(subject.model, subject.batch)
    try:
        check_program(captured.program, size)
        compare_training(captured.program, captured.state, subject)
    except (JobError, ProgramRefusedError, RuntimeError, ValueError, IndexError) as error:
        raise JobError(_otherwise(captured, size, "an epoch", advice)) from error


def _check_evaluation(captured: Captured, subject: Subject, size: int, advice: str) -> None:
    with _told(f"evaluation fails on a micro-batch of {size}", advice), preserved(subject.model), UserCode("the model"):
        subject.model.eval()
        subject.objective(subject.model, subject.batch)
    try:
        check_program(captured.program, size, training=False)
        differs = compare_evaluation(captured.program, captured.state, subject)
    except (JobError, ProgramRefusedError, RuntimeError, ValueError, IndexError) as error:
        raise JobError(_otherwise(captured, size, "an evaluation", advice)) from error
    if differs:
        raise JobError(_otherwise(captured, size, "an evaluation", advice))


def _otherwise(captured: Captured, size: int, whole: str, advice: str) -> str:
    return (
        f"forward computes otherwise for {size} samples, {whole}'s last micro-batch, than for the "
        f"{captured.program.inputs[0].shape[0]} that it was captured with (an `if` on the batch size, for example): "
        f"let it do the same for any size, or {advice}"
    )


@contextmanager
def _told(what: str, advice: str) -> Iterator[None]:
    try:
        yield
    except JobError as error:
        raise JobError(f"{what}: {error}: {advice}") from error
