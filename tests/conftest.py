"""What all tests share: one compute thread, as the nodes of the tests have, since bits depend on it; figures.

Interrupts reach the processes that tests start, also where the shell runs the tests in the background, ignoring them.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hypothesis
import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

gc.disable()  # until all tests are imported
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
for profile, same in (("same", True), ("other", False)):  # how long an example takes says nothing on a busy machine
    hypothesis.settings.register_profile(profile, deadline=None, derandomize=same)
hypothesis.settings.load_profile("same")  # no change is refused for what it has not done; see CONTRIBUTING.md

TESTS = Path(__file__).parent
PROCESSES = {"cli", "equality", "system", "test_on_nodes.py", "test_testbed_throttle.py"}
PROCESSES |= {"test_api.py", "test_daemon.py", "test_monitoring.py"}
"""Tests of real nodes."""


def has_nodes(path: str) -> bool:
    """Whether the tests of a file, or folder, start real nodes."""
    return not PROCESSES.isdisjoint(path.split("/"))


class OneRoomEach(LoadScopeScheduling):
    """Deals whole files to the workers, and ``cli``, whose tests share nodes, as one.

    Real nodes want a processor each: as long as there are other tests, one worker at most is dealt theirs.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return "tests/cli" if path.startswith("tests/cli/") else path

    def _assign_work_unit(self, node: WorkerController) -> None:
        others = [units for worker, units in self.assigned_work.items() if worker is not node]
        taken = any(has_nodes(scope) and not all(unit.values()) for units in others for scope, unit in units.items())
        fitting = (scope for scope in self.workqueue if has_nodes(scope) is not taken)
        self.workqueue.move_to_end(next(fitting, next(iter(self.workqueue))), last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneRoomEach:
    """Where there are workers (``-n 2``): what shares a module's fixtures runs in one of them."""
    return OneRoomEach(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Let the collector run from here on; it does not look at what has been imported, torch and all."""
    gc.freeze()
    gc.enable()


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """A file's lock among the workers, shared (``LOCK_SH``) or not (``LOCK_EX``)."""
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, how)
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # closing it is not enough where a test has forked
        os.close(file)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test of real nodes that is to be ``alone`` has the machine's nodes to itself; waiting is none of its time."""
    if "PYTEST_XDIST_WORKER" not in os.environ or not has_nodes(item.nodeid.split("::", 1)[0]):
        return (yield)
    with ExitStack() as stack:
        with locked(TESTS, fcntl.LOCK_EX):  # whoever waits for its turn goes before whoever comes later
            how = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
            stack.enter_context(locked(TESTS / "system", how))
        return (yield)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> dict[int, set[str]]:
    """By inode, what would survive a loss of power: a file's content, and a folder's names."""
    found: dict[int, set[str]] = {}
    real = os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        found[status.st_ino] = set(os.listdir(descriptor)) if stat.S_ISDIR(status.st_mode) else set()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Append a line to have it printed at the end of the run."""
    lines: list[str] = []
    yield lines
    request.node.user_properties.extend(("figure", line) for line in lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    ends = [report for report in reports if getattr(report, "when", "") == "teardown"]
    if lines := [line for report in ends for name, line in report.user_properties if name == "figure"]:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
