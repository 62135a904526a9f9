"""A node's slowness is found in what it computes: with outliers, with rationed processors, and soon after a change."""

import random
from dataclasses import replace

import pytest

from edged.core.events import BackwardDone, ForwardDone
from edged.core.gauge import COLD_SECONDS, LEAST_BLOCKS, SPAN_SECONDS, Gauge
from edged.core.job import Phase, Work
from tests.core.job_sample import A, B, plan, spec, stamp

SPEC = spec(layers=4, steps=1000)
PLAN = plan(stamp(), (A, B))
FORWARD, BACKWARD = 2 * 0.01, 2 * 0.02


class Device:
    """Computes one micro-batch after the other at node B, whose hop has two of the four layers."""

    def __init__(self, its=SPEC):
        self.gauge = Gauge(PLAN, its, B)
        self.now = 100.0
        self.number = 0

    def compute(self, forward, backward, work=None):
        work = work or Work(self.number // 4, Phase.TRAIN, self.number % 4)
        self.number += 1
        self.now += forward
        self.gauge.handle(ForwardDone(PLAN.stamp, 0, 1, work, forward, None, ()), self.now)
        self.now += backward
        self.gauge.handle(BackwardDone(PLAN.stamp, 0, 1, work, backward), self.now)

    def work(self, seconds, slowness):
        end = self.now + seconds
        while self.now < end:
            each = slowness() if callable(slowness) else slowness
            self.compute(FORWARD * each, BACKWARD * each)


def test_nothing_is_said_before_anything_was_measured():
    assert Device().gauge.slowness == 0.0


def warm():
    """A device whose first seconds, which do not count, are over."""
    device = Device()
    device.work(COLD_SECONDS, 1.0)
    return device


def test_slowness_is_measured_seconds_over_those_of_the_profile():
    device = warm()
    device.work(2.0, 3.0)
    assert device.gauge.slowness == pytest.approx(3.0)


def test_the_first_seconds_do_not_count():
    device = Device()
    device.work(COLD_SECONDS - 1.0, 9.0)
    assert device.gauge.slowness == 0.0
    device.work(2.0, 1.0)
    assert device.gauge.slowness == pytest.approx(1.0)


def test_a_few_outliers_do_not_matter():
    for seed in range(50):
        device, rng = warm(), random.Random(seed)
        device.work(5.0, lambda rng=rng: 20.0 if rng.random() < 0.03 else rng.uniform(1.2, 1.4))
        assert device.gauge.slowness == pytest.approx(1.3, rel=0.1), seed


@pytest.mark.parametrize(("before", "after"), [(1.0, 5.0), (5.0, 1.0)])
def test_a_change_is_seen_within_seconds(before, after):
    device = Device()
    device.work(20.0, before)
    device.work(SPAN_SECONDS, after)
    assert device.gauge.slowness == pytest.approx(after)


def test_noise_of_seconds_hardly_moves_it():
    for seed in range(20):
        device, rng, told = Device(), random.Random(seed), []
        for second in range(60):
            device.work(1.0, 1.0 / rng.uniform(0.8, 1.0))
            told += [device.gauge.slowness] if second >= 20 else []
        told.sort()
        assert told[-4] < 1.1 * told[3], (seed, told)


def test_a_slow_node_is_measured_by_its_newest_computations():
    device = Device()
    device.work(20.0, 1.0)
    for _ in range(LEAST_BLOCKS):
        device.compute(FORWARD * 500, BACKWARD * 500)
    assert device.gauge.slowness == pytest.approx(500)


def test_a_rationed_processor_is_seen_in_blocks_where_single_computations_hide_it():
    """A period of 20 ms of which 4 may be used: most computations of 1 ms are not interrupted, some take 17."""
    layers = tuple(replace(each, forward_seconds=0.0002, backward_seconds=0.0003) for each in SPEC.layers)
    device, used = Device(replace(SPEC, layers=layers)), 0.0

    def rationed(seconds):
        nonlocal used
        used += seconds
        interrupted = used >= 0.004
        used = used - 0.004 if interrupted else used
        return seconds + (0.016 if interrupted else 0.0)

    for _ in range(3000):
        device.compute(rationed(0.0004), rationed(0.0006))
    assert device.gauge.slowness == pytest.approx(5.0, rel=0.1)


def test_evaluations_and_the_smaller_last_micro_batch_do_not_count():
    its = replace(SPEC, samples=11, drop_last=False, epochs=100)  # the last step of an epoch: 2 samples and 1
    device = Device(its)
    device.work(COLD_SECONDS, 1.0)
    for _ in range(20):
        device.compute(FORWARD, BACKWARD, Work(0, Phase.TRAIN, 0))
        device.compute(0.1, 0.1, Work(1, Phase.TRAIN, 1))
        device.gauge.handle(ForwardDone(PLAN.stamp, 0, 1, Work(1, Phase.EVALUATE, 0), 9.0, None, ()), device.now)
    device.compute(FORWARD, BACKWARD, Work(1, Phase.TRAIN, 0))
    assert device.gauge.slowness == pytest.approx(1.0)


def test_a_node_without_layers_measures_nothing():
    gauge = Gauge(PLAN, SPEC, "c" * 16)
    gauge.handle(BackwardDone(PLAN.stamp, 0, 1, Work(0, Phase.TRAIN, 0), 1.0), 1.0)
    assert gauge.slowness == 0.0
