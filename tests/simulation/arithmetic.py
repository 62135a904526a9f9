"""What training computes, in whole numbers: every value is a digest of all that it was computed from.

A layer's state is (weights, buffers). A step with a micro-batch too few, doubled or in another order, with weights of
another version, or with other norms, leaves other digests behind, in all layers, for ever::

    forward    x -> h(x, weights), training: buffers -> h(buffers, x)         evaluation reads the buffers
    backward   g -> h(g, x, weights), leaves h(g, x, weights, "gradient") to its layer
    update     weights -> h(weights, gradients in the order of their backwards, norms)
"""

import math
from dataclasses import dataclass, field

from edged.core.job import Phase, Work

DENOMINATOR = 997
NAN_OF = 61
"""In a job that may skip steps, one loss in so many is not finite."""

DIVERGES = "diverges"
"""The name of a job that comes to an end by a loss that is not finite, of which there are more then."""

SOUND_STEPS = 4
"""So many steps go well first."""


def mix(*parts):
    """A digest of whole numbers; the hash of a tuple of them is the same in every process."""
    return hash(parts)


def first_state(layers):
    return [(mix(1, layer), mix(2, layer)) for layer in layers]


def sample(work):
    return mix(3, work.version, int(work.phase), work.micro_batch)


def loss_of(spec, work, value):
    if spec.on_nan == "skip" and value % NAN_OF == 0:
        return math.nan
    if spec.name == DIVERGES and work.version >= SOUND_STEPS and value % 16 == 0:
        return math.nan
    return value % DENOMINATOR / DENOMINATOR


def norm_of(gradients):
    return mix(9, *gradients) % DENOMINATOR / DENOMINATOR


@dataclass
class Part:
    """Contiguous layers in memory, with what is in flight through them.

    ``settled``: the buffers as the forward left them whose update came last; forwards may have gone on since.
    """

    first: int
    version: int
    state: list
    stash: dict = field(default_factory=dict)
    gradients: list = field(default_factory=list)
    left: dict = field(default_factory=dict)

    def __post_init__(self):
        self.clear()
        self.settled = [buffers for _, buffers in self.state]

    def clear(self):
        self.gradients = [[] for _ in self.state]

    def forward(self, work, x):
        if work.phase is Phase.EVALUATE:
            for weights, buffers in self.state:
                x = mix(4, x, weights, buffers)
            return x
        entered = []
        for index, (weights, buffers) in enumerate(self.state):
            entered.append((x, weights))
            self.state[index] = (weights, mix(5, buffers, x))
            x = mix(6, x, weights)
        assert work not in self.stash, f"a second forward of {work}"
        self.stash[work] = entered
        self.left[work] = [buffers for _, buffers in self.state]
        return x

    def backward(self, work, gradient):
        for index, (x, weights) in reversed(list(enumerate(self.stash.pop(work)))):
            self.gradients[index].append(mix(7, gradient, x, weights))
            gradient = mix(8, gradient, x, weights)
        self.done = self.left.pop(work)
        return gradient

    def copied(self):
        """The state at its version."""
        return [(weights, buffers) for (weights, _), buffers in zip(self.state, self.settled, strict=True)]

    def norms(self):
        return tuple((self.first + index, norm_of(gradients)) for index, gradients in enumerate(self.gradients))

    def update(self, version, norms, *, skip):
        agreed = 0 if norms is None else hash(norms)
        if not skip:
            self.state = [
                (mix(10, weights, agreed, *gradients), buffers)
                for (weights, buffers), gradients in zip(self.state, self.gradients, strict=True)
            ]
        self.version = version
        self.settled = self.done
        self.clear()


class Undisturbed:
    """The run that nothing happens to: states of all layers at each version, and the losses of each step."""

    def __init__(self, spec):
        self.spec = spec
        self.whole = Part(0, 0, first_state(range(len(spec.layers))))
        self.states = [list(self.whole.state)]
        self.losses = {}

    def at(self, version):
        """The state of every layer at a version."""
        while len(self.states) <= version:
            self._step()
        return self.states[version]

    def diverges_at(self):
        """The first version that is never reached, for want of a loss that is a number; ``None``: all are."""
        if self.spec.on_nan == "skip":
            return None
        versions = range(1, self.spec.steps + 1)
        return next((v for v in versions if not all(map(math.isfinite, self.loss(v)))), None)

    def loss(self, version):
        """What the step that leads to ``version`` reports."""
        self.at(version)
        return self.losses[version]

    def _step(self):
        losses, spec = [], self.spec
        works = [work for work in spec.works_at(self.whole.version) if work.phase is Phase.TRAIN]
        for work in works:
            y = self.whole.forward(work, sample(work))
            losses.append(loss_of(spec, work, y))
            self.whole.backward(work, mix(11, y))
        skip = not all(map(math.isfinite, losses))
        norms = self.whole.norms() if spec.clips else None
        self.whole.update(self.whole.version + 1, norms, skip=skip)
        self.states.append(list(self.whole.state))
        self.losses[self.whole.version] = losses


def training_work(version, micro_batch):
    return Work(version, Phase.TRAIN, micro_batch)
