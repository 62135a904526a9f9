"""What capture refuses, and in which words: a table of modules that it would get wrong or cannot take."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from edged.compute.capture import capture
from edged.errors import JobError


@pytest.fixture(autouse=True)
def weights() -> None:
    """The same in every run: of a dead unit no refusal would be seen."""
    torch.manual_seed(0)


WIDTH = 4


class Net(nn.Module):
    """A linear layer, then whatever ``middle`` does, then a sum."""

    shared = 0

    def __init__(self, middle: Callable[[Net, Tensor], Any] | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.second = nn.Linear(WIDTH, 1)
        self.middle = middle
        self.calls = 0
        self.started = False
        self.history: list[int] = []
        self.table = torch.zeros(1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.middle is not None:
            h = self.middle(self, h)
        return self.second(h).squeeze(1)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


def batch() -> Any:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, WIDTH, generator=generator), torch.randn(4, generator=generator)]


def objective(model: nn.Module, given: Any) -> Tensor:
    return functional.mse_loss(model(given[0]), given[1])


def branches(net: Net, h: Tensor) -> Tensor:
    if h.sum() > 0:
        return h
    return -h


def loops(net: Net, h: Tensor) -> Tensor:
    while h.abs().max() > 1:
        h = h / 2
    return h


def takes_item(net: Net, h: Tensor) -> Tensor:
    return h * h.mean().item()


def picks_rows(net: Net, h: Tensor) -> Tensor:
    return h + h[h[:, 0] > 0].sum()


def asks_numpy(net: Net, h: Tensor) -> Tensor:
    return h + torch.from_numpy(np.tanh(h.detach().numpy()))


def converts(net: Net, h: Tensor) -> Tensor:
    return h + h[: int(h.sum().abs())].sum()


def draws_python(net: Net, h: Tensor) -> Tensor:
    return h * random.random()


def draws_numpy(net: Net, h: Tensor) -> Tensor:
    return h * float(np.random.rand())  # noqa: NPY002 -- what users write


def drops_layers(net: Net, h: Tensor) -> Tensor:
    return h if random.random() < 0.5 else torch.tanh(h)


def counts(net: Net, h: Tensor) -> Tensor:
    net.calls += 1
    return h * net.calls


def custom(net: Net, h: Tensor) -> Tensor:
    return Doubled.apply(h)


def hooks(net: Net, h: Tensor) -> Tensor:
    if h.requires_grad:
        h.register_hook(lambda gradient: gradient * 3)
    return h


def detaches_to_list(net: Net, h: Tensor) -> Tensor:
    return h + torch.tensor(h.sum(0).tolist())


def changes_attribute(net: Net, h: Tensor) -> Tensor:
    with torch.no_grad():
        net.table.add_(1)
    return h * net.table


def adds_parameter(net: Net, h: Tensor) -> Tensor:
    return h * outside


def unknown(net: Net, h: Tensor) -> Tensor:
    return torch.as_strided(h, (4, WIDTH), (WIDTH, 1)) * 1.0


def sorts_out(net: Net, h: Tensor) -> Tensor:
    return h.index_select(0, torch.nonzero(h.sum(1) > -100).squeeze(1))


def asks_time(net: Net, h: Tensor) -> Tensor:
    net.calls += 7
    return h + net.calls % 5


outside = torch.ones(1, requires_grad=True)


# What follows is the identity on the example batch, whose gradients are small: only its structure gives it away.


class Clamped(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient.clamp(-1, 1)


def clamp(gradient: Tensor) -> Tensor:
    return gradient.clamp(-1, 1)


def clamps(net: Net, h: Tensor) -> Tensor:
    return Clamped.apply(h)


def hooks_clamp(net: Net, h: Tensor) -> Tensor:
    if h.requires_grad:
        h.register_hook(clamp)
    return h


def hooks_node(net: Net, h: Tensor) -> Tensor:
    if h.grad_fn is not None:
        h.grad_fn.register_prehook(lambda gradients: tuple(map(clamp, gradients)))
    return h


def acts_late(net: Net, h: Tensor) -> Tensor:
    net.calls += 1
    return h if net.calls < 50 else h / 2


def acts_late_in_a_list(net: Net, h: Tensor) -> Tensor:
    net.history.append(1)
    return h if len(net.history) < 50 else h / 2


def acts_late_by_class(net: Net, h: Tensor) -> Tensor:
    Net.shared += 1
    return h if Net.shared < 50 else h / 2


def acts_first(net: Net, h: Tensor) -> Tensor:
    if not net.started:
        net.started = True
        return h.clamp(-100, 100)
    return h


def acts_late_in_evaluation(net: Net, h: Tensor) -> Tensor:
    if not net.training:
        net.calls += 1
    return h if net.calls < 50 else h / 2


def checkpoints_reentrant(net: Net, h: Tensor) -> Tensor:
    return checkpoint(torch.tanh, h, use_reentrant=True)


def clamps_parameter_gradients() -> nn.Module:
    net = Net()
    net.first.weight.register_hook(clamp)
    return net


def clamps_after_accumulation() -> nn.Module:
    net = Net()
    net.first.weight.register_post_accumulate_grad_hook(lambda tensor: tensor.grad.clamp_(-1, 1))
    return net


def clamps_module_backward() -> nn.Module:
    net = Net()
    net.second.register_full_backward_hook(lambda module, inputs, outputs: tuple(map(clamp, inputs)))
    return net


def clamps_before_module_backward() -> nn.Module:
    net = Net()
    net.second.register_full_backward_pre_hook(lambda module, outputs: tuple(map(clamp, outputs)))
    return net


def counts_in_a_hook() -> nn.Module:
    calls = 0

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return output if calls < 50 else output / 2

    net = Net()
    net.first.register_forward_hook(hook)
    return net


class Words(nn.Module):
    """Looks its input up in an embedding."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(9, WIDTH, **options)
        self.last = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.words(x.abs().long().clamp(max=8)).sum(1)).squeeze(1)


def doubles_parameter_gradients() -> nn.Module:
    net = Net()
    net.first.weight.register_hook(lambda gradient: gradient * 2)
    return net


def hooks_module_backward() -> nn.Module:
    net = Net()
    net.second.register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 5,))
    return net


def frozen() -> nn.Module:
    return Net().requires_grad_(requires_grad=False)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Net()


def shares_memory() -> nn.Module:
    net = Net()
    net.first.bias.data = net.first.weight.data[0]
    return net


MODULES: list[tuple[str, Callable[[], nn.Module], str]] = [
    (
        "if on a tensor",
        lambda: Net(branches),
        r"`if h.sum\(\) > 0:`: the model decides by the values of a tensor.*torch.where",
    ),
    ("while on a tensor", lambda: Net(loops), r"`while h.abs\(\).max\(\) > 1:`: the model decides by the values"),
    (
        "item()",
        lambda: Net(takes_item),
        r"`h = self.middle\(self, h\)`: the model uses the operation aten\.item\.default, which edged does not run",
    ),
    ("boolean index", lambda: Net(picks_rows), r"the shape of a result depends on values.*torch.where"),
    ("numpy", lambda: Net(asks_numpy), r"`return h \+ torch.from_numpy\(.*`: numpy inside the model cannot"),
    (
        "int()",
        lambda: Net(converts),
        r"`return h \+ h\[: int\(h.sum\(\).abs\(\)\)\].sum\(\)`: the model decides by the values",
    ),
    ("random.random()", lambda: Net(draws_python), r"draws from Python's random, which capture would freeze"),
    ("numpy.random", lambda: Net(draws_numpy), r"draws from numpy.random, which capture would freeze"),
    ("random depth", lambda: Net(drops_layers), r"draws from Python's random"),
    ("counter", lambda: Net(counts), r"model.calls changes from 1 to 2 .*register_buffer"),
    ("changing number", lambda: Net(asks_time), r"model.calls changes from 7 to 14"),
    ("custom autograd.Function", lambda: Net(custom), r"Doubled is a custom autograd.Function"),
    ("tensor hook", lambda: Net(hooks), r"test_refusals.py:\d+: a hook on a gradient"),
    ("parameter hook", doubles_parameter_gradients, r"parameter first.weight has a hook on its gradient"),
    ("module backward hook", hooks_module_backward, r"module second has a backward hook"),
    ("late: custom autograd.Function", lambda: Net(clamps), r"Clamped is a custom autograd.Function"),
    ("late: tensor hook", lambda: Net(hooks_clamp), r"test_refusals.py:\d+: a hook on a gradient"),
    ("late: node hook", lambda: Net(hooks_node), r"test_refusals.py:\d+: a hook on a gradient"),
    ("late: parameter hook", clamps_parameter_gradients, r"parameter first.weight has a hook on its gradient"),
    ("late: accumulation hook", clamps_after_accumulation, r"parameter first.weight has a hook on its gradient"),
    ("late: module backward hook", clamps_module_backward, r"module second has a backward hook"),
    ("late: module backward pre-hook", clamps_before_module_backward, r"module second has a backward hook"),
    ("late: counter", lambda: Net(acts_late), r"model.calls changes from 1 to 2"),
    ("late: list", lambda: Net(acts_late_in_a_list), r"model.history changes"),
    ("late: class counter", lambda: Net(acts_late_by_class), r"Net.shared changes"),
    ("late: first call", lambda: Net(acts_first), r"model.started changes from False to True"),
    ("late: evaluation", lambda: Net(acts_late_in_evaluation), r"model.calls changes from 0 to 1"),
    ("late: counter of a forward hook", counts_in_a_hook, r"calls changes from 1 to 2"),
    ("reentrant checkpoint", lambda: Net(checkpoints_reentrant), r"write use_reentrant=False"),
    ("sparse gradient", lambda: Words(sparse=True), r"words.weight gets a sparse gradient.*sparse=False"),
    ("max_norm", lambda: Words(max_norm=0.5), r"forward changes the parameter words.weight itself.*max_norm"),
    ("tolist()", lambda: Net(detaches_to_list), r"without .item\(\), .tolist\(\)"),
    ("tensor attribute", lambda: Net(changes_attribute), r"ordinary attribute; keep it with register_buffer"),
    ("parameter of nobody", lambda: Net(adds_parameter), r"wants a gradient but is not a parameter"),
    ("as_strided", lambda: Net(unknown), r"operation aten.as_strided.default, which edged does not run"),
    ("nonzero", lambda: Net(sorts_out), r"the model decides by the values of a tensor"),
    ("nothing to train", frozen, r"no parameter of the model wants a gradient"),
    ("meta", on_meta, r"has no values yet"),
    ("shared memory", shares_memory, r"share memory without being one parameter"),
]

OBJECTIVES: list[tuple[str, Callable[[nn.Module, Any], Any], str]] = [
    ("no mean", lambda model, given: (model(given[0]) - given[1]) ** 2, r"returns shape \(4,\).*loss.mean\(\)"),
    ("float", lambda model, given: objective(model, given).item(), r"returns a float; return the loss as a tensor"),
    ("detached", lambda model, given: objective(model, given).detach(), r"does not depend on any parameter"),
    ("integer", lambda model, given: model(given[0]).argmax(), r"does not depend on any parameter"),
    (
        "raises",
        lambda model, given: objective(model, given[2]),
        r"the objective fails on the example batch: IndexError",
    ),
]

BATCHES: list[tuple[str, Any, str]] = [
    ("lengths", [torch.zeros(4, WIDTH), torch.zeros(3)], r"batch\[0\] has 4 samples and batch\[1\] has 3"),
    ("no dimension", {"x": torch.zeros(4, WIDTH), "y": torch.tensor(1.0)}, r"batch\['y'\] has no first dimension"),
    ("words", [torch.zeros(2, WIDTH), ["a", "b"]], r"batch\[1\]\[0\] is of type str: a batch holds tensors only"),
    ("nothing", [], r"holds no tensor"),
]

METRICS: list[tuple[str, Callable[[nn.Module, Any], Any], str]] = [
    ("item", lambda model, given: {"a": 1.5}, r"metric 'a' must be a tensor with one number"),
    ("vector", lambda model, given: {"a": model(given[0])}, r"metric 'a' must be a tensor with one number"),
]


def ids(table: list[tuple[Any, ...]]) -> list[str]:
    return [str(row[0]) for row in table]


@pytest.mark.parametrize(("_name", "build", "sentence"), MODULES, ids=ids(MODULES))
def test_a_module_that_capture_would_get_wrong_is_refused(
    _name: str, build: Callable[[], nn.Module], sentence: str
) -> None:
    with pytest.raises(JobError, match=sentence):
        capture(build(), objective, batch())


@pytest.mark.parametrize(("_name", "given", "sentence"), OBJECTIVES, ids=ids(OBJECTIVES))
def test_an_objective_that_gives_no_loss_is_refused(_name: str, given: Any, sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        capture(Net(), given, batch())


@pytest.mark.parametrize(("_name", "given", "sentence"), BATCHES, ids=ids(BATCHES))
def test_a_batch_without_common_first_dimension_is_refused(_name: str, given: Any, sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        capture(Net(), objective, given)


@pytest.mark.parametrize(("_name", "given", "sentence"), METRICS, ids=ids(METRICS))
def test_metrics_that_are_not_single_tensors_are_refused(_name: str, given: Any, sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        capture(Net(), objective, batch(), given)


def prints(net: Net, h: Tensor) -> Tensor:
    str(h.sum().item())
    return h


def logs(net: Net, h: Tensor) -> Tensor:
    net.last = h.detach()
    return h


def assigns_buffer(net: Net, h: Tensor) -> Tensor:
    net.seen = net.seen + 1
    return h


def adds_to_buffer(net: Net, h: Tensor) -> Tensor:
    if net.training:
        with torch.no_grad():
            net.seen.mul_(0.9).add_(h.mean(), alpha=0.1)
    return h


def nests(net: Net, h: Tensor) -> Tensor:
    found = {"a": [h, (h.tanh(), None)]}
    return found["a"][1][0] + found["a"][0]


def masks(net: Net, h: Tensor) -> Tensor:
    return torch.where(h > 0, h, -h).masked_fill_(h > 2, 2.0)


def drops_paths(net: Net, h: Tensor) -> Tensor:
    return h * h.new_empty(h.shape[0], 1).bernoulli_(0.8)


def remembers_sizes(net: Net, h: Tensor) -> Tensor:
    net.width = h.shape[1]
    net.rows = h.shape[0]
    return h * net.width


def checkpoints(net: Net, h: Tensor) -> Tensor:
    return checkpoint(torch.tanh, h, use_reentrant=False)


TAKEN = [
    prints,
    nests,
    masks,
    drops_paths,
    logs,
    adds_to_buffer,
    assigns_buffer,
    remembers_sizes,
    checkpoints,
]


@pytest.mark.parametrize("middle", TAKEN, ids=lambda middle: middle.__name__)
def test_what_looks_odd_and_computes_the_same_is_taken(middle: Callable[[Net, Tensor], Tensor]) -> None:
    capture(Net(middle), objective, batch())


def clamping_forward_hook() -> nn.Module:
    net = Net()
    net.first.register_forward_hook(lambda module, inputs, output: output.clamp(-0.5, 0.5))
    return net


def looking_forward_hook() -> nn.Module:
    net = Net()
    seen: list[tuple[int, ...]] = []
    net.first.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    return net


def normed(norm: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        net = Net()
        norm(net.first)
        return net

    return build


@pytest.mark.parametrize(
    "build",
    [
        clamping_forward_hook,
        looking_forward_hook,
        normed(nn.utils.parametrizations.weight_norm),
        normed(nn.utils.parametrizations.spectral_norm),
        normed(nn.utils.parametrizations.orthogonal),
    ],
    ids=["forward hook", "looking hook", "weight norm", "spectral norm", "orthogonal"],
)
def test_forward_hooks_and_parametrizations_are_traced(build: Callable[[], nn.Module]) -> None:
    capture(build(), objective, batch())


def test_what_capture_runs_leaves_no_mark_on_attributes() -> None:
    net = Net(remembers_sizes)
    net.width = net.rows = 0
    capture(net, objective, batch())
    assert (net.width, net.rows) == (0, 0)


def test_an_objective_with_a_counter_is_refused() -> None:
    calls = 0

    def counting(model: nn.Module, given: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return objective(model, given) * (1 if calls < 50 else 2)

    with pytest.raises(JobError, match="calls changes from 1 to 2"):
        capture(Net(), counting, batch())


def test_what_metrics_raise_is_told_in_one_sentence_with_its_line() -> None:
    def metrics(model: nn.Module, given: Any) -> dict[str, Tensor]:
        raise TypeError("no\nsuch metric")

    with pytest.raises(JobError, match=r"test_refusals.py.*no such metric") as caught:
        capture(Net(), objective, batch(), metrics)
    assert "\n" not in str(caught.value)
