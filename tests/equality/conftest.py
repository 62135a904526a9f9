"""Clusters of real processes on loopback, kept for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edged.cli.demo_nodes import DemoNode, start_nodes, wait_until_known

SLOWDOWNS = {1: (1.0,), 2: (1.0, 1.0), 3: (1.0, 2.0, 1.5), 5: (1.0, 1.0, 2.0, 1.0, 1.5)}
"""Unequal speeds give unequal cuts."""


@pytest.fixture(scope="module", params=SLOWDOWNS, ids=lambda number: f"{number}-nodes")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[DemoNode]]:
    folder: Path = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        nodes = start_nodes(stack, folder, SLOWDOWNS[request.param])
        wait_until_known(nodes)
        yield nodes
