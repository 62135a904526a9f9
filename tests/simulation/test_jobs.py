"""Jobs on whole nodes: the queue, the words for people, and what a single trouble costs; seeds try many at once."""

from random import Random

import pytest

from edged.core.events import LeaveAsked, PauseAsked, ResumeAsked, SelfMeasured, StopAsked
from edged.core.messages import Heartbeat, JobState, MemberState, RecoveryReport
from edged.core.simulate import Network
from tests.core.job_sample import JOB, OTHER_JOB, spec
from tests.proofs import first_of
from tests.simulation.recovery_cluster import Cluster
from tests.simulation.waiting import elect, finish, record_of, run_to, wait

A, B, C, D, E = (letter * 16 for letter in "abcde")


def begin(seed, names="abcd", loss=0.0, **job):
    """A cluster with a leader and one job of node A's handed in; what it tells of recoveries is kept."""
    cluster = Cluster(names, seed, network=Network(loss=loss, duplication=loss / 2, ordered=True))
    cluster.reports = {}
    look = cluster.look

    def listen(node, message):
        look(node, message)
        if isinstance(message, RecoveryReport):
            cluster.reports[message.stamp] = message

    cluster.look = listen
    elect(cluster)
    cluster.submit(spec(**job))
    return cluster


def plan_of(cluster, job=JOB):
    return cluster.nodes[cluster.leader()].board.plans[job].plan


def inside(cluster, *others):
    """A node that runs layers, and is none of ``others``."""
    return next(node for node in plan_of(cluster).nodes() if node not in others)


@pytest.mark.parametrize("seed", range(10))
def test_a_job_is_finished(seed):
    cluster = begin(seed, "abcde"[: 1 + seed % 5], clips=seed % 2 == 1)
    record = finish(cluster, JOB)
    assert (record.state, record.step, record.reason) == (JobState.FINISHED, 3, "")
    assert cluster.written == {JOB}
    assert not cluster.reports


@pytest.mark.parametrize("seed", range(10))
def test_lost_and_doubled_messages_cost_only_time(seed):
    cluster = begin(seed, loss=0.02 + 0.08 * (seed % 3) / 2, clips=seed % 2 == 1)
    record = finish(cluster, JOB, 240.0)
    assert (record.state, record.step) == (JobState.FINISHED, 3), cluster.picture()


@pytest.mark.parametrize("seed", range(4))
def test_queued_jobs_run_one_after_another(seed):
    cluster = begin(seed, loss=0.02)
    cluster.submit(spec(OTHER_JOB, source=C))
    assert finish(cluster, JOB).state is finish(cluster, OTHER_JOB).state is JobState.FINISHED


@pytest.mark.parametrize("seed", range(6))
def test_a_stopped_job_ends_and_the_next_one_runs(seed):
    cluster = begin(seed, loss=0.02, steps=200)
    cluster.submit(spec(OTHER_JOB, source=B))
    cluster.sim.run_for(Random(seed).uniform(0.0, 3.0))
    wait(cluster, lambda: cluster.records_of(JOB)[C] is not None, 20.0, "the job on the list")
    cluster.sim.post(C, StopAsked(JOB, "the user has stopped it"))
    record = finish(cluster, JOB)
    assert (record.state, record.reason) == (JobState.STOPPED, "the user has stopped it")
    assert finish(cluster, OTHER_JOB).state is JobState.FINISHED


@pytest.mark.parametrize("seed", range(4))
def test_a_job_is_paused_and_goes_on_where_it_stood(seed):
    cluster = begin(seed, steps=60)
    run_to(cluster, 5, JOB)
    cluster.sim.post(C, PauseAsked(JOB))
    wait(cluster, lambda: record_of(cluster, JOB).state is JobState.PAUSED, 10.0, "the pause")
    cluster.sim.run_for(5.0)
    assert record_of(cluster, JOB).state is JobState.PAUSED
    cluster.sim.post(D, ResumeAsked(JOB))
    assert finish(cluster, JOB).state is JobState.FINISHED
    assert [(report.cause, report.lost_steps) for report in cluster.reports.values()] == [("paused", 0)]


@pytest.mark.parametrize("seed", first_of(range(10), 4))
def test_a_killed_node_of_the_plan_costs_only_time_and_is_named(seed):
    cluster = begin(seed, "abcde", loss=0.01, steps=60)
    run_to(cluster, 2, JOB)
    victim = inside(cluster, A, cluster.leader())
    cluster.kill(victim, loudly=seed % 2 == 1)
    assert finish(cluster, JOB).state is JobState.FINISHED
    causes = {report.cause: report for report in cluster.reports.values()}
    assert causes.keys() & {"died", "link"}
    assert any(f"pi-{victim[0]} " in report.text for report in causes.values())


@pytest.mark.parametrize("seed", first_of(range(6), 2))
def test_a_node_that_leaves_costs_no_step(seed):
    cluster = begin(seed, "abcde", steps=200)
    run_to(cluster, 2, JOB)
    victim = inside(cluster, A, cluster.leader())
    cluster.sim.post(victim, LeaveAsked())
    wait(cluster, lambda: victim not in cluster.alive, 40.0, "the leave")
    assert finish(cluster, JOB).state is JobState.FINISHED
    first = next(iter(cluster.reports.values()))
    assert (first.cause, first.lost_steps) == ("left", 0)


@pytest.mark.parametrize("seed", range(6))
def test_nodes_that_leave_while_the_job_is_paused_cost_no_step(seed):
    cluster = begin(seed, "abcde", layers=5, steps=60)
    run_to(cluster, 5, JOB)
    cluster.sim.post(C, PauseAsked(JOB))
    wait(cluster, lambda: record_of(cluster, JOB).state is JobState.PAUSED, 20.0, "the pause")
    step = record_of(cluster, JOB).step
    for victim in [node for node in plan_of(cluster).nodes() if node != A][:2]:
        cluster.sim.post(victim, LeaveAsked())
        wait(cluster, lambda node=victim: node not in cluster.alive, 40.0, "the leave")
        stands = [(record.state, record.step) for record in cluster.records_of(JOB).values()]
        assert set(stands) == {(JobState.PAUSED, step)}, cluster.picture()
    cluster.sim.run_for(5.0)
    cluster.sim.post(A, ResumeAsked(JOB))
    assert finish(cluster, JOB).state is JobState.FINISHED
    assert [(report.cause, report.lost_steps) for report in cluster.reports.values()] == [("paused", 0)]


@pytest.mark.parametrize("seed", range(4))
def test_a_leader_that_leaves_leads_no_more_from_its_goodbye_on(seed):
    cluster = Cluster("abc", seed, network=Network(ordered=True))
    leader, said = elect(cluster), []
    look = cluster.look

    def listen(node, message):
        look(node, message)
        if node == leader and cluster.nodes[node].membership.own.state is MemberState.LEFT:
            said.append(message)

    cluster.look = listen
    cluster.sim.run_for(3.0)
    cluster.sim.post(leader, LeaveAsked())
    wait(cluster, lambda: leader not in cluster.alive, 5.0, "the leave")
    assert said
    assert not [message for message in said if isinstance(message, Heartbeat)]
    assert elect(cluster) != leader


@pytest.mark.parametrize("seed", range(4))
def test_what_came_to_stand_for_a_leader_that_died_goes_on_under_the_next(seed):
    cluster = begin(seed, "abcde", source=E, layers=1, steps=6)
    cluster.layer_seconds = 0.5
    run_to(cluster, 1, JOB)
    leader = cluster.leader()
    assert leader not in {E, *plan_of(cluster).nodes()}
    cluster.sim.post(leader, PauseAsked(JOB))
    cluster.sim.run_for(0.1)
    cluster.kill(leader)  # the source was told to drain, and is at its step for seconds yet
    assert finish(cluster, JOB).state is JobState.FINISHED
    assert {(report.cause, report.lost_steps) for report in cluster.reports.values()} == {("leader", 0)}


@pytest.mark.long
@pytest.mark.parametrize("seed", first_of(range(4), 2))
def test_without_its_source_and_its_data_a_job_waits_lets_others_run_and_goes_on(seed):
    cluster = begin(seed, "abcde", steps=400)
    cluster.troubles[A].uncopyable = True
    cluster.submit(spec(OTHER_JOB, source=E))
    run_to(cluster, 1, JOB)
    cluster.kill(A)
    wait(cluster, lambda: (r := record_of(cluster, JOB)) and r.state is JobState.WAITING, 40.0, "the job waits")
    assert "pi-a is gone" in record_of(cluster, JOB).reason
    wait(cluster, lambda: record_of(cluster, OTHER_JOB).state is JobState.FINISHED, 120.0, "the other job")
    cluster.restart(A)
    assert finish(cluster, JOB, 200.0).state is JobState.FINISHED


@pytest.mark.parametrize("seed", first_of(range(8), 3))
def test_a_leader_that_runs_no_layers_is_replaced_and_nothing_stops(seed):
    cluster = Cluster("abcdefgh", seed)
    leader = elect(cluster)
    cluster.sim.post(leader, SelfMeasured(50.0, 10**9, "cpu"))
    cluster.sim.run_for(3.0)
    cluster.submit(spec(layers=2, source=B, steps=400))
    run_to(cluster, 2, JOB)
    assert leader not in {B, *plan_of(cluster).nodes()}
    plans = cluster.counts["plans"]
    cluster.kill(leader)
    assert finish(cluster, JOB, 200.0).state is JobState.FINISHED
    assert cluster.counts["plans"] == plans


@pytest.mark.parametrize("seed", first_of(range(4), 2))
def test_a_stopped_process_that_continues_finds_the_job_with_others(seed):
    cluster = begin(seed, "abcde", loss=0.01, steps=100)
    run_to(cluster, 1, JOB)
    victim = inside(cluster, A, cluster.leader())
    cluster.pause(victim)
    cluster.sim.run_for(12.0)
    cluster.go_on(victim)
    assert finish(cluster, JOB).state is JobState.FINISHED
