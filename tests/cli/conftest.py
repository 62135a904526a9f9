"""Two nodes that many tests share, and one job that they trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edged.cli import demo_nodes
from edged.cli.demo_nodes import DemoNode, start_nodes, wait_until_known
from tests.cli.shell import JOBS, PATIENCE_SECONDS, Outcome, edged


@pytest.fixture(scope="package")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[DemoNode]]:
    """Their journals go back to the start, however long the tests take."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("EDGED_JOURNAL", "4GB")
        patch.setattr(demo_nodes, "WAIT_SECONDS", PATIENCE_SECONDS)
        cluster = start_nodes(stack, tmp_path_factory.mktemp("nodes"), [1.0, 1.5])
        wait_until_known(cluster)
        patch.undo()
        yield cluster


@pytest.fixture(scope="package")
def desk(nodes: list[DemoNode]) -> Path:
    """Home of the first node."""
    return nodes[0].home


@pytest.fixture(scope="package")
def laptop(nodes: list[DemoNode]) -> Path:
    """Home of the second node."""
    return nodes[1].home


@pytest.fixture(scope="package")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights") / "small.safetensors"


@pytest.fixture(scope="package")
def trained(desk: Path, weights: Path) -> Outcome:
    """What `edged train --json` said about a good job of two epochs."""
    outcome = edged("train", JOBS, "--json", "--output", weights, home=desk)
    assert outcome.status == 0, outcome.err
    return outcome
