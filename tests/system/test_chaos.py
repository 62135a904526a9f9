"""Chaos scenarios, as ``make chaos`` plays them: real nodes and faults, equal weights.

One cluster serves all of the short set, one after the other, so that each also meets what the one before has left.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "scripts"


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script; what it says of each scenario is in the failure's text."""
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "chaos.py"), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "chosen",
    [["--short"], pytest.param(["--scenario", "soak", "--faults", "10"], marks=pytest.mark.proof)],
    ids=["short-set", "soak"],
)
def test_scenarios_end_with_the_weights_of_an_undisturbed_run(
    figure: list[str], tmp_path: Path, chosen: list[str]
) -> None:
    done = chaos(*chosen, "--json", "--keep", str(tmp_path))
    assert done.returncode == 0, done.stderr
    played = json.loads(done.stdout)
    assert played["left"] == []
    for outcome in played["outcomes"]:
        assert outcome["passed"], outcome
        pause = outcome["pause_seconds"]
        figure.append(
            f"chaos {outcome['scenario']}: {outcome['verdict']}"
            + ("" if pause is None else f", pause {pause:.2f} s, {outcome['replayed_steps']} steps again")
        )


@pytest.mark.proof
@pytest.mark.parametrize(
    ("mutant", "verdict"),
    [
        ("wrong-copies", "WRONG WEIGHTS"),
        ("wrong-patience", "equal after waiting; but the job has waited for who was gone"),
        ("wrong-leave", "equal; but "),
        ("wrong-start", "equal; but version "),
    ],
)
def test_a_wrong_build_has_a_bad_verdict(mutant: str, verdict: str) -> None:
    done = chaos("--scenario", mutant, "--json")
    (outcome,) = json.loads(done.stdout)["outcomes"]
    assert outcome["verdict"].startswith(verdict), outcome
    assert done.returncode == 1


def test_scenarios_are_listed_and_an_unknown_one_is_refused() -> None:
    listed = chaos("--list").stdout
    assert "kill-leader" in listed
    assert "soak" in listed
    assert chaos("--scenario", "no-such").returncode == 1
