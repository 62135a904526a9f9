"""What may happen to a cluster, drawn from a seed: at a moment of the clock, or at a named point of the procedure."""

from collections.abc import Callable
from dataclasses import dataclass

from edged.core.effects import (
    BuildStages,
    CopyData,
    MakePlan,
    RunUpdate,
    SaveVote,
    SendFirstState,
    SendHeld,
    SendMessage,
    SendProgram,
    StoreHeld,
    TakeNorms,
    TakeSnapshot,
    WriteWeights,
)
from edged.core.events import ExportAsked, LeaveAsked, PauseAsked, ResumeAsked
from edged.core.messages import (
    Committed,
    DataHeld,
    Drain,
    Drained,
    End,
    FinishedReport,
    GradientNorms,
    Halt,
    Held,
    Inventory,
    JobDone,
    LeaveGranted,
    LeaveRequest,
    PlanChosen,
    Prepare,
    Prepared,
    RecoveryReport,
    Start,
    Updated,
    VoteReply,
    WantSnapshot,
    WorkFailed,
)


def _says(kind) -> Callable:
    return lambda effect: type(effect) is SendMessage and type(effect.message) is kind


def _does(kind, **fields) -> Callable:
    return lambda effect: type(effect) is kind and all(getattr(effect, name) == it for name, it in fields.items())


POINTS = {
    "a vote is saved": _does(SaveVote),
    "a vote is given": _says(VoteReply),
    "a halt is told": _says(Halt),
    "an inventory is told": _says(Inventory),
    "a plan is made": _does(MakePlan),
    "a plan is published": _says(PlanChosen),
    "a preparation is ordered": _says(Prepare),
    "layers are asked for": _says(WantSnapshot),
    "layers are handed out": _does(SendHeld, replica=False),
    "first weights are handed out": _does(SendFirstState),
    "the program is handed out": _does(SendProgram),
    "stages are built": _does(BuildStages),
    "a node is prepared": _says(Prepared),
    "a start is told": _says(Start),
    "an update begins": _does(RunUpdate),
    "an update is acknowledged": _says(Updated),
    "norms are taken": _does(TakeNorms),
    "norms are told": _says(GradientNorms),
    "a snapshot is taken": _does(TakeSnapshot),
    "a replica is sent": _does(SendHeld, replica=True),
    "a copy is told": _says(Held),
    "a commit is told": _says(Committed),
    "a version is stored": _does(StoreHeld),
    "samples are copied": _does(CopyData),
    "copied samples are told": _says(DataHeld),
    "a drain is told": _says(Drain),
    "standing is told": _says(Drained),
    "a failure is told": _says(WorkFailed),
    "a leave is asked for": _says(LeaveRequest),
    "a leave is granted": _says(LeaveGranted),
    "a recovery is reported": _says(RecoveryReport),
    "the result is written": _does(WriteWeights),
    "the result is reported": _says(FinishedReport),
    "the end is asked for": _says(JobDone),
    "the end is told": _says(End),
}
"""Names of points -> whether an effect is one."""

RARE = frozenset({"a leave is asked for", "a leave is granted", "a drain is told", "standing is told"})
LONGEST_SECONDS = 8.0


@dataclass
class Trigger:
    """At the ``count``-th time that a point is reached, ``act`` on the ``victim``, before that is done or after."""

    point: str
    count: int
    victim: str
    act: Callable
    early: bool

    def meets(self, effect):
        if not POINTS[self.point](effect):
            return False
        self.count -= 1
        return self.count <= 0

    def pull(self, cluster, node, effect):
        victim = _whom(cluster, self.victim, node, getattr(effect, "to", node))
        if victim is None:
            return
        cluster.tell(victim, f"({'before' if self.early else 'after'}: {self.point}, by {node[0]})")
        if self.early:
            self.act(cluster, victim)
        else:
            cluster.sim.at(cluster.sim.now, lambda: self.act(cluster, victim))


def _whom(cluster, role, node, to):
    match role:
        case "itself":
            return node
        case "the other":
            return to if to in cluster.nodes else node
        case "leader":
            return cluster.leader()
        case "source":
            return cluster.source(next(iter(cluster.specs)))
        case "anyone":
            return cluster.random.choice(sorted(cluster.ever))
    return None


class Fates:
    """Draws acts. ``until``: the moment at which all that does not last has passed."""

    def __init__(self, random, begun):
        self.random = random
        self.until = begun

    def _after(self, cluster, seconds, function):
        moment = cluster.sim.now + seconds
        self.until = max(self.until, moment)
        cluster.sim.at(moment, function)

    def kill(self, *, loudly=True):
        """SIGKILL, or loss of power; started again soon, later or never, with or without its disk."""
        seconds = self.random.choice([None, None, 0.0, self.random.uniform(0.0, 2.0), self.random.uniform(0.0, 8.0)])
        wipe = self.random.random() < 0.3

        def act(cluster, node):
            cluster.kill(node, loudly=loudly)
            if seconds is not None:
                self._after(cluster, seconds, lambda: cluster.restart(node, wipe=wipe))

        return act

    def kill_many(self):
        """Several devices, or all of them, lose their power at once, or nearly; most come back, with their disks."""
        share, spread = self.random.choice([0.4, 0.7, 1.0, 1.0]), self.random.choice([0.0, 0.0, 0.5])

        def act(cluster, node):
            victims = [other for other in sorted(cluster.alive - {node}) if self.random.random() < share]
            for victim in [node, *victims]:
                self._after(cluster, self.random.random() * spread, lambda each=victim: cluster.kill(each))
                if self.random.random() < 0.8:
                    seconds = spread + self.random.uniform(0.1, LONGEST_SECONDS)
                    self._after(cluster, seconds, lambda each=victim: cluster.restart(each))

        return act

    def pause(self):
        """SIGSTOP, SIGCONT."""
        seconds = self.random.choice([self.random.uniform(0.05, 1.0), self.random.uniform(0.5, LONGEST_SECONDS), 14.0])

        def act(cluster, node):
            cluster.pause(node)
            self._after(cluster, seconds, lambda: cluster.go_on(node))

        return act

    def cut(self):
        """A node apart from some others: one way or both, silently, or by a firewall that refuses connects."""
        seconds = self.random.choice([self.random.uniform(0.05, 1.0), self.random.uniform(0.5, LONGEST_SECONDS), 22.0])
        ways = self.random.choice(["to", "from", "both", "refused"])
        some = self.random.random() < 0.4

        def act(cluster, node):
            others = [other for other in cluster.names if other != node]
            if some:
                others = self.random.sample(others, max(1, len(others) // 2))
            links = [(node, other) for other in others if ways != "from"]
            links += [(other, node) for other in others if ways != "to"]
            for link in links:
                cluster.cut(*link)
                if ways == "refused":
                    cluster.tell(link[1], f"is refused by {link[0][0]}")
                    cluster.sim.cut(*link, resets=True)
                    cluster.break_link(*link)
            self._after(cluster, seconds, lambda: [cluster.mend(*link) for link in links])

        return act

    def cut_pair(self):
        """Two nodes apart from each other only, long enough that the plan has to do without that link."""
        seconds = self.random.choice([self.random.uniform(3.0, LONGEST_SECONDS), 22.0, 60.0])

        def act(cluster, node):
            other = self.random.choice([each for each in cluster.names if each != node])
            links = [(node, other), (other, node)]
            for link in links:
                cluster.cut(*link)
            self._after(cluster, seconds, lambda: [cluster.mend(*link) for link in links])

        return act

    def break_link(self):
        """A connection ends and takes with it what is under way."""

        def act(cluster, node):
            busy = [link for link, entries in cluster.under_way.items() if entries and node in link]
            for link in busy[: self.random.randint(1, 2)]:
                cluster.tell(link[0], f"loses its connection to {link[1][0]}")
                cluster.break_link(*link)

        return act

    def leave(self):
        """A graceful leave; the device may come back."""
        seconds = self.random.choice([None, self.random.uniform(5.0, 15.0)])

        def act(cluster, node):
            if node in cluster.alive:
                cluster.tell(node, "is asked to leave")
                cluster.sim.post(node, LeaveAsked())
                if seconds is not None:
                    self._after(cluster, seconds, lambda: cluster.restart(node))

        return act

    def pause_job(self):
        """The user of a node lets the job stand, and go on."""
        seconds = self.random.uniform(0.0, 4.0)

        def act(cluster, node):
            job = next(iter(cluster.specs))
            if node in cluster.alive:
                cluster.tell(node, "asks for a pause")
                cluster.sim.post(node, PauseAsked(job))
            self._after(cluster, seconds, lambda: resume(cluster, job))

        return act

    def export(self):
        """The user of the source wants weights."""

        def act(cluster, node):
            del node
            job = next(iter(cluster.specs))
            source = cluster.source(job)
            if source in cluster.alive:
                cluster.sim.post(source, ExportAsked(job, self.random.randint(1, 9)))

        return act

    def draw(self):
        """Any of these, the harder ones more often."""
        kinds = [self.kill] * 5 + [self.kill_many] * 3 + [self.pause] * 2 + [self.cut] * 3 + [self.break_link] * 2
        kinds += [lambda: self.kill(loudly=False)] * 2 + [self.leave] * 2 + [self.pause_job, self.export]
        kinds += [self.cut_pair] * 2
        return self.random.choice(kinds)()

    def trigger(self):
        point = self.random.choice(sorted(POINTS))
        count = self.random.choice([1, 1, 2, 2, 3, 5, 8, 13, 21])
        count = min(count, 2) if point in RARE else count
        victim = self.random.choice(["itself", "itself", "the other", "leader", "source", "anyone"])
        return Trigger(point, count, victim, self.draw(), self.random.random() < 0.5)


def resume(cluster, job):
    """Somebody wants the job to go on."""
    for node in sorted(cluster.alive - cluster.paused)[:1]:
        cluster.tell(node, "asks to resume")
        cluster.sim.post(node, ResumeAsked(job))
