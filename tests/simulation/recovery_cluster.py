"""Whole nodes with simulated shells, what may happen to them, and what must hold all the while.

After every event: the machines' own invariants, one leader in a term of a lineage, nothing read below the fence,
bounded copies; and whatever a node says that it holds lies there, with the bits of the undisturbed run.
"""

import math
from collections import deque
from dataclasses import replace
from random import Random

from edged.core.effects import Depart, Effect, Log, MakePlan, SaveJobs, SaveVote, SendMessage, TellLeader
from edged.core.electorate import SavedVote
from edged.core.events import (
    LineageChanged,
    LinkLost,
    MessageReceived,
    ParcelArrived,
    ParcelLost,
    ParcelRefused,
    PeerMet,
    PlanMade,
    SelfMeasured,
)
from edged.core.joblist import ENDED
from edged.core.messages import (
    Activation,
    Boundary,
    Committed,
    DataParcel,
    End,
    EvalReport,
    FinishedReport,
    Gradient,
    GradientNorms,
    Halt,
    HoldingKind,
    Inputs,
    Inventory,
    JobState,
    PlanChosen,
    Prepare,
    ProgramParcel,
    RecoveryReport,
    Result,
    Start,
    StateParcel,
    StepReport,
    Taken,
    Updated,
    WantProgress,
)
from edged.core.node import Node, NodeOptions
from edged.core.recovery import LEAVES
from edged.core.simulate import Network, Simulation
from edged.strategies import PLANNERS
from edged.strategies.cost import PlanImpossibleError
from edged.strategies.deciding import decide
from tests.core.job_sample import member
from tests.simulation.arithmetic import Undisturbed
from tests.simulation.device import BUDGET, Device, Home, Troubles
from tests.simulation.lineages import Lineages

LINK_SECONDS = 0.001
STATE_SECONDS = 0.01
SILENCE_SECONDS = 4.0
"""How long a transport waits for acknowledgements before it gives a connection up."""

MEET_SECONDS = 2.0
"""How often who has not been met is looked for."""

REMEMBERED = 400
COPIES = 8
"""Versions in a process's memory, those included that the core has not been told of or has just let go."""

PLANNED = frozenset({"joined", "slow"})
"""Causes for which no step is done again; nor is one for a node that leaves. While a job stands, one may die."""

_RAISING = (Halt, Prepare, Start, PlanChosen, End)
_REPORTS = (StepReport, EvalReport, FinishedReport, RecoveryReport)
_OF_A_PLAN = (Inputs, Activation, Gradient, StateParcel, Taken, Result, Updated, GradientNorms, WantProgress, Boundary)


class BrokenPromiseError(AssertionError):
    """Something does not hold that must; the text ends with the seed and the last events."""


def stamp_of(subject):
    return subject.plan.stamp if isinstance(subject, Prepare | PlanChosen) else getattr(subject, "stamp", None)


def replaces(header, older):
    """Whether this replica is sent instead of an older one that has not begun to travel."""
    both = all(isinstance(each, StateParcel) and each.replica for each in (header, older))
    return both and (header.first_layer, header.last_layer) == (older.first_layer, older.last_layer)


class Referee:
    """Sees what one process lets pass its fence, and judges that by a count of its own."""

    def __init__(self, cluster, node):
        self.cluster = cluster
        self.node = node
        self.highest = {}

    def __call__(self, event):
        match event:
            case LineageChanged(discarded=discarded):
                self.highest = {} if discarded else self.highest
            case MessageReceived(message=subject):
                self.judge(subject)
            case ParcelArrived(parcel=subject) | ParcelLost(parcel=subject) | ParcelRefused(parcel=subject):
                self.judge(subject)

    def judge(self, subject):
        stamp = stamp_of(subject)
        if stamp is None:
            return
        known = self.highest.get(stamp.job)
        kind = type(subject)
        below = known is not None and stamp < known
        if below or (kind in _OF_A_PLAN and stamp != known):
            self.cluster.expect(False, f"{self.node[0]} read {kind.__name__} of {stamp}, below its fence at {known}")
        if kind in _RAISING:
            self.highest[stamp.job] = stamp


class Cluster:
    """``names`` are the letters of the nodes that run from the start, and know each other."""

    device_class = Device

    def __init__(self, names, seed, *, network=None, options=None, layer_seconds=0.005, doubled=0.0):
        self.seed = seed
        self.random = Random(seed)
        self.sim = Simulation(
            seed, network or Network(ordered=True), self.perform, self.after, checks=True, before=self.before
        )
        self.options = options or NodeOptions()
        self.layer_seconds = layer_seconds
        self.doubled = doubled
        self.names = [letter * 16 for letter in names]
        self.homes, self.records, self.troubles, self.devices, self.nodes = {}, {}, {}, {}, {}
        self.alive, self.paused, self.ever, self.wiped = set(), set(), set(), set()
        self.specs, self.undisturbed = {}, {}
        self.written, self.brought_home = set(), set()
        self.failed, self.stayed = {}, {}
        self.leaders, self.clans, self.votes = {}, {}, {}
        self.links, self.under_way, self.kept = {}, {}, {}
        self.said = {}
        self.triggers = []
        self.tale = deque(maxlen=REMEMBERED)
        self.counts = {"lost parcels": 0, "roll-backs": 0, "plans": 0, "refused copies": 0}
        for node in self.names:
            self.prepare(node)
        for node in self.names:
            self.start(node, [record for other, record in self.records.items() if other != node])

    # ------------------------------------------------------------------------------------------ what tests do

    def prepare(self, node):
        """A device that is switched off."""
        self.homes[node] = Home()
        self.records[node] = member(node, slowness=self.random.uniform(0.5, 2.0))
        self.troubles[node] = Troubles()

    def start(self, node, known=()):
        """A process begins on a device; it finds its disk, and the others find it."""
        home = self.homes[node]
        home.boot += 1
        slowness = self.records[node].slowness
        self.alive.add(node)
        self.ever.add(node)
        device = self.devices[node] = self.device_class(node, home, self, slowness, self.troubles[node])
        record = device.record(self.records[node])
        self.records[node] = replace(record, slowness=slowness)
        rng = Random(self.random.getrandbits(64))
        referee = Referee(self, node)
        machine = self.nodes[node] = Node(record, self.options, rng, home.saved, known, referee, home.listed)
        self.sim.add(node, machine)
        device.begin()
        self.sim.post(node, SelfMeasured(slowness, BUDGET, "cpu"), self.random.uniform(0.1, 1.0))
        self.sim.at(self.sim.now + self.random.uniform(0.02, 0.3), lambda: self.meet(node, device))
        self.tell(node, f"starts, boot {home.boot}")

    def meet(self, node, device):
        """Discovery: each side learns the other's record, as long as one of them does not know it."""
        if self.devices.get(node) is not device or device.ends:
            return
        if node not in self.paused:
            for other in sorted(self.alive - self.paused - {node}):
                if not (self.sim.is_cut(node, other) or self.sim.is_cut(other, node)):
                    for one, two in ((node, other), (other, node)):
                        known = self.nodes[one].membership.members.get(two)
                        own = self.nodes[two].membership.own
                        if known is None or known.boot < own.boot:
                            self.sim.post(one, PeerMet(own), 0.005)
        self.sim.at(self.sim.now + MEET_SECONDS, lambda: self.meet(node, device))

    def submit(self, spec):
        self.specs[spec.job] = spec
        self.undisturbed[spec.job] = Lineages(spec) if spec.asynchronous else Undisturbed(spec)
        self.devices[spec.source].submit(spec)
        self.tell(spec.source, f"hands in job {spec.job}: {len(spec.layers)} layers, {spec.steps} steps")

    def is_paused(self, node):
        return node in self.paused

    def kill(self, node, *, loudly=True):
        """The process ends (SIGKILL), or, not loudly, the device loses its power."""
        if node not in self.alive:
            return
        self.tell(node, "is killed" if loudly else "loses its power")
        self.alive.discard(node)
        self.paused.discard(node)
        self.devices[node].ends = True
        (self.sim.kill if loudly else self.sim.silence)(node)
        for link in [link for link in self.under_way if node in link]:
            self.break_link(*link)

    def restart(self, node, *, wipe=False):
        if node in self.alive:
            return
        if wipe:
            self.tell(node, "loses what is on its disk")
            self.homes[node].wipe()
            self.wiped.add(node)
        self.start(node)

    def pause(self, node):
        """SIGSTOP."""
        if node in self.alive and node not in self.paused:
            self.tell(node, "is stopped")
            self.paused.add(node)
            self.sim.pause(node)

    def go_on(self, node):
        """SIGCONT."""
        if node in self.paused:
            self.tell(node, "continues")
            self.paused.discard(node)
            self.devices[node].go_on()
            self.sim.go_on(node)

    def cut(self, one, other):
        self.tell(one, f"is not heard by {other[0]} any more")
        self.sim.cut(one, other)

    def mend(self, one, other):
        self.tell(one, f"is heard by {other[0]} again")
        self.sim.mend(one, other)
        self._hand_over_kept()

    def heal(self):
        self.sim.heal()
        self._hand_over_kept()

    def leader(self):
        """Who leads in the eyes of most of the living."""
        seen = [self.nodes[node].board.leader for node in sorted(self.alive)]
        return max((leader for leader in seen if leader in self.alive), key=seen.count, default=None)

    def source(self, job):
        """Who is the source in the eyes of the leader."""
        leader = self.leader()
        record = None if leader is None else self.nodes[leader].board.jobs.records.get(job)
        return self.specs[job].source if record is None else record.source

    def records_of(self, job):
        return {node: self.nodes[node].board.jobs.records.get(job) for node in sorted(self.alive)}

    def ended(self, job):
        """Whether every living node that knows of the job knows that it is over."""
        records = [record for record in self.records_of(job).values() if record is not None]
        return bool(records) and all(record.state in ENDED for record in records)

    def is_clean(self, job):
        """Whether nothing of the job is left in any living process."""
        return not any(
            job in self.nodes[node]._jobs()
            or any(stamp.job == job for stamp in self.devices[node].stages)
            or any(key[0] == job for key in self.devices[node].memory)
            for node in self.alive - self.paused
        )

    def lacks(self, job, nodes):
        """What these devices, memory and disk together, lack to go on with; empty if nothing is missing."""
        lacking = []
        homes = [self.homes[node] for node in nodes]
        if not any(job in home.spool or job in home.samples for home in homes):
            lacking.append("samples")
        programs = {job for home in homes for job in (*home.programs, *home.spool)}
        programs |= {job for node in nodes if node in self.alive for job in self.devices[node].programs}
        if job not in programs:
            lacking.append("program")
        if not any(job in home.spool for home in homes) and self.newest(job, nodes) < 0:
            lacking.append("layers")
        return lacking

    # ------------------------------------------------------------------------------------------ what must hold

    def expect(self, holds, sentence):
        if not holds:
            raise BrokenPromiseError(f"seed {self.seed}: {sentence}\n{self.picture()}")

    def compare(self, job, first, version, state, where, plan=None):
        """These layers at this version have the bits of the undisturbed run, or, asynchronous, of one plan's.

        ``plan``: they are what it begins with.
        """
        if self.specs[job].asynchronous:
            lineages = self.undisturbed[job]
            right = (
                lineages.fits(first, version, state) if plan is None else lineages.build(plan, version, first, state)
            )
            what = f"{where}: what layers {first} and following hold at version {version}"
            self.expect(right, f"{what} is not that of the undisturbed run of any plan")
            return
        right = self.undisturbed[job].at(version)[first : first + len(state)]
        if list(state) != list(right):
            wrong = next(i for i, pair in enumerate(zip(state, right, strict=True)) if pair[0] != pair[1])
            self.expect(
                False, f"{where}: layer {first + wrong} at version {version} is not that of the undisturbed run"
            )

    def after(self, node):
        """What is promised, looked at after every event of a node."""
        machine, device = self.nodes[node], self.devices[node]
        election = machine.election
        if election._lead is not None:
            place = (self.clans[election.electorate.lineage], election.term)
            known = self.leaders.setdefault(place, node)
            self.expect(known == node, f"two leaders in term {election.term}: {known[0]} and {node[0]}")
        if len(device.memory) > COPIES:
            versions = {piece[2] for _, piece in device.memory}
            self.expect(len(versions) <= COPIES, f"{node[0]} holds versions {sorted(versions)} in memory")

        procedure = machine.board.procedure
        protection = None if procedure is None or procedure._adopted else procedure.protection
        if protection is not None:
            stayed = self.stayed.get((node, protection.plan.stamp))
            known = machine.membership.members
            there = {each: known[each].boot for each in protection._staying if each in known}
            self.stayed[node, protection.plan.stamp] = there
            if (protection.plan.stamp, protection.committed) not in self.said:
                self.look_at_commit(node, protection, came=stayed != there)

    def look(self, node, message):
        """What a node says of copies is so."""
        match message:
            case Inventory(stamp, holdings):
                for each in holdings:
                    if each.kind is HoldingKind.FIRST:
                        self.expect(stamp.job in self.homes[node].spool, f"{node[0]} has no first weights")
                        continue
                    there = self.devices[node].find(stamp.job, each.first_layer, each.last_layer, each.version)
                    self.expect(there is not None, f"{node[0]} says that it holds {each}, and does not")
            case Committed(stamp, stored=stored) if stored >= 0 and not self.wiped:
                if not self.said.setdefault(("stored", stamp, stored), False):
                    self.said["stored", stamp, stored] = True
                    disks = [key[1] for home in self.homes.values() for key in home.held if key[0] == stamp.job]
                    there = {layer for low, high, at in disks if at == stored for layer in range(low, high + 1)}
                    layers = len(self.specs[stamp.job].layers)
                    self.expect(len(there) == layers, f"version {stored} is called stored: {sorted(disks)}")
            case Prepare(plan, version=version):
                if self.said.setdefault(("plan", plan.stamp), version) == version:
                    self.counts["plans"] += 1
            case StepReport(stamp, step, loss=loss):
                self.look_at_loss(stamp.job, step, loss)
            case RecoveryReport(cause=cause, text=text) if cause in PLANNED or LEAVES in text.split():
                expected = message.lost_steps == 0 or self.counts["refused copies"]
                self.expect(expected, f"a change that all agree to: {text}")

    def look_at_commit(self, leader, protection, *, came):
        """A version has just been committed: whoever dies next, all of it or of a newer one lies somewhere.

        ``came``: with the same event, somebody has come or gone, and others are to hold it.
        """
        stamp, version = protection.plan.stamp, protection.committed
        staying = protection._staying
        if (stamp, version) in self.said or version < 0 or stamp.job in self.written:
            return  # where another lineage has finished the job, whoever went over to it has let go
        self.said[stamp, version] = True
        for node in staying:
            known = self.nodes[leader].membership.members.get(node)
            if node not in self.alive or known is None or known.boot != self.homes[node].boot:
                return  # somebody has died, and the leader does not know it yet
        if len(staying) < 2 or not any(protection.holders(node) for node in staying):
            return
        if came and not protection._complete(protection._held.get(version, set())):
            return
        for lost in staying:
            rest = sorted(self.alive - {lost})
            newest = self.newest(stamp.job, rest)
            self.expect(newest >= version, f"{version} is committed, and without {lost[0]} only {newest} is complete")

    def newest(self, job, nodes):
        """The newest version of which these devices hold all layers, first weights not counted; -1 if none."""
        held = [key for node in nodes for key in self.homes[node].held]
        held += [key for node in nodes if node in self.alive for key in self.devices[node].memory]
        pieces = {piece for held_of, piece in held if held_of == job}
        layers = set(range(len(self.specs[job].layers)))
        for version in sorted({version for _, _, version in pieces}, reverse=True):
            if {each for first, last, at in pieces if at == version for each in range(first, last + 1)} >= layers:
                return version
        return -1

    def look_at_loss(self, job, step, loss):
        spec = self.specs[job]
        losses = self.undisturbed[job].loss(step)
        if spec.asynchronous:
            self.expect(loss in losses, f"step {step} of {spec.name} reports loss {loss}, which no plan has")
            return
        mean = 0.0
        for each in losses:
            mean += each / len(losses)
        close = abs(mean - loss) < 1e-9 or (math.isnan(mean) and math.isnan(loss))
        self.expect(close, f"step {step} of {spec.name} reports loss {loss}, the undisturbed run {mean}")

    # ------------------------------------------------------------------------------------------ the shell

    def before(self, node, effect: Effect):
        kind = type(effect)
        if kind is SendMessage:
            self.look(node, effect.message)
        elif kind is Log:
            self.tell(node, f"{effect.topic}: {effect.text}")
        for trigger in [trigger for trigger in self.triggers if trigger.meets(effect)]:
            self.triggers.remove(trigger)
            trigger.pull(self, node, effect)

    def perform(self, node, effect):
        match effect:
            case SaveVote():
                self.save_vote(node, effect)
            case SaveJobs(records):
                self.homes[node].listed = records
                self.failed |= {record.job: record.reason for record in records if record.state is JobState.FAILED}
            case TellLeader(leader, term):
                self.tell(node, f"{'nobody' if leader is None else leader[0]} leads in term {term}")
            case Depart(reason):
                self.tell(node, f"departs: {reason}")
                self.devices[node].depart()
                self.kill(node)
            case MakePlan(stamp, situation):
                self.sim.post(node, self.make_plan(situation, stamp), 0.005)
            case _:
                self.devices[node].perform(effect)

    def save_vote(self, node, effect):
        home = self.homes[node]
        old = home.saved
        if effect.voted_for is not None:
            vote = self.votes.setdefault((node, effect.term), effect.voted_for)
            self.expect(vote == effect.voted_for, f"{node[0]} votes twice in term {effect.term}")
        if effect.electorate is not None and effect.electorate.lineage not in self.clans:
            parent = None if old is None or old.electorate is None else old.electorate.lineage
            lineage = effect.electorate.lineage
            self.clans[lineage] = lineage if parent is None else self.clans[parent]
        home.saved = SavedVote(effect.term, effect.voted_for, effect.electorate)

    @staticmethod
    def make_plan(situation, stamp):
        try:
            decision = decide(PLANNERS[situation.spec.strategy], situation, stamp)
            return PlanMade(stamp, decision.plan, "", decision.verdict, decision.step_seconds)
        except PlanImpossibleError as impossible:
            return PlanMade(stamp, None, str(impossible))

    def say(self, node, to, message):
        """A message of the shell's own, past the core."""
        if to == node:
            self.sim.post(node, MessageReceived(node, message))
        else:
            self.sim.send(node, SendMessage(to, message))

    # ------------------------------------------------------------------------------------------ parcels

    def parcel(self, node, to, header, value):
        """In order on each link, replicas and samples on a slower one; kept while the way is cut."""
        if to == node:
            self.take(node, node, self.devices[node], header, value)
            return
        if to not in self.devices:
            return
        if self.sim.is_cut(node, to):
            entry = (header, value, self.devices[node])
            older = [each for each in self.kept.get((node, to), []) if not replaces(header, each[0])]
            self.kept[node, to] = [*older, entry]
            self.sim.at(self.sim.now + SILENCE_SECONDS, lambda: self.give_up(node, to, entry))
            return
        slow = isinstance(header, DataParcel) or (isinstance(header, StateParcel) and header.replica)
        seconds = STATE_SECONDS * self.random.random() if isinstance(header, StateParcel | ProgramParcel) else 0.0
        seconds += 0.1 * self.random.random() if slow else 0.0
        link = (node, to, slow)
        moment = self.links[link] = max(self.links.get(link, 0.0), self.sim.now + LINK_SECONDS + seconds)
        entry = [header, value, self.devices[node], self.devices[to]]
        self.under_way.setdefault((node, to), []).append(entry)
        self.sim.at(moment, lambda: self.arrive(node, to, entry))

    def arrive(self, node, to, entry):
        entries = self.under_way.get((node, to), [])
        if not any(each is entry for each in entries):
            return
        self.under_way[node, to] = [each for each in entries if each is not entry]
        header, value, sender, receiver = entry
        if receiver.ends or self.devices[to] is not receiver:
            self.lose(node, to, header, sender)
        elif to in self.paused:
            receiver.waiting.append(lambda: self.take(node, to, receiver, header, value))
        else:
            self.take(node, to, receiver, header, value)
            if self.sim.is_cut(to, node):  # no acknowledgement comes back
                self.sim.at(self.sim.now + SILENCE_SECONDS, lambda: self.lose(node, to, header, sender))
            elif self.doubled and self.random.random() < self.doubled:
                self.sim.at(self.sim.now + LINK_SECONDS, lambda: self.take(node, to, receiver, header, value))

    def take(self, node, to, device, header, value):
        """The receiver's intake: asked before memory is taken, asked again when the parcel is whole."""
        if device.ends:
            return
        wants = self.nodes[to].expects
        if not wants(node, header):
            self.sim.post(to, ParcelRefused(node, header))
            return
        device.take(node, header, value, wants, lambda: self.sim.post(to, ParcelArrived(node, header)))

    def lose(self, node, to, header, sender):
        """As a transport that has no acknowledgement for a parcel."""
        if not sender.ends:
            self.counts["lost parcels"] += 1
            self.sim.post(node, LinkLost(to))
            self.sim.post(node, ParcelLost(to, header))

    def give_up(self, node, to, entry):
        entries = self.kept.get((node, to), [])
        if any(each is entry for each in entries):
            self.kept[node, to] = [each for each in entries if each is not entry]
            self.lose(node, to, entry[0], entry[2])

    def break_link(self, node, to):
        """The connection ends that carries ``node``'s parcels to ``to``; the next parcel makes another."""
        broken = self.under_way.pop((node, to), [])
        for header, value, sender, receiver in broken:
            if self.random.random() < 0.3 and not receiver.ends and self.devices[to] is receiver:
                if to in self.paused:
                    continue
                self.take(node, to, receiver, header, value)  # it had arrived; the acknowledgement is lost
            self.lose(node, to, header, sender)

    def drop_parcels(self, node, stamp):
        """A plan is over: what has not been sent of it need not be."""
        for waiting in (self.under_way, self.kept):
            for link, entries in waiting.items():
                if link[0] == node:
                    waiting[link] = [entry for entry in entries if getattr(entry[0], "stamp", None) != stamp]

    def _hand_over_kept(self):
        for (node, to), entries in list(self.kept.items()):
            if not self.sim.is_cut(node, to):
                self.kept[node, to] = []
                for header, value, sender in entries:
                    if not sender.ends and self.devices[node] is sender:
                        self.parcel(node, to, header, value)

    # ------------------------------------------------------------------------------------------ for people

    def tell(self, node, text):
        self.tale.append((self.sim.now, node, text))

    def picture(self, last=80):
        lines = [f"{at - 1000:8.3f} {node[0]} {text}" for at, node, text in list(self.tale)[-last:]]
        lines.append(f"{self.sim.now - 1000:8.3f} now")
        for node, machine in sorted(self.nodes.items()):
            board, running = machine.board, machine.running
            stage = "" if board.procedure is None else board.procedure.stage.value
            state = "" if node in self.alive else "dead " if node not in self.paused else "stopped "
            listed = [(r.job[:2], r.state.name, r.step, r.reason) for r in board.jobs.records.values()]
            held = [
                (h.first_layer, h.last_layer, h.version, h.kind.name)
                for j in self.specs
                for h in machine.keeping.holdings(j)
            ]
            runs = None if running.stamp is None else (running.stamp.term, running.stamp.version)
            lines.append(
                f"  {node[0]} {state}leader={board.leader and board.leader[0]} term {board.term} {stage} runs={runs} "
                f"step={running.feeding and running.feeding.step} {listed} {held}"
            )
        return "\n".join(lines)
