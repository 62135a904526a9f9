"""A device measures itself again where that disturbs nothing, and tells only what matters."""

from types import SimpleNamespace

import pytest

from edged.core.events import SelfMeasured
from edged.core.messages import JobRecord, JobState, PlanChosen
from edged.roles import survey
from edged.roles.survey import MEASURE_SECONDS, Survey
from tests.core.job_sample import JOB, A, B, C, member, plan, spec, stamp

SPEC = spec()


class Stage:
    """Node C, beside a job that runs on A and B; calibrations end at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.own = member(C, slowness=0.0)
        self.calibration, self.free = 1.0, 10**9
        self.calibrations, self.posted = 0, []
        self.running = SimpleNamespace(gauge=None, stamp=None)
        self.state = JobState.RUNNING
        self.nodes = (A, B)
        self.engine = SimpleNamespace(idle=True, run=self.run)
        self.worker = SimpleNamespace(memory_bytes=10**9)
        self.worker.grant = lambda size: setattr(self.worker, "memory_bytes", size)
        device = SimpleNamespace(measure=self.measure, free_memory=lambda own_bytes: self.free)
        self.addresses = self.own.addresses
        self.survey = Survey(
            self,
            device,
            self.engine,
            self.worker,
            self.post,
            lambda: self.addresses,
            lambda: self.now,  # type: ignore[arg-type]
        )

    node = C

    @property
    def membership(self):
        return SimpleNamespace(own=self.own)

    @property
    def board(self):
        record = JobRecord(JOB, "job", A, self.state, 1, 9, "")
        plans = {JOB: PlanChosen(plan(stamp(), self.nodes), SPEC)}
        return SimpleNamespace(plans=plans, jobs=SimpleNamespace(records={JOB: record}))

    def run(self, function, done, _failed) -> None:
        done(function(None))

    def measure(self, _executor, bursts):
        assert bursts == survey.BURSTS
        self.calibrations += 1
        return self.calibration, "cpu"

    def post(self, event) -> None:
        self.posted.append(event)
        self.own = member(C, slowness=event.slowness)
        self.own = type(self.own)(
            **{name: getattr(self.own, name) for name in self.own.__slots__}
            | {"memory_bytes": event.memory_bytes, "addresses": event.addresses or self.own.addresses}
        )

    def go_on(self, rounds=1):
        for _ in range(rounds):
            self.survey.look()
            self.now += MEASURE_SECONDS
        return self


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.go_on()
    assert made.calibrations == 0, "before its first measurement a device is left alone"
    made.own = member(C, slowness=1.0)
    return made.go_on()


def test_who_has_no_layers_is_calibrated_from_time_to_time(stage: Stage) -> None:
    assert stage.go_on(5).calibrations == 5
    stage.survey.look()
    stage.now += MEASURE_SECONDS / 2
    stage.survey.look()
    stage.survey.look()
    assert stage.calibrations == 6
    assert stage.survey.figure() == (JOB, 1.0)
    assert stage.posted == []


def test_nobody_is_calibrated_who_computes_or_is_not_wanted(stage: Stage) -> None:
    stage.engine.idle = False
    assert stage.go_on(3).calibrations == 0
    stage.engine.idle, stage.nodes = True, (A, C)
    assert stage.go_on(3).calibrations == 0
    stage.nodes, stage.state = (A, B), JobState.FINISHED
    assert stage.go_on(3).calibrations == 0


def test_a_slower_device_is_believed_at_the_second_time_and_a_faster_one_at_once(stage: Stage) -> None:
    stage.go_on(2)
    stage.calibration = 5.0
    assert stage.go_on().survey.figure() == (JOB, 1.0)
    assert stage.go_on().survey.figure() == (JOB, 5.0)
    assert [event.slowness for event in stage.posted] == [5.0]
    stage.calibration = 1.1
    assert stage.go_on().survey.figure() == (JOB, 1.1)
    assert [event.slowness for event in stage.posted] == [5.0, 1.1]


def test_work_counts_while_there_is_any(stage: Stage) -> None:
    stage.running.gauge, stage.running.stamp = SimpleNamespace(slowness=1.3), stamp()
    assert stage.survey.figure() == (JOB, 1.3)
    stage.running.gauge = None
    assert stage.survey.figure() == (JOB, 1.3)
    stage.go_on()
    assert stage.survey.figure() == (JOB, 1.3), "a calibration of 1.0 is what work takes 1.3 for here"


def test_memory_is_told_where_it_has_changed_much(stage: Stage) -> None:
    stage.free = int(0.9e9)
    assert stage.go_on().posted == []
    stage.free = int(0.5e9)
    stage.go_on(3)
    assert [(event.memory_bytes, event.slowness) for event in stage.posted] == [(int(0.5e9), 1.0)]
    assert stage.worker.memory_bytes == int(0.5e9)
    stage.free = int(2e9)
    stage.go_on(3)
    assert [event.memory_bytes for event in stage.posted] == [int(0.5e9), int(2e9)]


def test_a_budget_that_was_lowered_because_memory_ran_out_stays_low(stage: Stage) -> None:
    stage.go_on()
    stage.post(SelfMeasured(1.0, 3 * 10**8, "cpu"))
    stage.posted.clear()
    stage.free = 2 * 10**9
    assert stage.go_on(3).posted == []


@pytest.mark.parametrize("measured", [True, False])
def test_another_address_is_told_once_and_nothing_else_changes_with_it(stage: Stage, measured: bool) -> None:
    stage.engine.idle = False
    stage.own = member(C, slowness=2.0 if measured else 0.0)
    stage.addresses = ("10.0.0.9", "192.168.1.2")
    before = stage.own
    assert stage.go_on(3).posted == [
        SelfMeasured(before.slowness, before.memory_bytes, before.device, ("10.0.0.9", "192.168.1.2"))
    ]
