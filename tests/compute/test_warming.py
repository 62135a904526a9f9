"""What the first optimizer of a process costs is paid before the first job."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, torch
from edged.compute.warming import warm_up
before = torch.get_rng_state()
warm_up()
known = set(sys.modules)
weight = torch.zeros(2, requires_grad=True)
torch.optim.AdamW([weight], lr=0.1, foreach=False, fused=False)
assert set(sys.modules) == known, "a module was left to import"
assert torch.equal(torch.get_rng_state(), before)
"""


def test_after_warming_an_optimizer_imports_nothing_more_and_no_random_state_has_moved() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
