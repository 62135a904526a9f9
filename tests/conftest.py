"""What all tests share: one compute thread, as the nodes of the tests have, since bits depend on it; figures.

Interrupts reach the processes that tests start, also where the shell runs the tests in the background, ignoring them.
"""

from __future__ import annotations

import signal

import pytest
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)

FIGURES: list[str] = []


@pytest.fixture
def figure() -> list[str]:
    """Append a line to have it printed at the end of the run."""
    return FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
