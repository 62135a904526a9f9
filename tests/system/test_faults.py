"""Something breaks while a job runs: the job goes on, to the weights of an undisturbed run.

One cluster serves all tests of this module: each breaks a node, and the next finds enough of them running again. More
faults are played by ``test_chaos.py``; a source that dies for good by ``test_source.py``.
"""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.system.cluster import Cluster, Follower, Node, undisturbed, wait_until

pytestmark = pytest.mark.slow

NAMES = ("a", "b", "c", "d", "e")
PAUSE_SECONDS = 1.0
EPOCHS = 60
DRAW_SECONDS = "0.001"
"""With it, the job takes four seconds at least: it is still at work when something breaks."""


@pytest.fixture
def cluster(shared: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """Nodes that know each other: three, or as many as the test's indirect parameter says.

    When fewer run, all that earlier tests broke are started again in their homes.
    """
    if len(shared.running()) < getattr(request, "param", 3):
        shared.complete(*NAMES)
    shared.settle()
    return shared


def begin(cluster: Cluster, source: str) -> tuple[Follower, list[str]]:
    """A job that has begun to make steps and will for a while, and the names of its plan's nodes."""
    job = cluster[source].submit(epochs=str(EPOCHS), pause=DRAW_SECONDS)
    job.wait("step", 3)
    return job, cluster.named(job.wait("plan")[1])


def others(cluster: Cluster, *names: str) -> list[str]:
    """Running nodes that are not among ``names``."""
    return [node.name for node in cluster.running() if node.name not in names]


def kill_a_worker(cluster: Cluster) -> tuple[Follower, str, str]:
    """A job at whose work a node is killed that neither leads nor draws samples: the job, its source, the victim."""
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job, plan = begin(cluster, source)
    victim = next(name for name in reversed(plan) if name not in {leader, source})
    cluster[victim].signal(signal.SIGKILL)
    cluster[victim].wait()
    return job, source, victim


def expect_equal_weights(job: Follower, epochs: int = EPOCHS) -> None:
    """The job finishes, with the weights of an undisturbed run."""
    _, event = job.end()
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(epochs=epochs)


def expect_next_job(cluster: Cluster) -> None:
    """Those that are left elect a leader and train the next job to the weights of an undisturbed run."""
    cluster.settle()
    source = others(cluster)[0]
    job = cluster[source].submit()
    expect_equal_weights(job, epochs=1)
    assert set(cluster.named(job.wait("plan")[1])) == set(others(cluster))


def expect_recovery(job: Follower, cluster: Cluster, victim: str) -> str:
    """The job tells that it goes on without a node; the sentence."""
    _, event = job.wait("recovery")
    assert victim not in cluster.named(job.wait("plan", 2)[1])
    text: str = event["text"]
    assert victim in text
    return text


def test_who_comes_in_mid_run_shows_the_curve_from_the_first_step_on(cluster: Cluster) -> None:
    source = others(cluster, cluster.settle())[0]
    job = cluster[source].submit(epochs="5000", pause=DRAW_SECONDS)
    job.wait("step", 20)
    late = next(name for name in "fgh" if name not in cluster.nodes)
    cluster.start(late)

    def curve(name: str) -> dict[int, float]:
        return dict(cluster[name].status()["view"]["loss"])

    found = wait_until(lambda: {1} <= (shown := curve(late)).keys() and shown, "the late one has the whole curve")
    truth = curve(source)
    assert len(found) >= 20
    assert all(truth[step] == loss for step, loss in found.items() if step in truth)
    cluster[source].client.ask("stop", job=job.job, reason="the test has seen enough")
    job.end()
    cluster[late].client.ask("leave")
    cluster[late].wait()


@pytest.mark.long
def test_the_last_worker_is_killed(cluster: Cluster, figure: list[str]) -> None:
    job, _, victim = kill_a_worker(cluster)
    figure.append(expect_recovery(job, cluster, victim))
    expect_equal_weights(job)
    held = [node.home / "held" / job.job for node in cluster.running()]
    wait_until(lambda: not any(folder.exists() for folder in held), "copies go with the job")
    expect_next_job(cluster)


@pytest.mark.long
def test_a_leader_hangs_and_returns_when_others_have_gone_on(cluster: Cluster, figure: list[str]) -> None:
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job, plan = begin(cluster, source)
    assert leader in plan
    cluster[leader].signal(signal.SIGSTOP)
    figure.append(expect_recovery(job, cluster, leader))
    cluster[leader].signal(signal.SIGCONT)
    expect_equal_weights(job)
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
    expect_equal_weights(job, epochs=20)


def test_a_killed_leader_outside_the_plan_costs_no_step(cluster: Cluster, figure: list[str]) -> None:
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job = cluster[source].submit(blocks="0", epochs="100000")
    steps = job.wait("step", 3)[1]["step"]
    assert cluster.named(job.wait("plan")[1]) == [source]
    since = cluster[leader].signal(signal.SIGKILL)
    cluster[leader].wait()
    new = cluster.settle()
    figure.append(f"the leader, not in the plan, is killed: {new} leads after {time.monotonic() - since:.2f} s")
    later = len(job.events)
    wait_until(lambda: len(job.events) > later + 3, "the job makes steps")
    cluster[source].client.ask("stop", job=job.job, reason="enough")
    assert job.end()[1] == {"event": "failed", "reason": "enough"}
    made = [event["step"] for _, event in job.events if event["event"] == "step"]
    assert made == sorted(set(made))  # a change of leader is no change of plan: none is done again
    assert made[-1] > steps
    expect_next_job(cluster)


def test_a_killed_feeder_is_started_again_and_the_weights_are_equal(cluster: Cluster) -> None:
    source = cluster.running()[0]
    job = source.submit(child=True, epochs="5", pause="0.002")
    job.wait("step", 2)
    (feeder,) = source.children()
    feeder.kill()
    expect_equal_weights(job, epochs=5)
    wait_until(lambda: not source.children(), "the feeder is gone")


def test_ctrl_c_on_a_worker_ends_it_when_others_have_its_layers(cluster: Cluster, figure: list[str]) -> None:
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job, plan = begin(cluster, source)
    victim = next(name for name in reversed(plan) if name not in {leader, source})
    cluster[victim].signal(signal.SIGINT)
    figure.append(expect_recovery(job, cluster, victim))
    assert cluster[victim].wait() == 0
    assert "moving layers first" in cluster[victim].logged()
    expect_equal_weights(job)
    made = [event["step"] for _, event in job.events if event["event"] == "step"]
    assert made == sorted(set(made))  # none is done again
    expect_next_job(cluster)


@pytest.mark.long
def test_a_worker_leaves_while_the_job_is_paused_and_no_step_is_done_again(cluster: Cluster, figure: list[str]) -> None:
    leader = cluster.settle()
    source = others(cluster, leader)[0]
    job, plan = begin(cluster, source)
    victim = next(name for name in reversed(plan) if name not in {leader, source})
    ask = cluster[source].client.ask

    def state() -> str:
        return next(each["state"] for each in ask("jobs")["jobs"] if each["job"] == job.job)

    ask("pause", job=job.job)
    wait_until(lambda: state() == "paused", "the job is paused")
    since = cluster[victim].signal(signal.SIGINT)
    assert cluster[victim].wait() == 0
    figure.append(f"a worker leaves a paused job after {time.monotonic() - since:.2f} s")
    assert state() == "paused"
    ask("resume", job=job.job)
    assert "no step lost" in job.wait("recovery")[1]["text"]
    expect_equal_weights(job)
    made = [event["step"] for _, event in job.events if event["event"] == "step"]
    assert made == sorted(set(made))
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


@pytest.mark.long
def test_a_job_that_waits_while_a_node_dies_and_comes_back_has_the_weights_of_its_own_seed(cluster: Cluster) -> None:
    job, source, victim = kill_a_worker(cluster)
    cluster.start(victim)
    waiting = cluster[source].submit()
    expect_equal_weights(waiting, epochs=1)
    expect_equal_weights(job)


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_a_loss_that_is_no_number_ends_the_job_naming_the_step(cluster: Cluster) -> None:
    job = cluster.running()[0].submit(broken="17")
    _, event = job.end()
    assert event["event"] == "failed"
    assert "step" in event["reason"]
    assert "nan" in event["reason"].lower()
    expect_next_job(cluster)


@pytest.mark.long
@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_a_member_that_joins_during_a_job_does_not_disturb_it_and_works_in_the_next(cluster: Cluster) -> None:
    source = cluster.running()[0]
    job = source.submit(epochs="40", pause="0.001")
    job.wait("step", 2)
    (joined,) = cluster.start("newcomer")
    wait_until(lambda: "newcomer" in source.alive(), "the newcomer is seen")
    assert [event for _, event in job.events if event["event"] in {"finished", "failed"}] == []
    expect_equal_weights(job, epochs=40)
    assert "newcomer" not in cluster.named(job.wait("plan")[1])
    expect_next_job(cluster)
    wait_until(lambda: joined.status()["job"]["state"] == "finished", "the newcomer hears of the end")


def test_jobs_from_two_sources_run_one_after_the_other(cluster: Cluster) -> None:
    one, two = cluster.running()[:2]
    jobs = [one.submit(name="one", epochs="10"), two.submit(name="two", epochs="10")]
    seen = [jobs[0], one.follow(jobs[1].job)]  # by one node: what it hears first, it tells first
    for job in (*jobs, *seen):
        expect_equal_weights(job, epochs=10)
    steps = [[at for at, event in job.events if event["event"] == "step"] for job in seen]
    halves = [each[len(each) // 2] for each in steps]  # a busy machine tells the second half late, but not all of it
    assert halves[0] < steps[1][0] or halves[1] < steps[0][0], "they overlapped"


def boot_of(node: Node) -> int:
    """How often this home's node has been started."""
    return int(json.loads((node.home / "identity.json").read_text(encoding="utf-8"))["boot"])
