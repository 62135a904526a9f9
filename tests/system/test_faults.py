"""Something breaks while a job runs: the job ends at once and says why, the rest of the cluster goes on.

One cluster serves all tests of this module: each breaks a node, and the next finds enough of them running again.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable

import pytest

from tests.system.cluster import Cluster, Follower, Node, undisturbed, wait_until

pytestmark = pytest.mark.slow

NAMES = ("a", "b", "c", "d", "e")
KILLED_SECONDS = 2.0
HUNG_SECONDS = 8.0
LEADER_SECONDS = 8.0
PAUSE_SECONDS = 1.0
LONG = "100000"


@pytest.fixture
def cluster(shared: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """Nodes that know each other: three, or as many as the test's indirect parameter says.

    When fewer run, all that earlier tests broke are started again in their homes.
    """
    if len(shared.running()) < getattr(request, "param", 3):
        shared.start(*(name for name in NAMES if name not in {node.name for node in shared.running()}))
    shared.settle()
    return shared


def begin(cluster: Cluster, source: str, blocks: int = 5) -> tuple[Follower, list[str]]:
    """A long job that has begun to make steps, and the names of its plan's nodes."""
    job = cluster[source].submit(blocks=str(blocks), epochs=LONG)
    job.wait("step", 3)
    return job, cluster.named(job.wait("plan")[1])


def others(cluster: Cluster, *names: str) -> list[str]:
    """Running nodes that are not among ``names``."""
    return [node.name for node in cluster.running() if node.name not in names]


def expect_failure(job: Follower, since: float, seconds: float, *words: str) -> float:
    """The job fails within ``seconds``, with all the words in its reason; how long it took."""
    moment, event = job.end(seconds + 30)
    assert event["event"] == "failed"
    for word in words:
        assert word in event["reason"]
    took = moment - since
    assert took < seconds, f"{took:.1f} s until {event['reason']!r}"
    return took


def expect_next_job(cluster: Cluster) -> None:
    """Those that are left elect a leader and train the next job to the weights of an undisturbed run."""
    cluster.settle()
    source = others(cluster)[0]
    job = cluster[source].submit()
    _, event = job.end()
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed()
    assert set(cluster.named(job.wait("plan")[1])) == set(others(cluster))


Choice = Callable[[str, list[str]], str]


def middle(leader: str, plan: list[str]) -> str:
    return next(name for name in plan[1:-1] if name != leader)


def last(leader: str, plan: list[str]) -> str:
    return plan[-1]


def leading(leader: str, plan: list[str]) -> str:
    assert leader in plan
    return leader


def first(leader: str, plan: list[str]) -> str:
    return plan[0]


@pytest.mark.parametrize(
    ("cluster", "choose", "number", "seconds"),
    [
        pytest.param(5, middle, signal.SIGKILL, KILLED_SECONDS, id="a-worker-in-the-middle-is-killed"),
        pytest.param(4, middle, signal.SIGSTOP, HUNG_SECONDS, id="a-worker-hangs"),
        pytest.param(4, leading, signal.SIGSTOP, LEADER_SECONDS, id="the-leader-hangs"),
        pytest.param(4, last, signal.SIGKILL, KILLED_SECONDS, id="the-last-worker-is-killed"),
        pytest.param(3, first, signal.SIGKILL, KILLED_SECONDS, id="the-source-is-killed"),
        pytest.param(5, leading, signal.SIGKILL, LEADER_SECONDS, id="the-leader-is-killed"),
    ],
    indirect=["cluster"],
)
def test_a_broken_node_ends_the_job_and_the_rest_goes_on(
    cluster: Cluster, figure: list[str], choose: Choice, number: signal.Signals, seconds: float, request
) -> None:
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job, plan = begin(cluster, source)
    victim = choose(leader, plan)
    witness = cluster[others(cluster, leader, source, victim)[0]].follow(job.job)
    witness.wait("plan")

    broken = cluster[victim]
    since = broken.signal(number)
    bound = LEADER_SECONDS if victim == leader else seconds
    took = expect_failure(witness, since, bound, f"node {victim} died", "it ran layer")
    figure.append(f"{request.node.callspec.id}: the job ended after {took:.2f} s")
    if number == signal.SIGSTOP:
        wait_until(lambda: all(victim not in cluster[n].alive() for n in others(cluster, victim)), "all call it dead")
        broken.signal(signal.SIGCONT)
    else:
        broken.wait()
    expect_next_job(cluster)


def test_a_killed_leader_that_is_also_the_source_ends_the_job(cluster: Cluster, figure: list[str]) -> None:
    leader = cluster.settle()
    job, _ = begin(cluster, leader)
    witness = cluster[others(cluster, leader)[0]].follow(job.job)
    witness.wait("plan")
    since = cluster[leader].signal(signal.SIGKILL)
    cluster[leader].wait()
    took = expect_failure(witness, since, LEADER_SECONDS, f"node {leader} died", "it ran layer", "it was the source")
    figure.append(f"the leader, also the source, is killed: the job ended after {took:.2f} s")
    expect_next_job(cluster)


def test_a_worker_that_pauses_for_a_moment_costs_time_and_nothing_else(cluster: Cluster) -> None:
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job = cluster[source].submit(epochs="20", pause="0.001")
    job.wait("step", 3)
    worker = cluster[others(cluster, leader, source)[0]]
    worker.signal(signal.SIGSTOP)
    time.sleep(PAUSE_SECONDS)  # the fault itself
    worker.signal(signal.SIGCONT)
    _, event = job.end()
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(epochs=20)


def test_a_killed_leader_outside_the_plan_does_not_end_the_job_in_a_hang(cluster: Cluster, figure: list[str]) -> None:
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job, plan = begin(cluster, source, blocks=0)
    assert plan == [source]
    steps = len(job.events)
    since = cluster[leader].signal(signal.SIGKILL)
    cluster[leader].wait()
    new = cluster.settle()
    figure.append(f"the leader, not in the plan, is killed: {new} leads after {time.monotonic() - since:.2f} s")
    job.wait("step", steps + 3)  # a leader change is not a plan change
    cluster[source].client.ask("stop", job=job.job, reason="enough")
    assert job.end()[1] == {"event": "failed", "reason": "enough"}
    expect_next_job(cluster)


def test_a_killed_feeder_is_started_again_and_the_weights_are_equal(cluster: Cluster) -> None:
    source = cluster.running()[0]
    job = source.submit(child=True, epochs="5", pause="0.002")
    job.wait("step", 2)
    (feeder,) = source.children()
    feeder.kill()
    _, event = job.end()
    assert event["event"] == "finished"
    assert event["state_sha256"] == undisturbed(epochs=5)
    wait_until(lambda: not source.children(), "the feeder is gone")


def test_a_node_that_leaves_during_a_job_ends_it_with_a_sentence_of_its_own(
    cluster: Cluster, figure: list[str]
) -> None:
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job, plan = begin(cluster, source)
    victim = last(leader, [name for name in plan if name != leader])
    since = cluster[victim].signal(signal.SIGINT)
    took = expect_failure(job, since, KILLED_SECONDS, f"node {victim} left", "it ran layer")
    figure.append(f"a worker leaves: the job ended after {took:.2f} s")
    assert cluster[victim].wait() == 0
    expect_next_job(cluster)


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_a_restarted_node_rejoins_under_its_name_and_works_again(cluster: Cluster) -> None:
    leader = cluster.settle()
    victim = others(cluster, leader)[-1]
    before = cluster[victim].id
    boot = boot_of(cluster[victim])
    cluster[victim].signal(signal.SIGKILL)
    cluster[victim].wait()
    (again,) = cluster.start(victim)
    assert again.id == before
    assert boot_of(again) == boot + 1
    expect_next_job(cluster)


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_a_loss_that_is_no_number_ends_the_job_naming_the_step(cluster: Cluster) -> None:
    job = cluster.running()[0].submit(broken="17")
    _, event = job.end()
    assert event["event"] == "failed"
    assert "step" in event["reason"]
    assert "nan" in event["reason"].lower()
    expect_next_job(cluster)


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_a_member_that_joins_during_a_job_does_not_disturb_it_and_works_in_the_next(cluster: Cluster) -> None:
    source = cluster.running()[0]
    job = source.submit(epochs="40", pause="0.001")
    job.wait("step", 2)
    (joined,) = cluster.start("newcomer")
    wait_until(lambda: "newcomer" in source.alive(), "the newcomer is seen")
    assert [event for _, event in job.events if event["event"] in {"finished", "failed"}] == []
    _, event = job.end()
    assert event["event"] == "finished"
    assert event["state_sha256"] == undisturbed(epochs=40)
    assert "newcomer" not in cluster.named(job.wait("plan")[1])
    expect_next_job(cluster)
    wait_until(lambda: joined.status()["job"]["state"] == "finished", "the newcomer hears of the end")


def test_jobs_from_two_sources_run_one_after_the_other(cluster: Cluster) -> None:
    one, two = cluster.running()[:2]
    jobs = [one.submit(name="one", epochs="10"), two.submit(name="two", epochs="10")]
    for job in jobs:
        _, event = job.end()
        assert event["event"] == "finished"
        assert event["state_sha256"] == undisturbed(epochs=10)
    moments = [(job.wait("step")[0], job.wait("finished")[0]) for job in jobs]
    assert moments[0][1] <= moments[1][0] or moments[1][1] <= moments[0][0], "they overlapped"


def boot_of(node: Node) -> int:
    """How often this home's node has been started."""
    return int(json.loads((node.home / "identity.json").read_text(encoding="utf-8"))["boot"])
