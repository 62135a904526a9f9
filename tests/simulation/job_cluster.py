"""Whole nodes in the simulated network, with computing, feeding and the disk played by a few lines.

Computations take virtual time, parcels keep their order on every link and are lost with the link, which
is reported, control messages are
lost and duplicated as the network says. After every event the node's invariants hold (``Simulation(checks=True)``).
"""

from collections import defaultdict
from dataclasses import replace
from random import Random

from edged.core.effects import (
    BuildStages,
    Depart,
    DrawSample,
    DropJob,
    DropStages,
    Log,
    MakePlan,
    RunBackward,
    RunForward,
    RunUpdate,
    SendActivation,
    SendFirstState,
    SendGradient,
    SendInputs,
    SendProgram,
    SendState,
    TakeNorms,
    TellLeader,
    WriteWeights,
)
from edged.core.events import (
    BackwardDone,
    ForwardDone,
    JobSubmitted,
    LinkLost,
    NormsTaken,
    ParcelArrived,
    ParcelLost,
    PlanMade,
    SampleDrawn,
    StagesBuilt,
    UpdateDone,
    WeightsWritten,
)
from edged.core.joblist import ENDED
from edged.core.messages import Activation, Gradient, Inputs, ProgramParcel, StateParcel
from edged.core.node import Node, NodeOptions
from edged.core.simulate import Network, Simulation
from edged.strategies import PLANNERS
from edged.strategies.pipeline import PlanImpossibleError
from tests.core.job_sample import member

LAYER_SECONDS = 0.02
LINK_SECONDS = 0.002
SILENCE_SECONDS = 4.0
"""How long a transport waits for acknowledgements before it gives a connection up."""


class Cluster:
    """``names`` are the letters of the nodes; all know each other from the start."""

    def __init__(self, names, seed, loss=0.0, duplication=0.0):
        self.random = Random(seed)
        self.sim = Simulation(seed, Network(loss=loss, duplication=duplication), self.perform, checks=True)
        self.names = [letter * 16 for letter in names]
        self.records = {node: member(node, slowness=self.random.uniform(0.5, 2.0)) for node in self.names}
        self.nodes = {}
        self.alive = set()
        self.specs = {}
        self.built = set()
        self.written = defaultdict(int)
        self.dropped = defaultdict(int)
        self.links = defaultdict(float)
        self.under_way = []
        self.kept = []
        self.lost = 0
        self.logs = []
        for node in self.names:
            self.start(node)

    def start(self, node):
        known = [record for other, record in self.records.items() if other != node]
        self.nodes[node] = Node(self.records[node], NodeOptions(), Random(self.random.random()), None, known)
        self.sim.add(node, self.nodes[node])
        self.alive.add(node)

    # ---------------------------------------------------------------------------------------------- what tests do

    def submit(self, spec):
        self.specs[spec.job] = spec
        self.sim.post(spec.source, JobSubmitted(spec))

    def kill(self, node):
        self.alive.discard(node)
        self.sim.kill(node)

    def restart(self, node):
        """The process dies and is back at once, with nothing but its identity."""
        self.kill(node)
        self.built = {(at, stamp) for at, stamp in self.built if at != node}
        self.records[node] = replace(self.records[node], boot=self.records[node].boot + 1)
        self.start(node)

    def silence(self, node):
        self.alive.discard(node)
        self.sim.silence(node)

    def leader(self):
        """The node that leads in the eyes of all living nodes, if they agree."""
        leaders = {self.nodes[node].board.leader for node in self.alive}
        return leaders.pop() if len(leaders) == 1 and leaders <= self.alive else None

    def record(self, job, node=None):
        return self.nodes[node or min(self.alive)].board.jobs.records.get(job)

    def plan(self, job):
        """The plan that any living node knows to run."""
        known = (self.nodes[node].board.plans.get(job) for node in sorted(self.alive))
        return next((chosen.plan for chosen in known if chosen is not None), None)

    def wait(self, condition, seconds, what):
        """Run until the condition holds; fail with the whole picture otherwise."""
        limit = self.sim.now + seconds
        while not condition():
            assert self.sim.now < limit, f"{what}: not within {seconds} s\n{self.picture()}"
            self.sim.run_for(0.05)

    def elect(self):
        self.wait(lambda: self.leader() is not None, 30.0, "a leader")
        return self.leader()

    def all_ended(self, job):
        return all((r := self.record(job, node)) is not None and r.state in ENDED for node in self.alive)

    def finish(self, job, seconds=120.0):
        """Wait until every living node knows how the job ended; all say the same, and nothing of it is left."""
        self.wait(lambda: self.all_ended(job), seconds, f"the end of job {job}")
        records = {self.record(job, node) for node in self.alive}
        assert len({(r.state, r.reason) for r in records}) == 1, self.picture()
        for node in self.alive:
            machine = self.nodes[node]
            assert job not in machine.migration.jobs()
            assert machine.running.stamp is None or machine.running.stamp.job != job
            assert not [stamp for at, stamp in self.built if at == node and stamp.job == job], "stages are left"
        return self.record(job)

    def picture(self):
        lines = [f"virtual time {self.sim.now:.2f}"]
        for node, machine in self.nodes.items():
            board, running = machine.board, machine.running
            procedure = board.procedure and (board.procedure.stage, sorted(board.procedure._unanswered))
            lines.append(
                f"{node[0]} {'' if node in self.alive else 'dead '}leader={board.leader and board.leader[0]} "
                f"runs={running.stamp} step={running.feeding and running.feeding.step} {procedure} "
                f"{[(r.job[0], r.state.name, r.step, r.reason) for r in board.jobs.records.values()]}"
            )
        return "\n".join(lines + [f"  {at:.2f} {node[0]} {log.topic}: {log.text}" for at, node, log in self.logs[-20:]])

    # ---------------------------------------------------------------------------------------------- the shell

    def perform(self, node, effect):
        match effect:
            case Log():
                self.logs.append((self.sim.now, node, effect))
            case TellLeader(leader, term):
                self.logs.append((self.sim.now, node, Log("info", "election", f"{leader and leader[0]} leads {term}")))
            case Depart():
                self.kill(node)
            case MakePlan(spec, stamp, members):
                self.sim.post(node, self.make_plan(spec, stamp, members), 0.01)
            case BuildStages(plan):
                self.built.add((node, plan.stamp))
                self.sim.post(node, StagesBuilt(plan.stamp, ""), self.random.uniform(0.05, 1.0))
            case DropStages(stamp):
                self.built.discard((node, stamp))
            case DropJob(job):
                self.dropped[node, job] += 1
            case WriteWeights(stamp, version, token):
                assert version == self.specs[stamp.job].steps
                self.written[stamp.job] += 1
                self.sim.post(node, WeightsWritten(stamp, token, "out", "sha", ""), 0.05)
            case DrawSample(job, work):
                self.sim.post(node, SampleDrawn(job, work), 0.001)
            case _:
                self.compute(node, effect)
                self.send(node, effect)

    @staticmethod
    def make_plan(spec, stamp, members):
        try:
            return PlanMade(spec.job, PLANNERS[spec.strategy](spec, members, stamp), "")
        except PlanImpossibleError as impossible:
            return PlanMade(spec.job, None, str(impossible))

    def compute(self, node, effect):
        seconds = LAYER_SECONDS * self.records[node].slowness
        match effect:
            case RunForward(stamp, route, hop, work):
                last = hop + 1 == len(self.nodes[node].board.plans[stamp.job].plan.routes[route].hops)
                done = ForwardDone(stamp, route, hop, work, seconds, 1.0 if last else None, ())
            case RunBackward(stamp, route, hop, work):
                done = BackwardDone(stamp, route, hop, work, seconds)
            case TakeNorms(stamp, version):
                done = NormsTaken(stamp, version, ((self.names.index(node), 1.0),))
            case RunUpdate(stamp, version):
                done = UpdateDone(stamp, version, seconds, 0.1)
            case _:
                return
        assert (node, stamp) in self.built, "computes without stages"
        self.sim.post(node, done, seconds)

    def send(self, node, effect):
        match effect:
            case SendProgram(to, job):
                assert self.specs[job].source == node
                self.parcel(node, to, ProgramParcel(job, 10))
            case SendFirstState(to, stamp, first, last):
                self.parcel(node, to, StateParcel(stamp, first, last, 0, (), b""))
            case SendState(to, stamp, first, last, version):
                self.parcel(node, to, StateParcel(stamp, first, last, version, (), b""))
            case SendActivation(to, stamp, route, hop, work):
                self.parcel(node, to, Activation(stamp, route, hop + 1, work, (), ()))
            case SendGradient(to, stamp, route, hop, work):
                self.parcel(node, to, Gradient(stamp, route, hop - 1, work, ()))
            case SendInputs(to, stamp, route, hop, work):
                self.parcel(node, to, Inputs(stamp, route, hop, work, ()))
            case _:
                pass

    def parcel(self, node, to, header):
        """In order on each link; kept while the way is cut, and reported lost when that lasts."""
        if (node, to) in self.sim._cuts:
            self.kept.append((node, to, header))
            self.sim.at(self.sim.now + SILENCE_SECONDS, lambda: self.give_up(node, to, header))
            return
        moment = max(self.links[node, to], self.sim.now + LINK_SECONDS)
        self.links[node, to] = moment
        under_way = (node, to, header, self.sim.hosts[to])
        self.under_way.append(under_way)
        self.sim.at(moment, lambda: self.arrive(under_way))

    def arrive(self, under_way):
        if under_way in self.under_way:
            self.under_way.remove(under_way)
            node, to, header, host = under_way
            if self.sim.hosts[to] is host and not host.stopped:
                self.sim.post(to, ParcelArrived(node, header))
            else:
                self.lose(node, to, header)

    def give_up(self, node, to, header):
        if (node, to, header) in self.kept:
            self.kept.remove((node, to, header))
            self.lose(node, to, header)

    def lose(self, node, to, header):
        """As a transport that has no acknowledgement for a parcel."""
        self.lost += 1
        self.sim.post(node, ParcelLost(to, header))

    def break_link(self, node, to):
        """The connection ends that carries ``node``'s parcels to ``to``; the next parcel makes another."""
        broken = [entry for entry in self.under_way if entry[:2] == (node, to)]
        self.under_way = [entry for entry in self.under_way if entry[:2] != (node, to)]
        self.sim.post(node, LinkLost(to))
        for entry in broken:
            self.lose(*entry[:3])

    def heal(self):
        """Mend every cut; what was kept goes on its way."""
        self.sim.heal()
        kept, self.kept = self.kept, []
        for entry in kept:
            self.parcel(*entry)
