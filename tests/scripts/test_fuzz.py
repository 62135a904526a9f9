"""The fuzzer: its mutations, its targets, and a short run over each of them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgpack
import pytest
from fuzz import ONE, Outcome, fuzz
from fuzz_forms import DEPTHS, ODD, Form, changed, mutated, packed, places, written
from fuzz_one import PLANTED, TARGETS, WIRE

SECONDS, SEED = 3, 1
SHORT = (*(name for name in WIRE if name != PLANTED), "program", "job")
"""Targets that are fuzzed in every run of the tests: those of the wire, and two of what is loaded."""

PLANTED_SECONDS = 240  # it ends when the fault is found

without_atheris = pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris, which has no build for this platform, is not installed"
)


def same_bytes(data: bytes, _most: int) -> bytes:
    return data


def flip_one(data: bytes, most: int) -> bytes:
    return bytes([data[0] ^ 1, *data[1:most]]) if data else b"x"


TREE = {"name": "x", "list": [1, 2.5, None, True, [3, ["deep"]]], "map": {"ref": "y"}}
FORMS = {
    "msgpack": (packed(2), b"\x00\x01" + msgpack.packb(TREE)),
    "json": (written(), json.dumps(TREE).encode()),
    "framed": (written(4), len(json.dumps(TREE)).to_bytes(4, "big") + json.dumps(TREE).encode() + b"tail"),
}


@pytest.mark.parametrize(("form", "data"), FORMS.values(), ids=FORMS.keys())
def test_what_is_taken_apart_is_put_together_again(form: Form, data: bytes) -> None:
    assert form.pack(form.unpack(data)) == data


@pytest.mark.parametrize(("form", "data"), FORMS.values(), ids=FORMS.keys())
def test_mutations_are_bounded_repeat_with_their_seed_and_mostly_still_parse(form: Form, data: bytes) -> None:
    parsed, different = 0, set()
    for seed in range(600):
        made = mutated(form, data, 4000, random.Random(seed), [data], flip_one)
        assert made == mutated(form, data, 4000, random.Random(seed), [data], flip_one)
        assert 0 < len(made) <= 4000
        different.add(made)
        try:
            parsed += form.unpack(made) is not None
        except (ValueError, RecursionError, msgpack.UnpackException):
            continue
    assert parsed > 150
    assert len(different) > 150


@pytest.mark.parametrize(("form", "data"), FORMS.values(), ids=FORMS.keys())
def test_brackets_are_put_as_deep_as_no_packer_would(form: Form, data: bytes) -> None:
    deepest = max(DEPTHS)
    opening = form.nest(deepest)[:deepest]
    mutations = (mutated(form, data, 20_000, random.Random(seed), [data], same_bytes) for seed in range(2000))
    assert any(opening in made for made in mutations)


def test_a_change_is_one_of_values_not_of_what_was_given_elsewhere() -> None:
    dice = random.Random(3)
    for _ in range(500):
        other = json.loads(json.dumps(TREE))
        value: Any = changed(json.loads(json.dumps(TREE)), dice, lambda other=other: other, same_bytes)
        assert isinstance(value, dict)
        assert other == TREE


def test_every_place_of_a_tree_is_found_however_deep() -> None:
    assert len(places(TREE)) == 3 + 5 + 2 + 1 + 1
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    assert len(places(deep)) == 50_000
    assert places(7) == []


def test_there_are_odd_values_of_every_type_that_can_be_packed() -> None:
    for value in ODD:
        msgpack.packb(value)
        json.dumps(value)
    assert {type(value) for value in ODD} == {type(None), bool, int, float, str, list, dict}


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_seeds_for_sound_and_refuses_noise(name: str, tmp_path: Path) -> None:
    """In a process of its own, as under the fuzzer: some silence logs and warnings."""
    code = (
        "import random, sys\n"
        "from fuzz_one import target\n"
        f"it = target({name!r})\n"
        "seeds = list(it.seeds())\n"
        "assert seeds and all(len(seed) <= it.most_bytes for seed in seeds), max(map(len, seeds))\n"
        "assert all(it.read(seed) for seed in seeds)\n"
        "dice = random.Random(1)\n"
        "assert not any(it.read(dice.randbytes(dice.randrange(1, 99))) for _ in range(200))\n"
        "assert not it.read(b'')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ONE.parent, check=False,
        env={"PYTHONPATH": str(ONE.parents[1]), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@without_atheris
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_short_run_finds_nothing(name: str, tmp_path: Path, figure: list[str]) -> None:
    outcome = fuzz(name, SECONDS, SEED, tmp_path)
    assert not outcome.problem, f"{outcome.line()}: {Path(outcome.found).read_bytes()[:2000]!r}"
    assert outcome.executions > 5
    assert outcome.edges > 15
    assert outcome.inputs > 1
    figure.append(f"fuzzing {outcome.line()}")


@without_atheris
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_planted_fault_is_found_and_shown_again(tmp_path: Path, figure: list[str]) -> None:
    outcome: Outcome = fuzz(PLANTED, PLANTED_SECONDS, SEED, tmp_path)
    assert "the planted fault" in outcome.problem, outcome
    again = subprocess.run(
        [sys.executable, str(ONE), PLANTED, "--input", outcome.found], capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert "the planted fault" in again.stderr
    figure.append(f"fuzzing {outcome.line()}")
