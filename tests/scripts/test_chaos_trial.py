"""A trial knows whether it disturbed anything; one that did not is played again, with a slower job."""

from __future__ import annotations

import random
from types import SimpleNamespace

import chaos
import pytest
import testbed
from chaos_trial import Outcome, OverError, Scenario, Trial
from chaos_watch import Fact, Watch

from edged.core.ids import JobId, Stamp

STAMP = Stamp(JobId("ab"), 1, 1)


@pytest.mark.parametrize(
    ("steps", "faults", "late"),
    [
        ({1: 5.0, 2: 6.0}, [(7.0, "kill n0")], True),
        ({1: 5.0, 2: 6.0}, [(5.5, "kill n0"), (7.0, "kill n1")], False),
        ({1: 5.0}, [(7.0, "kill n0")], False),
        ({1: 5.0, 2: 6.0}, [], False),
    ],
)
def test_a_fault_after_the_last_step_disturbs_nothing(
    steps: dict[int, float], faults: list[tuple[float, str]], late: bool
) -> None:
    watch = SimpleNamespace(steps={"ab": {(STAMP, step): moment for step, moment in steps.items()}})
    trial = Trial(SimpleNamespace(), watch, random.Random(0), {})  # type: ignore[arg-type]
    trial.job, trial.faults, trial._steps = "ab", faults, 2
    assert trial.too_late() is late


def test_a_job_that_ends_too_early_is_played_again_more_slowly_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played: list[int] = []

    def play(_stage: chaos.Stage, _scenario: Scenario, _seed: int, _outcome: Outcome, slower: int) -> bool:
        played.append(slower)
        return slower < enough

    monkeypatch.setattr(chaos, "reference", lambda _changes: None)
    monkeypatch.setattr(chaos.Stage, "_play", play)
    scenario, enough = chaos.SCENARIOS[0], 4
    chaos.Stage(network=False).play(scenario, 1, Outcome(scenario.name, 1))
    assert played == [1, 4]
    enough = 100
    with pytest.raises(testbed.TestbedError, match="always ended before"):
        chaos.Stage(network=False).play(scenario, 1, Outcome(scenario.name, 1))


@pytest.mark.parametrize("over", [False, True])
def test_a_newcomer_is_waited_for_as_long_as_the_job_runs(over: bool) -> None:
    watch = Watch()
    trial = Trial(SimpleNamespace(), watch, random.Random(0), {})  # type: ignore[arg-type]
    trial.job = "ab"
    stamp = {"job": "ab", "term": 1, "version": 2}
    joined = Fact("n0", 5.0, "heard RecoveryReport", {"stamp": stamp, "cause": "joined"})
    finished = Fact("n0", 6.0, "heard FinishedReport", {"stamp": stamp})
    watch.facts = [Fact("n0", 3.0, "heard RecoveryReport", {"stamp": stamp, "cause": "joined"}), finished]
    watch.facts += [] if over else [joined]
    if over:
        with pytest.raises(OverError):
            trial.joined(4.0)
    else:
        trial.joined(4.0)
