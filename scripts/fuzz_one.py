"""One target under the fuzzer, in a process of its own: libFuzzer ends the process when it has found something.

Started by ``fuzz.py``. With ``--input`` the target reads one file, without a fuzzer: what was found is seen again.
"""

from __future__ import annotations

import argparse
import random
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuzz_target import Target

MISSING = 2
INPUT_SECONDS = 30
"""A single input that takes longer is a finding."""

MEMORY_MB = 4096
"""So is a process that has grown to this; torch alone takes a fourth of it."""

PLANTED = "planted"
WIRE = ("message", "parcel", "door", "beacon", "feeder", PLANTED)
LOADERS = ("program", "shapes", "job", "training", "state", "settings")
TARGETS = (*WIRE, *LOADERS)


def target(name: str) -> Target:
    """Build a target; imports what it needs."""
    made: Target = getattr(import_module("fuzz_wire" if name in WIRE else "fuzz_loaders"), name)()
    return made


def fuzz(options: argparse.Namespace) -> None:
    """Fuzz until the time is over; the process ends here."""
    import atheris

    with atheris.instrument_imports(include=["edged", "fuzz_wire", "fuzz_loaders"]):
        fuzzed = target(options.target)
    forms = import_module("fuzz_forms")
    folder = options.folder / "seeds"
    seeds = [path.read_bytes() for path in sorted(folder.iterdir())]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        made: bytes = forms.mutated(fuzzed.form, data, most, random.Random(seed), seeds, atheris.Mutate)
        return made

    def read(data: bytes) -> None:
        fuzzed.read(data)

    flags = {
        "max_total_time": options.seconds, "seed": options.seed, "max_len": fuzzed.most_bytes, "timeout": INPUT_SECONDS,
        "rss_limit_mb": MEMORY_MB, "print_final_stats": 1, "artifact_prefix": f"{options.folder / 'found'}/",
        "reduce_inputs": 0,  # a smaller input that reaches as much has lost what the next change needs
    }  # fmt: skip
    arguments = [f"-{name}={value}" for name, value in flags.items()]
    arguments += [str(options.folder / "corpus"), str(folder)]
    atheris.Setup([sys.argv[0], *arguments], atheris.instrument_func(read), custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """Fuzz, or read one input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--folder", type=Path, help="with the folders seeds, corpus and found")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path)
    parser.add_argument("--plant", action="store_true", help="only write the seeds, which takes long under the fuzzer")
    options: Any = parser.parse_args()
    if options.input is not None:
        print("sound" if target(options.target).read(options.input.read_bytes()) else "refused")
        return 0
    if options.plant:
        for number, seed in enumerate(target(options.target).seeds()):
            (options.folder / "seeds" / f"{number:04}").write_bytes(seed)
        return 0
    if find_spec("atheris") is None:
        print("atheris is not installed; on Linux: pip install -c constraints.txt -e '.[dev]'", file=sys.stderr)
        return MISSING
    fuzz(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
