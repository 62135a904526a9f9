"""The source's account: what comes in any order goes out in order, once."""

from __future__ import annotations

from edged.core.dealing import Dealing
from edged.core.job import Phase, Work
from edged.core.messages import EvalReport, Result, StepReport, Taken, Updated
from edged.core.progress import Progress
from tests.core.miniature import SOURCE, STAMP, make_spec, node, pipeline

SPEC = make_spec(2, micro_batches=2, batch_size=4, samples=4, steps=3, epochs=3, eval_samples=3)


def progress() -> Progress:
    plan = pipeline(2, 2)
    return Progress(plan, SPEC, Dealing(plan, SPEC), 0)


def train(m: int, version: int = 0) -> Work:
    return Work(version, Phase.TRAIN, m)


def result(work: Work, loss: float = 1.0, metrics: tuple = ()) -> Result:
    return Result(STAMP, work, loss, metrics)


def updated(hop: int, version: int) -> Updated:
    return Updated(STAMP, 0, hop, version, 1.0, 0.5 * version)


def test_a_step_is_reported_when_all_results_and_all_hops_are_there():
    account = progress()
    account.feed(train(0), 10.0)
    account.take_result(node(1), result(train(1), 3.0))
    account.take_updated(SOURCE, updated(0, 1))
    account.take_result(node(1), result(train(0), 2.0))
    assert account.reports(11.0) == []
    account.take_updated(node(1), updated(1, 1))
    assert account.reports(12.0) == [StepReport(STAMP, 1, 0, 2.5, 2.0, 0.5)]
    assert account.reports(13.0) == []
    assert account.version == 1


def test_a_step_without_its_learning_rate_waits_until_it_is_said_again():
    account = progress()
    for m in range(2):
        account.take_result(node(1), result(train(m)))
    account.take_updated(SOURCE, updated(0, 2))
    account.take_updated(node(1), updated(1, 2))
    assert account.reports(1.0) == []
    account.take_updated(node(1), updated(1, 1))
    assert [report.learning_rate for report in account.reports(1.0)] == [0.5]


def test_messages_from_those_who_cannot_know_do_not_count():
    account = progress()
    for m in range(2):
        account.take_result(SOURCE, result(train(m)))
    account.take_taken(node(1), Taken(STAMP, train(0)))
    account.take_updated(SOURCE, updated(1, 1))
    account.take_updated(SOURCE, updated(5, 1))
    account.take_updated(SOURCE, updated(0, 99))
    account.take_result(node(1), result(train(7)))
    account.take_result(node(1), result(train(0, version=4)))
    assert account.first_missing() == train(0)
    assert account.reports(1.0) == []


def test_an_evaluation_weighs_metrics_by_samples_and_comes_before_its_step():
    account = progress()
    for m in range(2):
        account.take_result(node(1), result(train(m)))
        account.take_result(node(1), result(train(m, version=1)))
    for version in (1, 2):
        account.take_updated(SOURCE, updated(0, version))
        account.take_updated(node(1), updated(1, version))
    for m, (loss, right) in enumerate([(3.0, 1.0), (6.0, 0.25)]):
        metrics = (("accuracy", right), *((("only first", 1.0),) if m == 0 else ()))
        account.take_result(node(1), result(Work(1, Phase.EVALUATE, m), loss, metrics))
    first, evaluation, second = account.reports(1.0)
    assert (first.step, second.step) == (1, 2)
    assert evaluation == EvalReport(STAMP, 1, 0, 2 / 3 * 3.0 + 1 / 3 * 6.0, (("accuracy", 2 / 3 * 1.0 + 1 / 3 * 0.25),))


def test_room_is_given_back_by_taken_also_for_those_before_it():
    account = progress()
    works = [train(m, version) for version in (0, 2) for m in range(2)]
    for work in works:
        assert account.has_room(work)
        account.feed(work, 0.0)
    assert not account.has_room(train(0, 3))
    account.take_taken(SOURCE, Taken(STAMP, train(1)))
    assert account.has_room(train(0, 3))
    assert not account.has_room(train(0, 4))


def test_an_evaluation_gives_its_room_back_only_when_it_is_answered():
    account = progress()
    evaluation = [Work(1, Phase.EVALUATE, m) for m in range(2)]
    for work in (*evaluation, train(0, 1), train(1, 1)):
        account.feed(work, 0.0)
    account.take_taken(SOURCE, Taken(STAMP, train(0, 1)))
    assert not account.has_room(train(0, 2))
    account.take_result(node(1), result(evaluation[1]))
    assert not account.has_room(train(0, 2))
    account.take_result(node(1), result(evaluation[0]))
    assert account.has_room(train(0, 2))
