"""Clusters for the system tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.cluster import Cluster


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test starts."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def fresh(stack: ExitStack, tmp_path: Path) -> Cluster:
    """A cluster of one test; no node runs yet."""
    return Cluster(stack, tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the tests of a module share."""
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path_factory.mktemp("cluster"))
