"""One hop's rule: backward first; forward while the window is open; ascending."""

from __future__ import annotations

import pytest

from edged.core.dealing import Dealing
from edged.core.ids import NodeId
from edged.core.job import Phase, Work
from edged.core.messages import Activation, Gradient, Inputs
from edged.core.stage import Stage
from edged.errors import BrokenInvariantError
from tests.core.miniature import SOURCE, STAMP, make_plan, make_spec, node, pipeline


def train(m: int, version: int = 0) -> Work:
    return Work(version, Phase.TRAIN, m)


def middle(window: int = 2, **changes) -> Stage:
    plan = make_plan(((0, 1, 3), (1, 1, window), (2, 1, 1)), layers=3, micro_batches=4)
    spec = make_spec(3, **changes)
    stage = Stage(plan, spec, Dealing(plan, spec), 0, 1)
    stage.begin(0)
    return stage


def give(stage: Stage, sender: NodeId, parcel: Inputs | Activation | Gradient) -> str:
    """A parcel comes; why it was refused, or nothing."""
    refusal = stage.refusal(sender, SOURCE, parcel)
    if not refusal:
        stage.accept(parcel)
    return refusal


def inputs(stage: Stage, sender: NodeId, work: Work) -> str:
    return give(stage, sender, Inputs(STAMP, 0, stage.index, work, ()))


def activation(stage: Stage, sender: NodeId, work: Work) -> str:
    return give(stage, sender, Activation(STAMP, 0, stage.index, work, (), ()))


def gradient(stage: Stage, sender: NodeId, work: Work) -> str:
    return give(stage, sender, Gradient(STAMP, 0, stage.index, work, ()))


def forward(stage: Stage, m: int) -> None:
    assert activation(stage, SOURCE, train(m)) == ""
    assert stage.next_forward() == train(m)
    stage.start_forward(train(m))


def test_a_forward_needs_its_activation():
    stage = middle()
    assert stage.next_forward() is None
    activation(stage, SOURCE, train(1))
    assert stage.next_forward() is None
    activation(stage, SOURCE, train(0))
    assert stage.next_forward() == train(0)


def test_a_forward_needs_its_inputs_where_the_hop_uses_inputs():
    plan = pipeline(2, 4)
    spec = make_spec(2)
    stage = Stage(plan, spec, Dealing(plan, spec), 0, 1)
    stage.begin(0)
    activation(stage, SOURCE, train(0))
    assert stage.next_forward() is None
    assert inputs(stage, SOURCE, train(0)) == ""
    assert stage.next_forward() == train(0)


def test_the_window_bounds_what_is_in_flight():
    stage = middle(window=2)
    forward(stage, 0)
    forward(stage, 1)
    activation(stage, SOURCE, train(2))
    assert stage.next_forward() is None
    assert stage.next_backward() is None
    gradient(stage, node(2), train(0))
    assert stage.next_backward() == train(0)
    stage.finish_backward(train(0))
    assert stage.next_forward() == train(2)
    stage.check()


def test_backwards_run_in_ascending_order_even_if_gradients_do_not_come_so():
    stage = middle()
    forward(stage, 0)
    forward(stage, 1)
    gradient(stage, node(2), train(1))
    assert stage.next_backward() is None


def test_the_last_hop_turns_round_by_itself():
    plan = pipeline(1, 4)
    spec = make_spec(1)
    stage = Stage(plan, spec, Dealing(plan, spec), 0, 0)
    stage.begin(0)
    inputs(stage, SOURCE, train(0))
    stage.start_forward(train(0))
    assert stage.next_backward() == train(0)
    assert stage.trains


def test_work_of_the_next_version_waits_for_that_version():
    stage = middle()
    assert activation(stage, SOURCE, train(0, version=1)) == ""
    assert stage.next_forward() is None
    stage.begin(1)
    assert stage.next_forward() == train(0, version=1)


def test_an_evaluation_goes_first_forward_only_and_without_the_window():
    stage = middle(window=1, samples=8, steps=2, epochs=2, eval_samples=6)
    stage.begin(1)
    evaluation = [Work(1, Phase.EVALUATE, m) for m in range(3)]
    for work in evaluation:
        activation(stage, SOURCE, work)
        assert stage.next_forward() == work
        stage.start_forward(work)
        assert stage.next_backward() is None
    assert not stage.trains
    assert not stage.finished
    assert stage.in_flight == 0


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (lambda s: activation(s, node(2), train(0)), "does not come from the hop before"),
        (lambda s: gradient(s, SOURCE, train(0)), "does not come from the hop behind"),
        (lambda s: inputs(s, SOURCE, train(0)), "gets no such inputs"),
        (lambda s: activation(s, SOURCE, train(0, version=9)), "this hop is at version 0"),
        (lambda s: activation(s, SOURCE, train(4)), "no such work"),
        (lambda s: activation(s, SOURCE, train(-1)), "no such work"),
        (lambda s: activation(s, SOURCE, Work(0, Phase.EVALUATE, 0)), "no such work"),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_reason(refused, reason):
    assert reason in refused(middle())


def test_what_is_done_already_is_not_kept():
    stage = middle()
    forward(stage, 0)
    assert "has been done" in activation(stage, SOURCE, train(0))


def test_what_is_here_already_is_not_wanted_again():
    stage = middle()
    assert activation(stage, SOURCE, train(0)) == ""
    assert "here already" in activation(stage, SOURCE, train(0))


def test_gradients_come_only_for_what_is_in_flight():
    stage = middle()
    assert "not in flight" in gradient(stage, node(2), train(0))
    forward(stage, 0)
    assert "not in flight" in gradient(stage, node(2), train(1))
    assert gradient(stage, node(2), train(0)) == ""
    assert "here already" in gradient(stage, node(2), train(0))
    stage.finish_backward(train(0))
    assert "not in flight" in gradient(stage, node(2), train(0))


def test_a_computation_out_of_order_is_our_own_fault():
    stage = middle()
    with pytest.raises(BrokenInvariantError, match="forward of"):
        stage.start_forward(train(1))
    with pytest.raises(BrokenInvariantError, match="backward of"):
        stage.finish_backward(train(1))
