"""One job's life from a seed: a cluster, what happens to it, and the verdict at the end."""

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from unittest.mock import patch

from edged.core import inventory
from edged.core.election import ElectionOptions
from edged.core.membership import MembershipOptions
from edged.core.messages import JobState
from edged.core.node import NodeOptions
from edged.core.simulate import Network
from edged.core.stock import BEGINNING_SECONDS
from tests.core.job_sample import spec
from tests.simulation.arithmetic import DIVERGES
from tests.simulation.device import NO_MEMORY
from tests.simulation.faults import Fates, resume
from tests.simulation.recovery_cluster import Cluster

FAULT_SECONDS = 8.0
"""Faults at moments of the clock begin within this time after the job was handed in."""

PATIENCE_SECONDS = 180.0
"""How long a job may take to end, or to say what it waits for, after the last fault; half of them take 4 s."""

RESTORED_SECONDS = ElectionOptions().restored_seconds
"""Where voters have been started anew and others are gone for good, they elect nobody for so long."""

MOST_LEADERS = 4
"""A job that may have to begin anew waits for what was lost first, and that is counted by each new leader from its own
beginning: so many of them, where messages are lost, are waited for."""

SCARCE = 0.12
"""Of the devices, those on which memory is refused once or twice."""

STEP_SECONDS = 0.25

SLOW, SLOW_SECONDS = 3, 0.1
"""Of ten seeds, this one has steps that take seconds: leaders change, and are asked for things, while one is done."""

ASYNCHRONOUS = 2
"""Of four seeds, this one has an asynchronous job."""

SLOW_STEP_SECONDS = 6.0
"""Where it does, so much is granted for each step that there is to be done."""

AGREE_SECONDS = 5.0
"""A leader that has just asked once more may wait for another reason; within this time all have heard it."""

WORDS = {"samples": ("data", "source"), "program": ("program", "data", "source"), "layers": ("layer", "data", "source")}
"""What is missing -> words of which one is in the sentence that says so; a source that is gone takes all with it."""


@dataclass(frozen=True)
class Verdict:
    """How it ended: ``state`` of the job, what one that waits says, the virtual seconds after the last fault.

    ``spent``: how many of these seconds each stage of the procedure took, or passed without a leader or a procedure.
    """

    state: str
    reason: str
    seconds: float
    spent: Counter[str]
    virtual: float
    plans: int
    lost_parcels: int


def job_of(random):
    """A small job of a shape drawn from the seed."""
    micro_batches = random.choice([2, 3, 4])
    steps = random.randint(10, 24)
    shape = spec(layers=random.randint(3, 6), steps=steps, clips=random.random() < 0.25)
    return replace(
        shape,
        samples=steps * 8 if random.random() < 0.5 else steps * 4,
        epochs=1,
        batch_size=micro_batches * 2,
        micro_batches=micro_batches,
        eval_samples=random.choice([0, 0, 4]),
        replicate_every=random.choice([0, 1, 2, 3, 5, 8]),
        on_nan="skip" if random.random() < 0.2 else "stop",
        keep_inputs_home="crop" if random.random() < 0.15 else "",
    )


def asynchronous(job):
    """The same, with an update after every micro-batch."""
    size = job.micro_batch_size
    return replace(job, mode="async", batch_size=size, micro_batches=1, clips=False, on_nan="stop")


def cluster_of(seed, random):
    """Some nodes, and a network that is more or less good."""
    names = "abcdef"[: random.randint(2, 6)]
    network = Network(
        loss=random.choice([0.0, 0.0, 0.0, 0.02, 0.1]), duplication=random.choice([0.0, 0.0, 0.05]), ordered=True
    )
    chosen = random.choice([1, 2, 4, 8])
    options = NodeOptions(
        membership=MembershipOptions(), interval=lambda _cost, _step: chosen, replicas=random.choice([1, 1, 1, 2])
    )
    cluster = Cluster(
        names,
        seed,
        network=network,
        options=options,
        layer_seconds=random.choice([0.003, 0.01, 0.03]),
        doubled=random.choice([0.0, 0.02]),
    )
    for trouble in cluster.troubles.values():
        trouble.disk_seconds = random.choice([0.005, 0.02, 0.02, 0.5, 3.0])
        trouble.disk_full = random.random() < 0.05
        trouble.uncopyable = random.random() < 0.2
        if random.random() < 0.08:
            trouble.builds = random.choice([1, 1, 2])
        if random.random() < 0.1:
            trouble.snapshots = random.randint(1, 4)
    apart = Random(f"shortages {seed}")  # beside the rest, which stays as it was
    for _, trouble in sorted(cluster.troubles.items()):
        if apart.random() < SCARCE:
            trouble.shortages = tuple(apart.randint(0, 60) for _ in range(apart.choice([1, 1, 2])))
    return cluster


class Run:
    """One seed."""

    def __init__(self, seed):
        self.seed = seed
        self.random = Random(seed)
        self.cluster = cluster_of(seed, self.random)
        if seed % 10 == SLOW:
            self.cluster.layer_seconds = SLOW_SECONDS
        self.job = job_of(self.random)
        self.troubles = [replace(trouble) for trouble in self.cluster.troubles.values()]
        if seed % 10 == 7:
            self.job = replace(self.job, name=DIVERGES, on_nan="stop")
        elif seed % 4 == ASYNCHRONOUS:
            self.job = asynchronous(self.job)
        self.spent = Counter()

    def verdict(self):
        """Live through it; raises ``BrokenPromiseError`` where something does not hold."""
        cluster, random = self.cluster, self.random
        self.go_on(random.choice([0.0, 1.0, 4.0]))
        cluster.submit(self.job)
        begun = cluster.sim.now
        fates = Fates(random, begun)
        for _ in range(random.choice([0, 1, 1, 2, 3, 5])):
            act, moment = fates.draw(), begun + random.uniform(0.0, FAULT_SECONDS)
            victim = random.choice([None, None, None, "leader", "source"])
            fates.until = max(fates.until, moment)
            cluster.sim.at(moment, self.pick(act, victim))
        cluster.triggers += [fates.trigger() for _ in range(random.choice([0, 1, 1, 2, 3]))]
        for letter in "xy"[: random.choice([0, 0, 0, 1, 2])]:
            moment = begun + random.uniform(0.0, FAULT_SECONDS)
            fates.until = max(fates.until, moment)
            cluster.sim.at(moment, lambda node=letter * 16: self.join(node))
        while cluster.sim.now < fates.until:
            self.go_on(min(STEP_SECONDS, fates.until - cluster.sim.now + 1e-6))
        cluster.triggers.clear()
        while cluster.sim.now < fates.until:
            self.go_on(STEP_SECONDS)
        return self.settle()

    def go_on(self, seconds):
        self.spent[self.doing()] += seconds
        self.cluster.sim.run_for(seconds)

    def doing(self):
        """What the time is spent on: the stage at which the job is."""
        leader = self.cluster.leader()
        if leader is None:
            return "no leader"
        procedure = self.cluster.nodes[leader].board.procedure
        return "no procedure" if procedure is None else procedure.stage.value

    def pick(self, act, role):
        def call():
            cluster = self.cluster
            if role == "leader":
                node = cluster.leader()
            elif role == "source":
                node = cluster.source(self.job.job)
            else:
                node = self.random.choice(sorted(cluster.ever))
            if node is not None:
                act(cluster, node)

        return call

    def join(self, node):
        self.cluster.names.append(node)
        self.cluster.prepare(node)
        self.cluster.start(node)

    # ------------------------------------------------------------------------------------------ the end

    def settle(self):
        """Faults have stopped: wait for the end; if that is not to be had, bring everyone back and wait again."""
        cluster, job = self.cluster, self.job.job
        self.calm()
        since = cluster.sim.now
        if not self.wait() and not self.is_over():
            self.justify_waiting(sorted(cluster.alive))
            cluster.tell(next(iter(cluster.names)), "(everyone comes back)")
            for node in sorted(set(cluster.ever) - cluster.alive):
                cluster.restart(node)
            self.calm()
            since = cluster.sim.now
            if not self.wait() and not self.is_over():
                return self.lost(since)
        if self.is_over():
            state = JobState.FINISHED if job in cluster.written else JobState.FAILED
            reason = cluster.failed.get(job, "")
            if NO_MEMORY not in reason:
                self.judge(state, reason)
            return self.told(state.name, "nobody lists the job any more", since)
        cluster.expect(len(self.said()) == 1, f"the living do not agree: {self.said()}")
        ((state, reason),) = self.said()
        never_ran = not any(record.step for record in cluster.records_of(job).values() if record is not None)
        if state is JobState.FAILED and never_ran and NO_MEMORY in reason:  # all who were there had too little for it
            return self.told(state.name, reason, since)
        self.judge(state, reason)
        self.until(lambda: cluster.is_clean(job), 150.0)  # who was away learns it from a leader
        cluster.expect(cluster.is_clean(job), "something of the job is left")
        return self.told(state.name, reason, since)

    def judge(self, state, reason):
        """A job ends well, or where it diverges; then the weights that are kept are those of a copied version."""
        cluster, job = self.cluster, self.job.job
        diverges_at = cluster.undisturbed[job].diverges_at()
        if diverges_at is None:
            cluster.expect(state is JobState.FINISHED, f"the job {state.name.lower()}: {reason}")
            cluster.expect(job in cluster.written, "the job is finished, and nothing was written")
            return
        cluster.expect(state is JobState.FAILED, f"step {diverges_at} diverges, and the job {state.name.lower()}")
        cluster.expect(reason.startswith(f"the loss of step {diverges_at}, "), f"it is said to fail of: {reason}")
        kept = next(
            (version for of, version in cluster.brought_home if f"after step {version} are kept on" in reason), 0
        )
        cluster.expect(
            (kept > 0) == (" are kept on the source in " in reason), f"nothing of this was brought home: {reason}"
        )
        forgetful = any(trouble.snapshots for trouble in self.troubles)
        cluster.expect(forgetful or " are lost" not in reason, f"nobody lacked memory: {reason}")
        cluster.expect(kept < diverges_at, f"step {diverges_at} diverges, and {kept} is kept")

    def calm(self):
        """Whatever does not last is over; a job that was paused goes on."""
        cluster = self.cluster
        cluster.triggers.clear()
        cluster.heal()
        for node in sorted(cluster.paused):
            cluster.go_on(node)
        self.go_on(2.0)
        records = [record for record in cluster.records_of(self.job.job).values() if record is not None]
        if any(record.state is JobState.PAUSED for record in records) or not records:
            resume(cluster, self.job.job)
        self.spent.clear()

    def until(self, condition, seconds):
        limit = self.cluster.sim.now + seconds
        while not condition() and self.cluster.sim.now < limit:
            self.go_on(STEP_SECONDS)
        return condition()

    def wait(self):
        """Whether the job ends; it has not if it waits for something that is really not there."""
        cluster, job = self.cluster, self.job.job
        anew = any(cluster.homes[node].boot > 1 for node in cluster.alive)
        gone = set(cluster.ever) - cluster.alive
        limit = cluster.sim.now + PATIENCE_SECONDS + (RESTORED_SECONDS if anew and gone else 0.0)
        limit += self.job.steps * SLOW_STEP_SECONDS if self.seed % 10 == SLOW else 0.0
        lacked_since = None
        waited_under = []
        while cluster.sim.now < limit:
            if cluster.ended(job):
                return True
            if not cluster.alive:
                return False
            records = [record for record in cluster.records_of(job).values() if record is not None]
            if records and all(record.state is JobState.PAUSED for record in records):
                resume(cluster, job)
            terms = {cluster.nodes[node].board.term for node in cluster.alive}
            if any("begins anew" in record.reason for record in records) and max(terms) not in waited_under:
                limit += BEGINNING_SECONDS if 0 < len(waited_under) < MOST_LEADERS else 0.0
                waited_under.append(max(terms))
            lacking = cluster.lacks(job, sorted(cluster.alive))
            lacked_since = (lacked_since or cluster.sim.now) if lacking else None
            if lacked_since is not None and cluster.sim.now > lacked_since + 40.0 and self.is_told():
                return False
            self.go_on(STEP_SECONDS)
        return cluster.ended(job)

    def is_over(self):
        """Whether the job was finished, or failed, and whoever knew that has been started anew."""
        nobody = all(record is None for record in self.cluster.records_of(self.job.job).values())
        return nobody and (self.job.job in self.cluster.written or self.job.job in self.cluster.failed)

    def is_forgotten(self):
        """Whether everyone who is there was started anew, and none of them has anything of the job on its disk."""
        job, homes = self.job.job, [self.cluster.homes[node] for node in self.cluster.alive]
        there = any(job in known for home in homes for known in (home.spool, home.specs, home.samples))
        return not there and all(record is None for record in self.cluster.records_of(job).values())

    def is_told(self):
        """Whether the living agree that the job waits, or know of none."""
        states = {None if r is None else r.state for r in self.cluster.records_of(self.job.job).values()}
        return states in ({JobState.WAITING}, {None})

    def said(self):
        """How the job stands, as the living have heard."""
        records = self.cluster.records_of(self.job.job).values()
        return {(record.state, record.reason) for record in records if record is not None}

    def justify_waiting(self, nodes):
        """A job that does not go on says why, and that is true."""
        cluster, job = self.cluster, self.job.job
        if not nodes:
            return
        if self.is_forgotten():
            return
        lacking = cluster.lacks(job, nodes)
        cluster.expect(lacking, "all that is needed is there, and the job does not end")
        self.until(lambda: len(self.said()) <= 1, AGREE_SECONDS)
        cluster.expect(len(self.said()) <= 1, f"the living do not agree: {self.said()}")
        for state, reason in self.said():
            cluster.expect(state is JobState.WAITING, f"it lacks {lacking}, and the job is {state.name}")
            words = {word for each in lacking for word in WORDS[each]}
            cluster.expect(any(word in reason for word in words), f"it lacks {lacking}, and says: {reason}")

    def lost(self, since):
        """Everyone who can come back is back, and the job still does not end: something is lost for good."""
        cluster, job = self.cluster, self.job.job
        self.justify_waiting(sorted(cluster.alive))
        cluster.expect(self.job.source in cluster.wiped, "the first weights and the samples were never lost")
        records = [record for record in cluster.records_of(job).values() if record is not None]
        return self.told("WAITING", records[0].reason if records else "nobody knows the job any more", since)

    def told(self, state, reason, since):
        cluster = self.cluster
        return Verdict(
            state,
            reason,
            cluster.sim.now - since,
            self.spent,
            cluster.sim.now - 1000.0,
            cluster.counts["plans"],
            cluster.counts["lost parcels"],
        )


def live_through(seed):
    """The verdict on one seed; whatever goes wrong inside is raised with the seed and the last events.

    Layers travel one by one in every other seed, else all that one node gives another at once.
    """
    run = Run(seed)
    try:
        with patch.object(inventory, "PIECE_BYTES", inventory.PIECE_BYTES if seed % 2 else 1):
            return run.verdict()
    except Exception as error:
        if f"seed {seed}:" in str(error):
            raise
        text = f"seed {seed}: {type(error).__name__}: {error}\n{run.cluster.picture()}"
        raise AssertionError(text) from error
