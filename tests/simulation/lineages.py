"""What asynchronous training computes, in whole numbers: a recurrence for each plan that ran (``core/stashing.py``).

A version has other digests under another plan, so whatever is built, copied or written must be, as a whole, what one
plan computes that began with what one plan had computed.
"""

from edged.core.job import Phase, Work
from tests.simulation.arithmetic import first_state, loss_of, mix, sample


class Lineage:
    """All layers at each version from ``start`` on, under a plan whose stages begin at the layers ``borders``."""

    def __init__(self, spec, start, borders, state):
        self.spec, self.start, self.barrier = spec, start, start
        stages = len(borders)
        self.behind = [stages - sum(border <= layer for border in borders) for layer in range(len(spec.layers))]
        self.states = [list(state)]
        self.losses = {}

    def at(self, version):
        while self.start + len(self.states) <= version:
            self._step(self.start + len(self.states) - 1)
        return self.states[version - self.start]

    def _step(self, i):
        self.barrier = i if self.spec.evaluates_at(i) else self.barrier
        work = Work(i, Phase.TRAIN, 0)
        x, entered, buffers = sample(work), [], []
        for layer, behind in enumerate(self.behind):
            weights = self.states[max(self.barrier, i - behind) - self.start][layer][0]
            entered.append((x, weights))
            buffers.append(mix(5, self.states[-1][layer][1], x))
            x = mix(6, x, weights)
        self.losses[i + 1] = [loss_of(self.spec, work, x)]
        gradient, gradients = mix(11, x), []
        for x, weights in reversed(entered):
            gradients.append(mix(7, gradient, x, weights))
            gradient = mix(8, gradient, x, weights)
        newest = [weights for weights, _ in self.states[-1]]
        updated = [mix(10, w, 0, g) for w, g in zip(newest, reversed(gradients), strict=True)]
        self.states.append(list(zip(updated, buffers, strict=True)))


class Lineages:
    """Every plan of one job that was built: which lineages it may be, as far as is known from what was built."""

    def __init__(self, spec):
        self.spec = spec
        self.plans = {}

    def build(self, plan, version, first, state):
        """A node builds these layers of a plan; returns whether the plan's layers come from one lineage yet."""
        borders = [hop.first_layer for hop in plan.routes[0].hops]
        if plan not in self.plans:
            whole = {tuple(each.at(version)): None for each in self._all() if each.start <= version}
            whole |= {tuple(first_state(range(len(self.spec.layers)))): None} if version == 0 else {}
            self.plans[plan] = [Lineage(self.spec, version, borders, each) for each in whole]
        fitting = [each for each in self.plans[plan] if self._has(each, version, first, state)]
        self.plans[plan] = fitting
        return bool(fitting)

    def fits(self, first, version, state):
        """Whether some plan computes these layers at this version, or the job begins with them."""
        if version == 0:
            return list(state) == first_state(range(len(self.spec.layers)))[first : first + len(state)]
        return any(self._has(each, version, first, state) for each in self._all() if each.start <= version)

    def loss(self, version):
        """All losses that a step may report."""
        found = []
        for each in self._all():
            if each.start < version:
                each.at(version)
                found += each.losses[version]
        return found

    def diverges_at(self):
        return None

    def _all(self):
        return [each for candidates in self.plans.values() for each in candidates]

    @staticmethod
    def _has(lineage, version, first, state):
        return list(state) == lineage.at(version)[first : first + len(state)]
