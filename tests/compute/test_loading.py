"""torch comes in with the collector paused and without keeping other threads from running."""

import gc
import subprocess
import sys

from edged.compute import loading
from edged.compute.loading import collector_paused, map_libraries

PRELOAD = """
import sys
from edged.compute.loading import map_libraries
map_libraries()
assert "torch" not in sys.modules
assert sys.platform != "linux" or "libtorch_python.so" in open("/proc/self/maps").read()
import torch
assert float(torch.ones(3).sum()) == 3.0
"""


def test_the_collector_is_paused_and_runs_again() -> None:
    frozen = gc.get_freeze_count()
    with collector_paused():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(made)
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_libraries_are_there_before_the_import() -> None:
    subprocess.run([sys.executable, "-c", PRELOAD], check=True)


def test_without_torch_nothing_happens(monkeypatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda _name: None)
    map_libraries()
