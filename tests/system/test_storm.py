"""A member that comes back again and again with malformed frames takes no memory, no files, no room in the log."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.system.cluster import ENVIRONMENT, Cluster, Node, undisturbed, wait_until

pytestmark = pytest.mark.slow

HOSTILE = Path(__file__).parents[2] / "scripts" / "chaos_hostile.py"
ROUNDS, FRAMES = 4, 600
GROWTH_BYTES = 48 << 20
MOST_FILES = 40
"""Above what a node had open before: the connections of one member, and what is being closed."""

LINES_A_ROUND = 12
"""A member comes, is cut off, is found to be gone: each of that is a line or two."""

EPOCHS = 50


def taken(node: Node) -> tuple[int, int]:
    """Resident bytes, open files."""
    process = psutil.Process(node.process.pid)
    return process.memory_info().rss, process.num_fds()


def lines(node: Node) -> list[dict[str, object]]:
    return [json.loads(line) for line in node.logged().splitlines()]


@pytest.mark.long
def test_a_storm_of_a_member_that_comes_back_costs_nothing_that_lasts(fresh: Cluster, figure: list[str]) -> None:
    nodes = fresh.start("a", "b", "c")
    fresh.settle()
    job = nodes[0].submit(epochs=str(EPOCHS), pause="0.004")
    job.wait("step", 4)
    before = {node.name: taken(node) for node in nodes}
    logged = {node.name: len(lines(node)) for node in nodes}
    most = dict(before)
    key = fresh.folder / "storm.txt"
    key.write_text(fresh.key)
    told = [sys.executable, str(HOSTILE), "malformed-storm", *(node.address for node in nodes), "--key-file", str(key)]
    told += ["--rounds", str(ROUNDS), "--frames", str(FRAMES), "--cluster", "edged"]
    with subprocess.Popen(told, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as storm:
        while storm.poll() is None:
            for node in nodes:
                memory, files = taken(node)
                most[node.name] = max(most[node.name][0], memory), max(most[node.name][1], files)
            time.sleep(0.05)
        assert storm.returncode == 0
        sent = json.loads(storm.stdout.read())
    assert sent["refused"] > ROUNDS, "it is cut off in every round"
    assert sent["sent"] > ROUNDS * len(nodes) * 8, "and let in again in every round"
    for node in nodes:
        (memory, files), (peak, most_files) = before[node.name], most[node.name]
        new = lines(node)[logged[node.name] :]
        texts = [str(line["text"]) for line in new]
        assert peak - memory < GROWTH_BYTES, f"{node.name} grew by {(peak - memory) / 2**20:.0f} MiB"
        assert most_files - files < MOST_FILES
        assert len(new) < LINES_A_ROUND * ROUNDS, texts
        assert max(map(len, texts)) < 1000
        cut = [text for text in texts if "was cut off" in text]
        assert len(cut) == 1, "a person is told once"
        assert "'mallory'" in cut[0]
        assert "edged expel" in cut[0]
        figure.append(
            f"{node.name} under {ROUNDS} storms: {memory / 2**20:.0f} MiB, at most {peak / 2**20:.0f}; "
            f"{files} open files, at most {most_files}; {len(new)} lines logged"
        )
    figure.append(f"frames of the storms: {sent['sent']} taken in, {sent['refused']} refused")
    _, event = job.end()
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(epochs=EPOCHS)
    for node in nodes:
        wait_until(lambda: taken(node)[1] <= before[node.name][1] + 4, f"{node.name} closes its files")  # noqa: B023
        assert "Traceback" not in node.logged()
        wait_until(lambda: node.alive() == {"a", "b", "c"}, f"{node.name} counts mallory no more")  # noqa: B023
