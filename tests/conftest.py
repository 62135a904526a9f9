"""What all tests share: one compute thread, as the nodes of the tests have, since bits depend on it; figures.

Interrupts reach the processes that tests start, also where the shell runs the tests in the background, ignoring them.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator

import hypothesis
import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("edged", deadline=None)  # how long an example takes says nothing on a busy machine
hypothesis.settings.load_profile("edged")

PROCESSES = {"cli", "equality", "examples", "scripts", "system", "test_api.py", "test_daemon.py"}
"""Tests of real nodes: one after the other, also where several workers run tests."""


class OneRoomEach(LoadScopeScheduling):
    """Deals whole files to the workers; all tests of real nodes count as one file."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return "processes" if PROCESSES & set(path.split("/")) else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneRoomEach:
    """Where there are workers (``-n 2``): what shares processes or a module's fixtures runs in one of them."""
    return OneRoomEach(config, log)


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
