"""What was said once is said again when its plan is over or replaced: every node drops it."""

from random import Random

import pytest

from edged.core.effects import Log
from edged.core.events import MessageReceived, ParcelArrived
from edged.core.messages import (
    EvalReport,
    FinishedReport,
    JobState,
    PlanChosen,
    Prepare,
    RecoveryReport,
    StepReport,
)
from tests.core.job_sample import JOB, OTHER_JOB, spec
from tests.simulation.recovery_cluster import Cluster
from tests.simulation.waiting import elect, finish

REPORTS = (StepReport, EvalReport, FinishedReport, RecoveryReport)
"""For people; they may come after their plan's end, and change nothing but what is shown."""

REPLAYED = 2000


class Heard:
    """Everything that one node is told, in order, with a stamp of whatever plan."""

    def __init__(self, node):
        self.events = []
        self._handle = node.handle
        node.handle = self.handle

    def handle(self, event, now):
        if isinstance(event, MessageReceived | ParcelArrived) and stamp_of(event) is not None:
            self.events.append(event)
        return self._handle(event, now)

    def again(self, event, now):
        """Hand it in once more, past the recording."""
        return self._handle(event, now)


def subject_of(event):
    return event.message if isinstance(event, MessageReceived) else event.parcel


def stamp_of(event):
    subject = subject_of(event)
    if isinstance(subject, Prepare | PlanChosen):
        return subject.plan.stamp
    return getattr(subject, "stamp", None)


@pytest.mark.parametrize("seed", range(4))
def test_old_stamped_messages_and_parcels_change_nothing_while_another_job_runs(seed):
    random = Random(seed)
    cluster = Cluster("abc", seed)
    heard = {node: Heard(machine) for node, machine in cluster.nodes.items()}
    elect(cluster)
    cluster.submit(spec(clips=True))
    assert finish(cluster, JOB).state is JobState.FINISHED
    old = [(node, event) for node, told in heard.items() for event in told.events if stamp_of(event).job == JOB]
    kinds = {type(subject_of(event)).__name__ for _, event in old}
    assert kinds >= {"Prepare", "Start", "End", "Activation", "Gradient", "Inputs", "GradientNorms", "Updated"}
    assert kinds >= {"Halt", "Inventory", "Held", "Committed", "StateParcel", "WantSnapshot"}
    cluster.submit(spec(OTHER_JOB, source="b" * 16, clips=True))
    for _ in range(REPLAYED):
        cluster.sim.run_for(0.002)
        _, event = random.choice(old)
        node = random.choice(cluster.names)
        effects = heard[node].again(event, cluster.sim.now)
        cluster.nodes[node].check()
        if isinstance(subject_of(event), REPORTS):
            continue
        assert [e for e in effects if not (isinstance(e, Log) and e.topic == "fence")] == [], event
        refusals = cluster.nodes[node]._guard._last_refusal
        assert "over" in refusals or "replaced" in refusals or "no plan" in refusals, (event, refusals)
    record = finish(cluster, OTHER_JOB)
    assert (record.state, record.step) == (JobState.FINISHED, 3)
    assert cluster.written == {JOB, OTHER_JOB}
