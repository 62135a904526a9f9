"""A described cluster, run: the whole production node of every device under the virtual clock.

Everybody knows everybody from the start, and the voters have led and followed before: a settled cluster, in which a
leader is still to be elected. A second later the source hands in the job. Who joins meets a few others, as through
discovery, and hears of the rest from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Final

from edged.core.effects import Depart, Effect, MakePlan, SendMessage, TellLeader, TellMember
from edged.core.electorate import SavedVote, fitness, wanted_voters
from edged.core.events import Event, JobSubmitted, MessageReceived, PeerMet, PlanMade
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.joblist import ENDED
from edged.core.messages import (
    Electorate,
    FinishedReport,
    MemberRecord,
    MemberState,
    Parcel,
    RecoveryReport,
    StepReport,
)
from edged.core.node import Node, NodeOptions
from edged.core.simulate import Network, Simulation
from edged.core.situation import Situation
from edged.errors import UserError
from edged.replication.policy import interval
from edged.simulation.description import ClusterDescription, DeviceDescription, Fault
from edged.simulation.device import Device, Home, Setting
from edged.simulation.faults import all_faults
from edged.simulation.freight import Freight, Roads
from edged.simulation.outcome import Log
from edged.simulation.reports import links_by_sender, report
from edged.simulation.workload import JOB, specified
from edged.strategies import PLANNERS
from edged.strategies.deciding import decide
from edged.strategies.figures import Figures

SUBMIT_SECONDS: Final = 1.0
REPORT_SECONDS: Final = 1.0
MET: Final = 3
PLANNING_SECONDS: Final = 0.05
JITTER: Final = 1.5
"""The slowest message on an idle link, to its latency."""


class SimulatedCluster:
    """All devices of a description; ``run`` lets time pass, ``log`` tells what came of it."""

    def __init__(self, cluster: ClusterDescription, seed: int, seconds: float) -> None:
        """Everyone is switched on but those who are to join."""
        self.log = Log()
        self.cluster = cluster
        self.seconds = seconds
        self._random = Random(seed)
        least = cluster.link.latency_seconds
        further = self._further if cluster.links else None
        network = Network((least, JITTER * least), ordered=True, further=further)
        self.simulation = Simulation(seed, network, self._perform)
        self._began = self.simulation.now
        self._names = {device.node: device.name for device in cluster.devices}
        self._described = {device.name: device for device in cluster.devices}
        self._homes = {device.node: Home() for device in cluster.devices}
        self._devices: dict[NodeId, Device] = {}
        self._slowed: dict[str, float] = {}
        self.freight = Freight(self.simulation, Roads(cluster), self._deliver)
        figures: dict[JobId, Figures] = {}
        if cluster.job is not None:
            self._spec = specified(cluster.job, cluster.source)
            figures[JOB] = Figures(Situation(self._spec, ()))
        data = 0 if cluster.job is None else cluster.job.data_bytes
        self._setting = Setting(self.simulation, self.freight, figures, data)
        self._options = NodeOptions(interval=interval, replicas=cluster.replicas)
        self._links = links_by_sender(cluster) if cluster.job is not None else {}
        self._reports = 0
        self._settle()
        for fault in all_faults(cluster, self._random, seconds):
            self._at(fault.at, fault)

    def run(self) -> None:
        """Let all the time pass that there is."""
        if self.cluster.job is not None:
            self.simulation.at(self._began + SUBMIT_SECONDS, self._submit)
            self.simulation.at(self._began + SUBMIT_SECONDS + REPORT_SECONDS, self._report)
        self.simulation.run_until(self._began + self.seconds)

    def living(self) -> list[NodeId]:
        """Nodes that run, and have never been away."""
        hosts = self.simulation.hosts
        away = {harm.node for harm in self.log.harms}
        return [
            node
            for node, host in hosts.items()
            if not host.stopped and self._homes[node].boot == 1 and node not in away
        ]

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.simulation.now - self._began

    # ------------------------------------------------------------------------------------------------- devices

    def _settle(self) -> None:
        present = [device for device in self.cluster.devices if device.name not in self.cluster.absent]
        records = [device.record() for device in present]
        voters = tuple(record.node for record in sorted(records, key=fitness)[: wanted_voters(len(records))])
        electorate = Electorate(f"{self._random.getrandbits(48):012x}", 1, 1, voters)
        for device in present:
            self._homes[device.node].saved = SavedVote(1, None, electorate)
            self._start(device, records)

    def _start(self, device: DeviceDescription, known: Iterable[MemberRecord]) -> None:
        node, home = device.node, self._homes[device.node]
        home.boot += 1
        slowness = device.slowness / self.cluster.source.slowness * self._slowed.get(device.name, 1.0)
        shell = self._devices[node] = Device(node, home, self._setting, slowness)
        rng = Random(self._random.getrandbits(64))
        machine = Node(device.record(home.boot), self._options, rng, home.saved, known, self._watch, home.listed)
        self.simulation.add(node, machine)
        shell.attach(machine)

    def _join(self, device: DeviceDescription) -> None:
        """A process begins, and a few of the others find it."""
        host = self.simulation.hosts.get(device.node)
        if host is not None and not host.stopped:
            return
        there = [node for node, other in self.simulation.hosts.items() if not other.stopped and other.paused_at is None]
        self._start(device, ())
        self.log.comes(device.node, self.now)
        own = device.record(self._homes[device.node].boot)
        for other in self._random.sample(there, min(MET, len(there))):
            record = self._described[self._names[other]].record(self._homes[other].boot)
            self.simulation.post(device.node, PeerMet(record), self._random.uniform(0.02, 0.3))
            self.simulation.post(other, PeerMet(own), self._random.uniform(0.02, 0.3))

    def _submit(self) -> None:
        source = self.cluster.source.node
        self._homes[source].spool[JOB] = self._spec
        if not self.simulation.hosts[source].stopped:
            self.simulation.post(source, JobSubmitted(self._spec))

    def _report(self) -> None:
        """Everyone tells whoever leads how fast it is, and its links."""
        hosts = {node: host for node, host in self.simulation.hosts.items() if not host.stopped}
        leaders = [n for n, host in hosts.items() if isinstance(host.machine, Node) and host.machine.board.leads]
        self._reports += 1
        for node, host in hosts.items():
            if host.paused_at is None:
                said = report(self._reports, self._links.get(node, ()), JOB, self._devices[node].slowness)
                for leader in leaders:
                    self.simulation.send(node, SendMessage(leader, said))
        self.simulation.at(self.simulation.now + REPORT_SECONDS, self._report)

    def _further(self, sender: NodeId, receiver: NodeId) -> float:
        link = self.cluster.link_between(self._names[sender], self._names[receiver])
        return link.latency_seconds - self.cluster.link.latency_seconds

    # -------------------------------------------------------------------------------------------------- faults

    def _at(self, second: float, fault: Fault) -> None:
        self.simulation.at(self._began + second, lambda: self._happen(fault))

    def _happen(self, fault: Fault) -> None:
        self.log.faults[fault.kind] = self.log.faults.get(fault.kind, 0) + 1
        if fault.kind == "cut":
            self._cut(fault)
            return
        for name in fault.devices:
            device = self._described[name]
            host = self.simulation.hosts.get(device.node)
            if fault.kind == "join":
                self._join(device)
            elif fault.kind == "slow":
                self._slow(device, fault.factor, fault.lasts)
            elif host is not None and not host.stopped:
                self._take_away(device, fault)

    def _take_away(self, device: DeviceDescription, fault: Fault) -> None:
        node, simulation = device.node, self.simulation
        if fault.kind == "stop":
            if simulation.hosts[node].paused_at is None:
                self.log.goes(fault.kind, node, self.now)
                simulation.pause(node)
                if fault.lasts:
                    simulation.at(simulation.now + fault.lasts, lambda: self._go_on(node))
            return
        self.log.goes(fault.kind, node, self.now)
        self._devices[node].ended = True
        if fault.kind == "kill":
            simulation.kill(node)
            self.freight.lose(node)
        else:
            simulation.silence(node)

    def _go_on(self, node: NodeId) -> None:
        host = self.simulation.hosts[node]
        if host.stopped or host.paused_at is None:
            return
        self.log.comes(node, self.now)
        self.simulation.go_on(node)
        self._devices[node].go_on()

    def _slow(self, device: DeviceDescription, factor: float, lasts: float) -> None:
        self._slowed[device.name] = self._slowed.get(device.name, 1.0) * factor
        if device.node in self._devices:
            self._devices[device.node].slowness *= factor
        if lasts:
            self.simulation.at(self.simulation.now + lasts, lambda: self._slow(device, 1.0 / factor, 0.0))

    def _cut(self, fault: Fault) -> None:
        """Every link between different sides, both ways."""
        sides = [[self._described[name].node for name in side.split(",")] for side in fault.devices]
        pairs = [
            (one, other)
            for place, side in enumerate(sides)
            for second in sides[place + 1 :]
            for one in side
            for other in second
            if one != other
        ]
        for one, other in pairs:
            for way in ((one, other), (other, one)):
                self.simulation.cut(*way)
        if fault.lasts:
            self.simulation.at(self.simulation.now + fault.lasts, lambda: self._mend(pairs))

    def _mend(self, pairs: list[tuple[NodeId, NodeId]]) -> None:
        for one, other in pairs:
            self.simulation.mend(one, other)
            self.simulation.mend(other, one)

    # ----------------------------------------------------------------------------------------------- the shell

    def _perform(self, node: NodeId, effect: Effect) -> None:
        kind = type(effect)
        if kind is TellMember:
            assert isinstance(effect, TellMember), "its type says so"
            if effect.record.state is MemberState.DEAD:
                self.log.is_called_dead(effect.record.node, node, self.now)
            return
        match effect:
            case TellLeader(leader) if leader == node:
                self.log.leads(node, self.now)
            case MakePlan(stamp, situation):
                self.simulation.post(node, self._plan(situation, stamp), PLANNING_SECONDS)
            case Depart():
                self._devices[node].ended = True
                self.simulation.kill(node)
            case _:
                self._devices[node].perform(effect)

    @staticmethod
    def _plan(situation: Situation, stamp: Stamp) -> PlanMade:
        try:
            decision = decide(PLANNERS[situation.spec.strategy], situation, stamp)
        except UserError as impossible:
            return PlanMade(stamp, None, str(impossible))
        return PlanMade(stamp, decision.plan, "", decision.verdict, decision.step_seconds)

    def _deliver(self, sender: NodeId, to: NodeId, parcel: Parcel) -> None:
        if not self._devices[to].ended:
            self._devices[to].take(sender, parcel)

    def _watch(self, event: Event) -> None:
        """What is reported to all."""
        if type(event) is not MessageReceived:
            return
        match event.message:
            case StepReport(stamp, step):
                self.log.step_done(stamp, step, self.now)
            case RecoveryReport() as report:
                self.log.recovered(report, self.now)
            case FinishedReport():
                self.log.ended = "finished"
            case _:
                pass

    def job_state(self) -> str:
        """How the job stands in the eyes of most who are there, in lower case; empty without a job."""
        states = [
            (record.state.name.lower(), record.reason)
            for host in self.simulation.hosts.values()
            if not host.stopped and isinstance(host.machine, Node)
            if (record := host.machine.board.jobs.records.get(JOB)) is not None
        ]
        if not states:
            return ""
        state, reason = max(states, key=states.count)
        return f"{state}: {reason}" if reason else state

    def has_failed(self) -> bool:
        """Whether the job has ended without a result."""
        state = self.job_state().partition(":")[0]
        return state in {each.name.lower() for each in ENDED} - {"finished"}
