"""Whatever umask a node is started with, others on the device read no secret of it and write into nothing of it."""

from __future__ import annotations

import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from edged.telemetry.paths import local_socket_path
from edged.transport.security import new_cluster_key
from tests.system.cluster import Node, undisturbed

pytestmark = pytest.mark.slow

SECRET = {"cluster.key", "identity.json", "peers.json", "ports.json", "node.lock"}
PRIVATE = {"jobs", "held", "journal"}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_what_a_node_writes_is_its_users_alone(tmp_path: Path, stack: ExitStack, umask: str) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o777)  # as made by a user whose umask is 0
    prefix = ["sh", "-c", 'umask "$0" && exec "$@"', umask]
    node = Node(home, new_cluster_key(), ["--listen", "127.0.0.1:0", "--no-discovery"], prefix)

    def end() -> None:
        node.process.terminate()
        node.wait()

    stack.callback(end)
    node.ready()
    assert mode_of(home) == 0o755, "others cannot write into the home any more"
    assert "could write into" in node.logged()
    job = node.submit(strategy="auto")
    _, event = job.end()
    assert event["state_sha256"] == undisturbed()
    socket = local_socket_path(home).lstat().st_mode
    assert stat.S_ISSOCK(socket)
    assert stat.S_IMODE(socket) == 0o600
    node.process.terminate()  # a node that has nothing to do still frees what its last job held
    node.wait()
    own = [path for path in home.rglob("*") if path.name not in {"log.jsonl", "key.txt"}]  # these are the test's
    assert {path.name for path in own} >= {"cluster.key", "identity.json", "jobs", "journal"}
    for path in own:
        assert mode_of(path) & 0o022 == 0, f"{path} can be written by others: {mode_of(path):o}"
        if path.name in SECRET:
            assert mode_of(path) == 0o600, f"{path} has mode {mode_of(path):o}"
        if path.parent == home and path.name in PRIVATE:
            assert mode_of(path) == 0o700, f"{path} has mode {mode_of(path):o}"
