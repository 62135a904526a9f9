"""The planner is asked where figures have moved for good, once for each time that they do, and when they are sure."""

import random

import pytest

from edged.core.drift import (
    CALM_SECONDS,
    CREEP_SECONDS,
    STEADY_SECONDS,
    SURE_SECONDS,
    WARM_SECONDS,
    Drift,
)
from edged.core.situation import LEAST_GAIN, SURE_GAIN
from tests.core.job_sample import A, B, C

CALM = {("speed", A, A): 1.0, ("speed", B, B): 2.0, ("memory", A, A): 1e9, ("link", A, B): 0.01}


def changed(**new):
    kinds = {"speed": ("speed", A, A), "memory": ("memory", A, A), "link": ("link", A, B)}
    return CALM | {kinds[kind]: value for kind, value in new.items()}


class Watch:
    """A plan that runs from moment 0 on; figures come once a second.

    ``questions``: moments of those about drifts; ``sure``: of those that come because speeds are sure.
    """

    def __init__(self, levels=CALM):
        self.drift = Drift()
        self.now = 0.0
        self.begin(levels)
        self.questions = []
        self.sure = []
        self.told_sure = False

    def begin(self, levels=CALM):
        """Another plan runs from now on."""
        self.drift.planned(levels)
        self.drift.resumed(self.now)
        self.drift.running(self.now, (A, B))

    def see(self, levels, seconds):
        for _ in range(round(seconds)):
            self.now += 1.0
            each = levels() if callable(levels) else levels
            if self.drift.is_due(self.now) and self.drift.is_worth_asking(each, self.now):
                due = self.drift.becomes_sure(self.now)
                self.told_sure = self.drift.asked(each, self.now)
                (self.sure if due else self.questions).append(self.now)
        return len(self.questions)


@pytest.mark.parametrize(
    ("kind", "little", "much"), [("speed", 1.15, 1.3), ("memory", 1.1e9, 7e8), ("link", 0.012, 0.02)]
)
def test_a_figure_that_moves_far_and_stays_is_asked_about_once(kind, little, much):
    watch = Watch()
    assert watch.see(CALM, SURE_SECONDS) == 0
    assert watch.see(changed(**{kind: little}), 5) == 0
    assert watch.see(CALM, 1) == 0
    begun = watch.now
    assert watch.see(changed(**{kind: much}), 200) == 1
    assert watch.questions[0] <= begun + STEADY_SECONDS[0] + 1.0


def test_faster_is_as_far_as_slower():
    assert Watch().see(changed(speed=0.8), 30) == 1
    assert Watch().see(changed(speed=0.95), 60) == 0


def test_what_passes_is_no_drift():
    watch = Watch()
    for _ in range(50):
        watch.see(changed(speed=5.0), STEADY_SECONDS[0])
        watch.see(CALM, 3)
    assert watch.questions == []


def test_nothing_is_asked_before_the_plan_is_warm():
    watch = Watch()
    watch.see(changed(speed=5.0), WARM_SECONDS - 1)
    assert watch.questions == []
    watch.see(changed(speed=5.0), 5)
    assert watch.questions == [WARM_SECONDS + STEADY_SECONDS[0]]


def test_speeds_that_are_sure_are_asked_about_once():
    watch = Watch()
    assert watch.see(CALM, 500) == 0
    assert watch.sure == [SURE_SECONDS]
    watch.begin()
    begun = watch.now
    watch.see(CALM, 500)
    assert watch.sure == [SURE_SECONDS, begun + SURE_SECONDS]


def test_speeds_are_not_sure_before_every_node_has_worked_for_a_while():
    watch = Watch()
    watch.drift.planned(CALM)
    watch.drift.resumed(0.0)
    watch.now = 100.0
    watch.drift.running(watch.now, (A, B))  # a first step of a hundred seconds
    watch.see(CALM, 50)
    assert watch.sure == [100.0 + WARM_SECONDS]


def test_every_change_makes_the_next_one_need_more_for_a_while():
    drift, now = Drift(), 1000.0
    assert drift.least_gain(now, sure=False) == LEAST_GAIN
    drift.changed(now)
    assert drift.least_gain(now, sure=False) == 2 * LEAST_GAIN
    assert drift.least_gain(now, sure=True) == 2 * SURE_GAIN
    assert drift.least_gain(now + CALM_SECONDS, sure=False) == pytest.approx(2**0.5 * LEAST_GAIN)
    for _ in range(10):
        drift.changed(now)
    assert drift.least_gain(now, sure=False) == 4 * LEAST_GAIN, "a node that gets five times slower is still relieved"
    assert drift.least_gain(now + 20 * CALM_SECONDS, sure=False) == pytest.approx(LEAST_GAIN, rel=1e-4)


def test_what_was_refused_because_layers_had_moved_is_asked_about_again():
    watch = Watch()
    watch.drift.changed(0.0)
    watch.see(CALM, SURE_SECONDS)
    watch.drift.kept(watch.now)
    watch.see(CALM, CALM_SECONDS)
    assert watch.sure == [SURE_SECONDS, SURE_SECONDS + CALM_SECONDS]
    watch.now += 10 * CALM_SECONDS
    watch.drift.kept(watch.now)
    watch.see(CALM, 10 * CALM_SECONDS)
    assert len(watch.sure) == 2


def test_a_speed_that_drifts_is_sure_later():
    watch = Watch()
    watch.see(CALM, SURE_SECONDS - 4)
    watch.see(changed(speed=3.0), 300)
    watch.see(changed(speed=1.0), 300)
    assert len(watch.questions) == 2
    assert watch.sure == [asked + SURE_SECONDS for asked in watch.questions]


def test_a_speed_that_moves_at_the_moment_is_not_sure():
    watch = Watch()
    watch.see(CALM, SURE_SECONDS - 1)
    watch.see(changed(speed=3.0), 2)
    assert watch.sure == []
    watch.see(CALM, 2)
    assert watch.sure == [SURE_SECONDS + 2]


def test_a_link_that_drifts_says_nothing_new_of_speeds():
    watch = Watch()
    watch.see(CALM, SURE_SECONDS + 5)
    assert watch.see(changed(link=0.1), 300) == 1
    assert watch.sure == [SURE_SECONDS]
    assert watch.told_sure, "they still are"
    watch.see(changed(link=0.1, speed=3.0), 10)
    assert not watch.told_sure


def test_a_speed_of_a_node_without_layers_does_not_delay_those_of_others():
    watch = Watch()
    watch.drift.planned(CALM)
    watch.drift.resumed(0.0)
    watch.drift.running(0.0, (B,))
    watch.see(CALM, SURE_SECONDS - 1)
    watch.see(changed(speed=3.0), 5)
    assert watch.sure == [SURE_SECONDS]


def test_what_goes_to_and_fro_is_asked_about_ever_less_often():
    watch, moments = Watch(), iter(range(10_000))
    to_and_fro = lambda: changed(link=0.01 if next(moments) % 20 < 10 else 0.1)  # noqa: E731 - a figure, as others
    first, later = watch.see(to_and_fro, 60), watch.see(to_and_fro, 60)
    assert first > 1
    assert later == first, "not at all any more: it never lasts for twelve seconds"
    assert watch.see(changed(link=0.5), 20) == first + 1, "what lasts is still asked about"
    watch.begin()
    watch.see(changed(link=0.1), WARM_SECONDS + STEADY_SECONDS[0] + 2)
    assert len(watch.questions) == first + 2, "a new plan knows nothing of it"


def test_a_question_for_each_further_drift():
    watch = Watch()
    for number, level in enumerate((2.0, 4.0, 8.0), 1):
        assert watch.see(changed(speed=level), 40) == number


def test_half_a_drift_is_enough_after_long():
    watch = Watch()
    watch.see(CALM, SURE_SECONDS)
    assert watch.see(changed(speed=1.15), CREEP_SECONDS - 1) == 0
    assert watch.see(changed(speed=1.15), 200) == 1


def test_a_link_that_shows_itself_is_asked_about_and_a_node_that_does_is_not():
    begun = {subject: level for subject, level in CALM.items() if subject[0] != "link"}
    assert Watch(begun).see(CALM, 30) == 1
    without = {subject: level for subject, level in CALM.items() if subject[1] != B}
    assert Watch(without).see(CALM, 60) == 0


def test_noise_within_the_limits_is_asked_about_rarely():
    for seed in range(20):
        rng = random.Random(seed)
        watch = Watch()
        watch.see(lambda rng=rng: changed(speed=rng.uniform(0.92, 1.08), link=0.01 * rng.uniform(0.9, 1.1)), 300)
        assert len(watch.questions) <= 300 / CREEP_SECONDS


@pytest.mark.parametrize(
    ("new", "verbs"),
    [
        ({"speed": 3.0, "memory": 8e8}, {A: "is slower"}),
        ({"speed": 0.3}, {A: "is faster"}),
        ({"memory": 1e8}, {A: "has less memory"}),
        ({"memory": 1e10}, {A: "has more memory"}),
        ({"link": 0.1}, dict.fromkeys((A, B), "reach each other more slowly")),
        ({"link": 0.1, "speed": 3.0}, {A: "is slower"}),
        ({"link": 0.1, "speed": 0.7}, dict.fromkeys((A, B), "reach each other more slowly")),
        ({"link": 0.001, "speed": 1.1}, dict.fromkeys((A, B), "reach each other faster")),
    ],
)
def test_what_has_moved_most_is_named(new, verbs):
    watch = Watch()
    watch.see(changed(**new), 30)
    assert watch.drift.verbs() == verbs


def test_a_figure_that_was_asked_about_for_months_is_still_asked_about():
    watch = Watch()
    watch.see(CALM, SURE_SECONDS)
    watch.drift._questions["speed", A, A] = 5_000
    begun = watch.now
    assert watch.see(changed(speed=2.0), 30) == 1
    assert watch.questions[0] == pytest.approx(begun + STEADY_SECONDS[-1], abs=1.0)


def test_words_compare_with_the_plan_in_force_and_not_with_the_last_question():
    watch = Watch()
    watch.see(changed(speed=4.0), 30)
    watch.see(changed(speed=2.0), 30)
    assert len(watch.questions) == 2
    assert watch.drift.verbs() == {A: "is slower"}
    assert Drift().verbs() == {}


def three(a, b, c):
    return {("speed", node, node): level for node, level in ((A, a), (B, b), (C, c))}


@pytest.mark.parametrize(
    ("then", "now", "verbs"),
    [
        ((1.0, 1.0, 1.0), (1.5, 1.5, 4.0), {C: "is slower"}),
        ((1.0, 1.0, 3.0), (1.6, 1.5, 6.0), {C: "is slower"}),
        ((2.1, 2.4, 1.5), (5.2, 2.2, 2.2), {A: "is slower"}),
        ((1.0, 1.0, 5.0), (2.0, 2.0, 2.0), {C: "is faster"}),
        ((1.0, 1.0, 1.0), (3.0, 3.0, 3.0), {}),
    ],
)
def test_what_all_nodes_have_in_common_is_not_named(then, now, verbs):
    watch = Watch(three(*then))
    watch.see(three(*now), 30)
    assert watch.questions
    assert watch.drift.verbs() == verbs


def test_words_compare_with_what_was_measured_at_work_once_the_plan_is_found_right():
    watch = Watch(three(1.0, 1.0, 4.0))  # a calibration that was disturbed
    watch.see(three(1.0, 1.0, 1.5), 20)
    assert watch.questions
    watch.drift.kept(watch.now)
    watch.see(three(1.0, 1.0, 3.0), 20)
    assert watch.drift.verbs() == {C: "is slower"}
    watch.drift.kept(watch.now)  # and with no later question
    watch.see(three(1.0, 1.0, 2.4), 20)
    assert watch.drift.verbs() == {C: "is slower"}


def test_where_nothing_has_moved_far_nothing_is_named():
    watch = Watch()
    watch.see(changed(speed=1.05, link=0.0101), 60)
    assert watch.sure
    assert watch.drift.verbs() == {}
