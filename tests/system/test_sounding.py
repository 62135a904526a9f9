"""The doctor says what links carry before any job has used them: on a shaped network, what its shape allows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from testbed_network import Network

from tests.system.cluster import ENVIRONMENT, Cluster, Node, wait_until
from tests.system.network import missing

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.alone]

MBIT = 20.0


def test_the_doctor_measures_a_link_that_no_job_has_used(stack: ExitStack, tmp_path: Path, figure: list[str]) -> None:
    if why := missing():
        pytest.skip(why)
    network = Network(stack)
    prefixes = {name: network.add(name) for name in ("a", "b")}
    network.limit("b", MBIT)
    cluster = Cluster(stack, tmp_path)
    for name, prefix in prefixes.items():
        cluster.nodes[name] = Node(tmp_path / name, cluster.key, (), prefix)
    first, _ = [node.ready() for node in cluster.nodes.values()]
    wait_until(lambda: first.alive() == {"a", "b"}, "the two see each other")
    done = subprocess.run(
        [*prefixes["a"], sys.executable, "-m", "edged", "doctor", "--json", "--home", str(first.home)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["id"] == "links"]
    told = re.search(r"b answers in .*, carries (\S+) MB/s \(measured\)", found["what"])
    assert told is not None, found
    carries, allowed = float(told[1]), MBIT / 8
    figure.append(f"a link of {allowed:.2f} MB/s, which no job has used, carries {carries:.2f} MB/s, says the doctor")
    assert 0.3 * allowed < carries < 1.1 * allowed  # a machine that is busy is late, and the link looks slower
