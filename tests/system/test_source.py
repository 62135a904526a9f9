"""The source dies for good: the job goes on with the copy of its samples, to the weights it would have had."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.proofs import first_of
from tests.system.cluster import Cluster, Node, undisturbed, wait_until

pytestmark = pytest.mark.slow

EPOCHS = 360  # the copy is to be whole before the job ends, also where drawing samples is all that takes time
END_SECONDS = 600.0


def copies(cluster: Cluster, job: str) -> list[Node]:
    """The nodes that have a whole copy of a job's samples."""
    return [node for node in cluster.running() if (node.home / "samples" / job / "copy.json").exists()]


def survives(witness: Node, victim: Node) -> bool:
    """Whether the job would survive the death of ``victim``, as far as ``witness`` knows."""
    protection = witness.status()["protection"] or {"if_died": []}
    return any(each["node"] == victim.id and each["survives"] for each in protection["if_died"])


def state(node: Node, job: str) -> str:
    """What a node says of a job."""
    return next((record["state"] for record in node.client.ask("jobs")["jobs"] if record["job"] == job), "")


@pytest.mark.long
@pytest.mark.parametrize("leads", first_of([True, False], 1), ids=["it-leads", "it-follows"])
def test_a_job_outlives_its_source(shared: Cluster, tmp_path: Path, leads: bool) -> None:
    shared.complete("a", "b", "c")
    leader = shared.settle()
    source = shared[leader if leads else next(name for name in shared.nodes if name != leader)]
    job = source.submit(child=True, epochs=str(EPOCHS), pause="0.001")
    job.wait("step", 3)
    witness = next(node for node in shared.running() if node is not source)
    follower = witness.follow(job.job)
    wait_until(lambda: survives(witness, source), "nothing would be lost with the source")
    assert copies(shared, job.job)
    source.signal(signal.SIGKILL)
    source.wait()
    follower.wait("recovery")
    (again,) = shared.start(source.name)
    _, event = follower.end(END_SECONDS)
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(epochs=EPOCHS)
    result = Path(event["output"])
    assert result.exists()
    writer = next(node for node in shared.running() if result.is_relative_to(node.home))
    answer = writer.client.ask("export", job=job.job, output=str(tmp_path / "out.safetensors"))
    assert answer["state_sha256"] == event["state_sha256"]
    assert Path(answer["output"]).read_bytes() == result.read_bytes()
    wait_until(lambda: state(again, job.job) == "finished", "the old source hears of the end")
    wait_until(lambda: not copies(shared, job.job), "copies go with the job")
    wait_until(lambda: not any(node.children() for node in shared.running()), "feeders go with the job")


def test_one_of_two_that_only_falls_silent_is_told_apart_from_one_that_dies(fresh: Cluster) -> None:
    fresh.start("a")
    fresh.common += ["--minority", "wait"]
    fresh.start("b")
    fresh.settle()
    fresh["a"].submit(epochs="200", pause="0.002").wait("step")

    def told(node: Node) -> str:
        protection = node.status()["protection"] or {"if_died": []}
        verdicts = [each for each in protection["if_died"] if each["node"] == fresh["b"].id and each["survives"]]
        return next((each["if_silent"] for each in verdicts if "only falls silent" in each["text"]), "")

    assert wait_until(lambda: told(fresh["a"]), "the job outlives b") == "fork"
    assert wait_until(lambda: told(fresh["b"]), "b knows that too") == "wait"
