"""Clusters of real processes on loopback, kept for the whole run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edged.cli import demo_nodes
from edged.cli.demo_nodes import DemoNode, start_nodes, wait_until_known
from tests.equality.sizes import SLOWDOWNS

WAIT_SECONDS = LEAVE_SECONDS = 200.0


@pytest.fixture(scope="module", params=SLOWDOWNS, ids=lambda size: f"{size}-nodes")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[DemoNode]]:
    folder: Path = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_nodes, "WAIT_SECONDS", WAIT_SECONDS)  # of five nodes, on a busy machine
        nodes = start_nodes(stack, folder, SLOWDOWNS[request.param])
        wait_until_known(nodes)
        yield nodes
        for node in nodes:  # all at once: one after the other takes seconds each
            node.process.send_signal(signal.SIGINT)
        for node in nodes:
            assert node.process.wait(LEAVE_SECONDS) == 0
