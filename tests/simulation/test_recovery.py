"""Nothing is lost, from seeds: faults at moments and at named points of every phase; every layer's state is judged.

``EDGED_SEEDS=10000`` runs as many seeds (``scripts/seeds.py`` does it on all cores), ``EDGED_FIRST_SEED`` says from
which one on. A failure names its seed: ``live_through(seed)`` repeats it, event for event.
"""

import os

import pytest

from tests.proofs import first_of
from tests.simulation.recovery_run import live_through

FIRST = int(os.environ.get("EDGED_FIRST_SEED", "0"))
SEEDS = int(os.environ.get("EDGED_SEEDS", "80"))
SHARE = 20
SHARES = SEEDS if "EDGED_SEEDS" in os.environ else 2
"""So many of them in the default run: all, where their number is given."""

TIMEOUT_SECONDS = 300 + 5 * SEEDS


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_SECONDS)
@pytest.mark.parametrize("first", first_of(range(FIRST, FIRST + SEEDS, SHARE), SHARES))
def test_whatever_happens_the_job_ends_with_the_right_state_or_says_what_is_missing(first, figure):
    verdicts = [live_through(seed) for seed in range(first, min(first + SHARE, FIRST + SEEDS))]
    finished = [verdict for verdict in verdicts if verdict.state == "FINISHED"]
    assert len(finished) > len(verdicts) / 2
    assert sum(verdict.plans for verdict in verdicts) > len(verdicts), "nothing was recovered from"
    slowest = max(verdict.seconds for verdict in finished)
    figure.append(f"seeds {first}..: {len(finished)} of {len(verdicts)} finish, the slowest {slowest:.0f} s after")


def test_a_seed_is_repeated_event_for_event():
    assert live_through(3) == live_through(3)
