"""Latency and bandwidth are found in the times of parcels: with noise, of few sizes, and soon after a change."""

import random

import pytest

from edged.transport.fitting import FEW, LEAST, LinkFit, Stopwatch

MEBIBYTE = 1 << 20


def near(value, right, share):
    return right * (1 - share) <= value <= right * (1 + share)


def play(fit, rng, begin, seconds, startup, rate, *, sizes=(20_000, 400_000, 1_500_000), noise=0.05, outliers=0.0):
    """Parcels that go alone, one after the other; returns the moment at which the last was through."""
    now = begin
    while now < begin + seconds:
        size = rng.choice(sizes)
        took = (startup + size / rate) * (1 + noise * rng.random()) + (0.5 if rng.random() < outliers else 0.0)
        now += took
        fit.alone(size, took, now)
        now += 0.01
    return now


@pytest.mark.parametrize("rate", [1e6, 1.2e7, 1.2e8])
@pytest.mark.parametrize("startup", [0.0005, 0.02, 0.2])
def test_startup_and_rate_are_found_among_noise_and_outliers(startup, rate):
    for seed in range(20):
        fit, rng = LinkFit(), random.Random(seed)
        play(fit, rng, 0.0, 10.0 if rate > 2e6 else 30.0, startup, rate, outliers=0.05 if rate > 2e6 else 0.0)
        found = fit.estimate()
        if startup < 0.1 * 1_500_000 / rate:  # else the noise hides the difference that size makes
            assert near(found.bytes_per_second, rate, 0.15), (seed, found)
        for size in (20_000, 400_000, 1_500_000):
            right, noise = startup + size / rate, 0.05 * (startup + 400_000 / rate)
            told = found.startup_seconds + size / found.bytes_per_second
            assert abs(told - right) < 0.15 * right + noise, (seed, size, found)


@pytest.mark.parametrize(("before", "after"), [(1.2e7, 2.4e6), (2.4e6, 1.2e7)])
def test_a_change_of_the_rate_is_seen_within_seconds(before, after):
    for seed in range(20):
        fit, rng = LinkFit(), random.Random(seed)
        changed = play(fit, rng, 0.0, 20.0, 0.001, before)
        end = play(fit, rng, changed, 6.0, 0.001, after)
        assert end < changed + 8.0
        assert near(fit.estimate().bytes_per_second, after, 0.2), (seed, fit.estimate())


def test_of_one_size_only_a_rate_can_be_told_with_the_way_back_as_startup():
    fit = LinkFit()
    assert fit.estimate() is None
    for number in range(10):
        fit.alone(MEBIBYTE, 0.1, number)
    assert fit.estimate() == (0.0, pytest.approx(MEBIBYTE / 0.1))
    startup, rate = fit.estimate(0.01)
    assert (startup, rate) == (pytest.approx(0.01), pytest.approx(MEBIBYTE / 0.08))
    assert near(startup + 0.01 + MEBIBYTE / rate, 0.1, 1e-9)


def test_the_way_of_the_acknowledgement_is_no_part_of_the_startup():
    fit = LinkFit()
    play(fit, random.Random(1), 0.0, 10.0, 0.1, 1e7, noise=0.0)
    startup, rate = fit.estimate(0.05)
    assert near(startup, 0.05, 0.01)
    assert near(rate, 1e7, 0.01)


def test_parcels_that_follow_each_other_tell_the_rate_and_those_alone_the_startup():
    fit = LinkFit()
    for number in range(10):
        fit.queued(MEBIBYTE, 0.1, number)
        fit.queued(100, 1e-6, number)
    startup, rate = fit.estimate()
    assert (startup, rate) == (0.0, pytest.approx(MEBIBYTE / 0.1))
    fit.alone(MEBIBYTE, 0.15, 9.5)
    assert fit.estimate().startup_seconds == pytest.approx(0.05)


def test_where_size_makes_no_difference_the_rate_is_finite():
    fit = LinkFit()
    for number in range(2 * LEAST):
        fit.alone(1000 if number % 2 else 100_000, 0.001, number)
    startup, rate = fit.estimate()
    assert startup >= 0.0
    assert rate == pytest.approx(1e8)


@pytest.mark.parametrize("busy", [0, 20])
@pytest.mark.parametrize("sizes", [(300,), (200, 300, 450), (64, 4000)])
def test_small_parcels_tell_nothing_of_a_link(sizes, busy):
    for seed in range(50):
        fit, rng = LinkFit(), random.Random(seed)
        for number in range(60):
            late = 0.02 if number < busy else 0.001  # the receiver begins with slow computations
            fit.alone(rng.choice(sizes), late + rng.expovariate(400.0), number / 10)
            assert fit.estimate(0.0002) is None, (seed, number)


def test_what_was_sent_once_tells_nothing_of_a_link():
    fit = LinkFit()
    fit.alone(80_000, 0.04, 0.0)
    fit.queued(80_000, 0.04, 0.04)
    for number in range(60):
        fit.alone(300, 0.0005, number / 10)
        assert fit.estimate(0.0002) is None, number


def test_parcels_of_some_kilobytes_tell_the_rate_of_a_slow_link():
    fit, rng = LinkFit(), random.Random(5)
    for number in range(60):
        fit.alone(10_000, 0.08 + rng.expovariate(400.0), number / 10)
    assert near(fit.estimate(0.001).bytes_per_second, 125_000, 0.1)


def test_what_large_parcels_have_shown_stays_when_only_small_ones_follow():
    for seed in range(50):
        fit, rng = LinkFit(), random.Random(seed)
        for number in range(20):
            fit.alone(rng.choice((300, MEBIBYTE)), 0.001 + rng.expovariate(400.0) + 0.1, number / 10)
            fit.alone(MEBIBYTE, 0.101, number / 10)
        before = fit.estimate()
        for number in range(60):
            fit.alone(300, 0.001 + rng.expovariate(400.0), 100.0 + number)
        assert fit.estimate().bytes_per_second == pytest.approx(before.bytes_per_second)


def test_what_is_faster_than_a_slow_link_was_shows_that_it_is_faster_now():
    fit = LinkFit()
    for number in range(20):
        fit.alone(10_000, 0.1, number / 10)
    assert fit.estimate().bytes_per_second == pytest.approx(1e5)
    for number in range(60):
        fit.alone(10_000, 0.005, 100.0 + number)
    assert fit.estimate().bytes_per_second == pytest.approx(2e6)


def test_an_idle_link_keeps_what_it_has_shown():
    fit = LinkFit()
    for number in range(10):
        fit.alone(MEBIBYTE, 0.1, number / 10)
    before = fit.estimate()
    fit.alone(MEBIBYTE, 0.1, 1000.0)
    assert fit.estimate() == before


# ------------------------------------------------------------------------------------------- a connection


class Link:
    """A wire that carries one message after the other, and a sender's count of them."""

    def __init__(self, startup, rate):
        self.startup, self.rate = startup, rate
        self.fit = LinkFit()
        self.watch = Stopwatch(self.fit)
        self.count = self.acknowledged = 0
        self.free_at = 0.0
        self.acks = []

    def send(self, size, now, *, begins=True, whole=True, background=False):
        self.deliver(now)
        if background:
            self.watch.disturbed()
        elif begins:
            self.watch.begins(self.count, now, alone=self.count == self.acknowledged)
        self.count += size
        self.free_at = max(self.free_at, now) + size / self.rate
        self.acks.append((self.free_at + self.startup, self.count))
        if not background:
            self.watch.sent(self.count, whole=whole)

    def deliver(self, now=float("inf")):
        while self.acks and self.acks[0][0] <= now:
            at, self.acknowledged = self.acks.pop(0)
            self.watch.acknowledged(self.acknowledged, at)


@pytest.mark.parametrize("pause", [0.5, 0.01, 0.0])
def test_a_busy_link_shows_the_same_rate_as_an_idle_one(pause):
    link, rng, now = Link(0.005, 1e7), random.Random(3), 0.0
    for _ in range(100):
        link.send(rng.choice([300_000, 1_000_000]), now)
        now = now + pause if pause else max(now, link.free_at - 0.2)
    link.deliver()
    found = link.fit.estimate()
    assert near(found.bytes_per_second, 1e7, 0.03), found


def test_what_waits_behind_background_messages_is_not_counted():
    link, now = Link(0.001, 1e7), 0.0
    for _ in range(20):
        link.send(5_000_000, now, background=True)
        link.send(100_000, now + 0.001)
        now += 2.0
    link.deliver()
    assert link.fit.estimate() is None


def test_a_parcel_in_pieces_is_timed_as_a_whole_unless_something_gets_between():
    link = Link(0.001, 1e6)
    for number in range(10):
        link.send(100, number, whole=False)
        link.send(99_900, number + 0.001, begins=False)
    link.deliver()
    startup, rate = link.fit.estimate()
    assert startup + 100_000 / rate == pytest.approx(0.101, rel=0.01)
    other = Link(0.001, 1e6)
    other.send(100, 0.0, whole=False)
    other.send(1_000_000, 0.0, background=True)
    other.send(99_900, 0.001, begins=False)
    other.deliver()
    assert other.fit.estimate() is None


def test_a_parcel_that_was_dropped_half_way_is_forgotten():
    link = Link(0.001, 1e6)
    link.send(100_000, 0.0, whole=False)
    link.send(17, 5.0, begins=False, whole=False)
    for number in range(FEW):
        link.send(50_000, 10.0 + number)
    link.deliver()
    startup, rate = link.fit.estimate()
    assert startup + 50_000 / rate == pytest.approx(0.051, rel=0.01)
