"""The shell of one simulated node: a compute thread, a shelf, copies in memory and on disk, a spool, a feeder.

It does what the roles do, in the same order, with digests instead of tensors. ``Home`` is what survives the process.
Whatever it computes, copies or writes is compared at once with the run that nothing happens to.
"""

from dataclasses import dataclass, field, replace
from functools import partial

from edged.core.effects import (
    BuildStages,
    CopyData,
    DrawSample,
    DropHeld,
    DropJob,
    DropSample,
    DropStages,
    KeepArrived,
    RunBackward,
    RunForward,
    RunUpdate,
    SendActivation,
    SendFirstState,
    SendGradient,
    SendHeld,
    SendInputs,
    SendProgram,
    SendRows,
    SendState,
    StartFeeder,
    StoreHeld,
    TakeNorms,
    TakeSnapshot,
    WriteWeights,
)
from edged.core.events import (
    BackwardDone,
    ComputeFailed,
    DataCopied,
    FeederFailed,
    ForwardDone,
    HeldFound,
    HeldLost,
    HeldStored,
    JobSubmitted,
    MemoryRanOut,
    NormsTaken,
    ProgramLoaded,
    SampleDrawn,
    SnapshotTaken,
    StagesBuilt,
    UpdateDone,
    WeightsWritten,
)
from edged.core.job import Phase
from edged.core.messages import (
    Activation,
    DataParcel,
    DataWanted,
    Gradient,
    Holding,
    HoldingKind,
    Inputs,
    ProgramParcel,
    Refused,
    StateParcel,
)
from tests.simulation.arithmetic import Part, first_state, loss_of, mix, sample

DRAW_SECONDS = 0.001
COPY_SECONDS = 0.002
WRITE_SECONDS = 0.02
ROWS = 16
"""Samples in one parcel of them."""

NO_MEMORY = "no memory is left"

BUDGET = 10**9
WANT_SECONDS = 30.0
LOAD_SECONDS = 2.0
DEPART_SECONDS = 5.0
VERSIONS_ON_DISK = 3


METHODS = {
    BuildStages: "build",
    DropStages: "drop_stages",
    DropJob: "drop_job",
    RunForward: "run_forward",
    RunBackward: "run_backward",
    TakeNorms: "take_norms",
    RunUpdate: "run_update",
    SendActivation: "send_activation",
    SendGradient: "send_gradient",
    SendState: "send_state",
    TakeSnapshot: "take_snapshot",
    KeepArrived: "keep_arrived",
    SendHeld: "send_held",
    DropHeld: "drop_held",
    StoreHeld: "store_held",
    SendProgram: "send_program",
    SendFirstState: "send_first_state",
    CopyData: "copy_data",
    SendRows: "send_rows",
    StartFeeder: "start_feeder",
    DrawSample: "draw",
    SendInputs: "send_inputs",
    DropSample: "drop_sample",
    WriteWeights: "write_weights",
}
"""Effect -> the method that performs it."""


@dataclass
class Home:
    """What lies on a device's disk. ``spool``: jobs handed in here; ``samples``: whole copies of others'.

    ``listed``: the list of jobs; ``specs``: jobs of which copies are held here.
    """

    saved: object = None
    listed: tuple = ()
    specs: dict = field(default_factory=dict)
    boot: int = 0
    held: dict = field(default_factory=dict)
    origins: dict = field(default_factory=dict)
    programs: set = field(default_factory=set)
    spool: dict = field(default_factory=dict)
    results: dict = field(default_factory=dict)
    samples: set = field(default_factory=set)

    def wipe(self):
        """All but the identity, the boot counter and the vote is lost."""
        self.held, self.programs, self.spool, self.samples = {}, set(), {}, set()
        self.listed, self.specs, self.origins = (), {}, {}


@dataclass
class Stages:
    """What ``BuildStages`` made: a part for each hop."""

    plan: object
    spec: object
    parts: dict


@dataclass
class Troubles:
    """What is wrong with a device: how often a build or a snapshot fails yet, how slow its disk is, if it is full.

    ``unreadable``: versions that lie on its disk, and cannot be read. ``shortages``: after so many more computations,
    one after the other, memory is refused.
    """

    builds: int = 0
    snapshots: int = 0
    disk_seconds: float = WRITE_SECONDS
    disk_full: bool = False
    uncopyable: bool = False
    unreadable: set = field(default_factory=set)
    shortages: tuple = ()


class Device:
    """One process on one device. ``world`` is the cluster: clock, network, the undisturbed runs."""

    def __init__(self, node, home, world, slowness, troubles):
        self.node = node
        self.home = home
        self.world = world
        self.slowness = slowness
        self.troubles = troubles
        self.ends = False
        self.waiting = []
        self.stages = {}
        self.shelf = {}
        self.memory = {}
        self.programs = set(home.programs)
        self.ended = set()
        self.budget = BUDGET
        self.left = {}
        self.samples = {}
        self.pending = set()
        self.fed = set()
        self.rows = {}
        self.copying = {}
        self._compute_free = self._disk_free = 0.0
        self._writes = []
        self._storing = set()
        self._next_store = {}

    # ------------------------------------------------------------------------------------------------ time

    def _later(self, moment, function):
        """Call ``function`` in this process, if it still lives then; a stopped one does it when it goes on."""

        def call():
            if self.ends:
                return
            if self.world.is_paused(self.node):
                self.waiting.append(function)
            else:
                function()

        self.world.sim.at(moment, call)

    def go_on(self):
        waiting, self.waiting = self.waiting, []
        for function in waiting:
            function()

    def _compute(self, seconds, function):
        self._compute_free = max(self._compute_free, self.world.sim.now) + seconds
        self._later(self._compute_free, function)

    def _write(self, function):
        self._disk_free = max(self._disk_free, self.world.sim.now) + self.troubles.disk_seconds
        entry = (self._disk_free, function)
        self._writes.append(entry)

        def write():
            if entry in self._writes:
                self._writes.remove(entry)
                function()

        self._later(self._disk_free, write)

    def depart(self):
        """A process that leaves waits until what was to be stored is; what takes too long is lost."""
        until = self.world.sim.now + DEPART_SECONDS
        while self._writes and self._writes[0][0] <= until:
            _, function = self._writes.pop(0)
            function()
        self._writes = []

    def post(self, event):
        self.world.sim.post(self.node, event)

    # ------------------------------------------------------------------------------------------------ start

    def begin(self):
        """What is found on the disk, and the jobs that were handed in here and are not over."""
        jobs = sorted({job for job, _ in self.home.held} | self.home.programs)
        for job in jobs:
            pieces = sorted(piece for held_of, piece in self.home.held if held_of == job)
            origins = self.home.origins
            holdings = tuple(Holding(*piece, HoldingKind.DISK, origins[job, piece[2]]) for piece in pieces)
            spec = self.home.specs.get(job)
            self.post(HeldFound(job, holdings, job in self.home.programs, data=False, spec=spec))
            self._later(self.world.sim.now + LOAD_SECONDS, partial(self.post, ProgramLoaded(job)))
        for job in sorted(self.home.samples):
            self.post(HeldFound(job, (), program=False, data=True, spec=self.world.specs[job]))
        for _, spec in sorted(self.home.spool.items()):
            if spec.source == self.node:
                self.post(JobSubmitted(spec))

    def submit(self, spec):
        self.home.spool[spec.job] = spec
        self.post(JobSubmitted(spec))

    # ------------------------------------------------------------------------------------------------ effects

    def perform(self, effect):
        method = METHODS.get(type(effect))
        if method is not None:
            getattr(self, method)(effect)

    # -- stages

    def build(self, effect):
        plan, spec, stamp = effect.plan, effect.spec, effect.plan.stamp
        states = self.shelf.get(stamp, {}).get(effect.version, {})
        by_layer = {first + i: state for (first, _), held in states.items() for i, state in enumerate(held)}

        def done():
            problem = ""
            if self.troubles.builds > 0:
                self.troubles.builds -= 1
                problem = NO_MEMORY
            elif self._runs_out():
                problem = "memory ran out"
            elif spec.job not in self.programs | self.home.spool.keys():
                problem = "the program is not here"
            else:
                try:
                    self.stages[stamp] = self._stages(plan, spec, effect.version, by_layer)
                    self.shelf.get(stamp, {}).pop(effect.version, None)
                except KeyError as missing:
                    problem = f"the state of layer {missing} is not here"
            self.post(StagesBuilt(stamp, problem))

        self._compute(self.world.random.uniform(0.02, 0.3), done)

    def _stages(self, plan, spec, version, by_layer):
        parts = {}
        for route, hop, its in plan.hops_of(self.node):
            layers = range(its.first_layer, its.last_layer + 1)
            parts[route, hop] = Part(its.first_layer, version, [by_layer[layer] for layer in layers])
            self.world.compare(
                spec.job, its.first_layer, version, parts[route, hop].state, f"{self.node[0]} builds", plan
            )
        return Stages(plan, spec, parts)

    def drop_stages(self, effect):
        stamp = effect.stamp
        self.world.drop_parcels(self.node, stamp)
        self.shelf.pop(stamp, None)
        self.left = {key: value for key, value in self.left.items() if key[1] != stamp}
        self._compute(0.0, lambda: self.stages.pop(stamp, None))
        for kept in (self.samples, self.pending):
            for key in [key for key in kept if key[0] == stamp.job]:
                kept.pop(key) if isinstance(kept, dict) else kept.discard(key)

    def drop_job(self, effect):
        job = effect.job
        self.ended.add(job)
        self._next_store.pop(job, None)
        self.programs.discard(job)
        self.memory = {key: state for key, state in self.memory.items() if key[0] != job}
        self.rows.pop(job, None)
        self.copying.pop(job, None)
        self.home.spool.pop(job, None)
        self.home.samples.discard(job)

        def clear():
            self.home.held = {key: state for key, state in self.home.held.items() if key[0] != job}
            self.home.programs.discard(job)
            self.home.specs.pop(job, None)

        self._write(clear)

    def run_forward(self, effect):
        stamp, route, hop, work = effect.stamp, effect.route, effect.hop, effect.work
        seconds = self.seconds_of(effect)

        def done():
            stages = None if self._runs_out() else self.stages.get(stamp)
            if stages is None:
                return self._failed(stamp, f"no stages for a forward of {work}")
            part, spec = stages.parts[route, hop], stages.spec
            hops = stages.plan.routes[route].hops
            delay = hops[hop].window - 1 if spec.asynchronous and work.phase is Phase.TRAIN else 0
            right = part.version <= work.version <= part.version + delay
            self.world.expect(right, f"{self.node[0]}: {work} computed at {part.version}")
            x = self.left.pop(("inputs" if hop == 0 else "activation", stamp, route, hop, work), None)
            if x is None:
                return self._failed(stamp, f"nothing to compute {work} from at hop {hop}")
            y = part.forward(work, x)
            self.world.expect(len(part.stash) <= hops[hop].window, f"{self.node[0]}: window passed at hop {hop}")
            last = hop + 1 == len(hops)
            if last:
                self.left["loss", stamp, route, hop, work] = mix(11, y)
            else:
                self.left["forward", stamp, route, hop, work] = y
            loss = loss_of(spec, work, y) if last else None
            return self.post(ForwardDone(stamp, route, hop, work, seconds, loss, ()))

        self._compute(seconds, done)

    def run_backward(self, effect):
        stamp, route, hop, work = effect.stamp, effect.route, effect.hop, effect.work
        seconds = self.seconds_of(effect)

        def done():
            stages = None if self._runs_out() else self.stages.get(stamp)
            if stages is None:
                return self._failed(stamp, f"no stages for a backward of {work}")
            last = hop + 1 == len(stages.plan.routes[route].hops)
            gradient = self.left.pop(("loss" if last else "gradient", stamp, route, hop, work), None)
            if gradient is None:
                return self._failed(stamp, f"no gradient for {work} at hop {hop}")
            self.left["backward", stamp, route, hop, work] = stages.parts[route, hop].backward(work, gradient)
            return self.post(BackwardDone(stamp, route, hop, work, seconds))

        self._compute(seconds, done)

    def take_norms(self, effect):
        def done():
            stages = self.stages.get(effect.stamp)
            if stages is None:
                return self._failed(effect.stamp, "no stages to take norms of")
            norms = tuple(sorted(entry for part in stages.parts.values() for entry in part.norms()))
            return self.post(NormsTaken(effect.stamp, effect.version, norms))

        self._compute(COPY_SECONDS, done)

    def run_update(self, effect):
        stamp, version = effect.stamp, effect.version

        def done():
            stages = None if self._runs_out() else self.stages.get(stamp)
            if stages is None:
                return self._failed(stamp, f"no stages for the update to {version}")
            for part in stages.parts.values():
                self.world.expect(part.version + 1 == version, f"{self.node[0]}: {part.version} updated to {version}")
                part.update(version, effect.norms, skip=effect.skip)
                self.world.compare(stamp.job, part.first, version, part.copied(), f"{self.node[0]} updates")
            return self.post(UpdateDone(stamp, version, COPY_SECONDS, 0.1))

        self._compute(COPY_SECONDS, done)

    def seconds_of(self, effect):
        """What a forward or a backward takes here."""
        spec = self.world.specs[effect.stamp.job]
        return self.slowness * self.world.layer_seconds * max(1, len(spec.layers) // 2)

    def _runs_out(self):
        """Whether memory is refused now; then all that runs is let go, and this node's budget shrinks."""
        if not self.troubles.shortages:
            return False
        first, *later = self.troubles.shortages
        self.troubles.shortages = (first - 1, *later) if first else tuple(later)
        if first:
            return False
        self.stages.clear()
        self.budget = self.budget * 3 // 4
        self.post(MemoryRanOut(self.budget, "memory ran out"))
        return True

    def _failed(self, stamp, reason):
        self.post(ComputeFailed(stamp, reason))

    # -- what goes out

    def _hand_over(self, key, header, to, stamp):
        value = self.left.pop(key, None)
        if value is None:
            self._failed(stamp, f"nothing was left to send as {key[0]} of {key[-1]}")
        else:
            self.world.parcel(self.node, to, header, value)

    def send_activation(self, effect):
        to, stamp, route, hop, work = effect.to, effect.stamp, effect.route, effect.hop, effect.work
        header = Activation(stamp, route, hop + 1, work, (), ())
        self._hand_over(("forward", stamp, route, hop, work), header, to, stamp)

    def send_gradient(self, effect):
        to, stamp, route, hop, work = effect.to, effect.stamp, effect.route, effect.hop, effect.work
        header = Gradient(stamp, route, hop - 1, work, ())
        self._hand_over(("backward", stamp, route, hop, work), header, to, stamp)

    def send_state(self, effect):
        stamp, first, last = effect.stamp, effect.first_layer, effect.last_layer

        def done():
            state = self._live(stamp, first, last)
            if state is not None:
                header = StateParcel(stamp, first, last, effect.version, (), b"", replica=False)
                self.world.compare(stamp.job, first, effect.version, state, f"{self.node[0]} sends live state")
                self.world.parcel(self.node, effect.to, header, state)

        self._compute(COPY_SECONDS, done)

    def _live(self, stamp, first, last):
        stages = self.stages.get(stamp)
        for part in () if stages is None else stages.parts.values():
            if part.first <= first and last < part.first + len(part.state):
                state = part.copied() if stages.spec.asynchronous else part.state
                return tuple(state[first - part.first : last - part.first + 1])
        return None

    # -- copies

    def take_snapshot(self, effect):
        stamp, first, last, version = effect.stamp, effect.first_layer, effect.last_layer, effect.version

        def done():
            state, problem = self._live(stamp, first, last), ""
            if stamp.job in self.ended:
                problem = "the job is over"
            elif self.troubles.snapshots > 0:
                self.troubles.snapshots -= 1
                self.world.counts["refused copies"] += 1
                problem = NO_MEMORY
            elif state is None:
                problem = "these layers are not here"
            else:
                self.world.compare(stamp.job, first, version, state, f"{self.node[0]} copies")
                self.memory[stamp.job, (first, last, version)] = state
            seconds = 0.0 if problem else COPY_SECONDS
            self.post(SnapshotTaken(stamp, first, last, version, seconds, 0 if problem else 100, problem))

        self._compute(COPY_SECONDS, done)

    def keep_arrived(self, effect):
        stamp, first, last, version = effect.stamp, effect.first_layer, effect.last_layer, effect.version
        state = self.shelf.get(stamp, {}).get(version, {}).get((first, last))
        if state is not None:
            self.world.compare(stamp.job, first, version, state, f"{self.node[0]} keeps")
            self.memory[stamp.job, (first, last, version)] = state
        problem = "" if state is not None else "it is not here any more"
        self.post(SnapshotTaken(stamp, first, last, version, 0.0, 0 if problem else 100, problem))

    def find(self, job, first, last, version):
        """These layers, in memory or on the disk."""
        for held in (self.memory, self.home.held):
            for (held_of, (low, high, at)), state in held.items():
                if (held_of, at) == (job, version) and low <= first and last <= high:
                    return state[first - low : last - low + 1]
        return None

    def is_readable(self, job, first, last, version):
        """Whether memory has these layers, or the disk, and that can be read."""
        pieces = [piece for of, piece in self.memory if of == job and piece[2] == version]
        in_memory = any(low <= first and last <= high for low, high, _ in pieces)
        return in_memory or version not in self.troubles.unreadable

    def send_held(self, effect):
        job, first, last, version = effect.stamp.job, effect.first_layer, effect.last_layer, effect.version
        state = self.find(job, first, last, version)
        if not self.is_readable(job, first, last, version):
            self.post(HeldLost(job, Holding(first, last, version, HoldingKind.DISK), "Input/output error"))
            state = None
        if state is not None:
            self.world.compare(job, first, version, state, f"{self.node[0]} hands out")
            header = StateParcel(effect.stamp, first, last, version, (), b"", replica=effect.replica)
            self.world.parcel(self.node, effect.to, header, state)
        elif not effect.replica:
            self.world.say(self.node, effect.to, Refused(job, f"layers {first}..{last} at {version} are not here"))

    def drop_held(self, effect):
        gone = {(effect.job, version) for version in effect.versions}
        self.memory = {key: state for key, state in self.memory.items() if (key[0], key[1][2]) not in gone}
        waiting = self._next_store.get(effect.job)
        if waiting is not None and waiting.version in effect.versions:
            del self._next_store[effect.job]
            self.post(HeldStored(effect.job, waiting.version, f"version {waiting.version} was let go"))

    def store_held(self, effect):
        job, version = effect.spec.job, effect.version
        if job in self._storing:
            waited = self._next_store.get(job)
            keeps = waited is not None and waited.down and not effect.down
            given_up = effect if keeps else waited
            self._next_store[job] = waited if keeps else effect
            if given_up is not None:
                self.post(HeldStored(job, given_up.version, "another version is written instead"))
            return
        states = {key: state for key, state in self.memory.items() if key[0] == job and key[1][2] == version}
        if not states or job in self.ended:
            self.post(HeldStored(job, version, f"nothing is held of version {version}"))
            return

        self._storing.add(job)

        def stored(problem):
            self._storing.discard(job)
            self.post(HeldStored(job, version, problem))
            if job in self._next_store:
                self.store_held(self._next_store.pop(job))

        def written():
            if self.troubles.disk_full:
                stored("the disk is full")
                return
            if job in self.programs or job in self.home.spool:
                self.home.programs.add(job)
            kept = {version, *effect.keep}
            self.home.held = {key: state for key, state in self.home.held.items() if key[0] != job or key[1][2] in kept}
            if self.home.origins.get((job, version)) != effect.origin:
                others = (key for key in self.home.held if key[0] != job or key[1][2] != version)
                self.home.held = {key: self.home.held[key] for key in others}
            self.home.held |= states
            self.home.origins[job, version] = effect.origin
            self.home.specs[job] = effect.spec
            versions = {key[1][2] for key in self.home.held if key[0] == job}
            self.world.expect(len(versions) <= VERSIONS_ON_DISK, f"{versions} are on one disk")
            stored("")

        self._write(written)

    def send_program(self, effect):
        if effect.job in self.programs | self.home.programs | self.home.spool.keys():
            self.world.parcel(self.node, effect.to, ProgramParcel(effect.job, 10), None)
        else:
            self.world.say(self.node, effect.to, Refused(effect.job, "its program is not here"))

    def send_first_state(self, effect):
        stamp, first, last = effect.stamp, effect.first_layer, effect.last_layer
        if stamp.job not in self.home.spool:
            self.world.say(self.node, effect.to, Refused(stamp.job, "its first weights are not here"))
            return
        header = StateParcel(stamp, first, last, 0, (), b"", replica=False)
        state = tuple(first_state(range(first, last + 1)))
        self._compute(COPY_SECONDS, lambda: self.world.parcel(self.node, effect.to, header, state))

    # -- samples

    def copy_data(self, effect):
        if effect.spec.job not in self.home.spool | dict.fromkeys(self.home.samples) or self.troubles.uncopyable:
            return
        self.copying[effect.spec.job] = effect.to
        self._send_rows(effect.spec, effect.to, Phase.TRAIN, 0)

    def send_rows(self, effect):
        if self.copying.get(effect.job) == effect.to:
            self._send_rows(self.world.specs[effect.job], effect.to, effect.phase, effect.first_row)

    def _send_rows(self, spec, to, phase, first_row):
        total = spec.samples if phase is Phase.TRAIN else spec.eval_samples
        rows = min(ROWS, total - first_row)
        if rows > 0:
            header = DataParcel(spec.job, phase, first_row, rows, (), ())
            self._later(self.world.sim.now + DRAW_SECONDS, lambda: self.world.parcel(self.node, to, header, None))

    def _take_rows(self, sender, header):
        job, spec = header.job, self.world.specs[header.job]
        if job in self.home.samples:
            return
        rows = self.rows.setdefault(job, {Phase.TRAIN: 0, Phase.EVALUATE: 0})
        totals = {Phase.TRAIN: spec.samples, Phase.EVALUATE: spec.eval_samples}
        if header.first_row <= rows[header.phase] < header.first_row + header.rows:
            rows[header.phase] = header.first_row + header.rows
        phase = next((phase for phase, total in totals.items() if rows[phase] < total), None)
        if phase is not None:
            self._want_rows(job, sender, phase, rows[phase])
            return

        def whole():
            if self.rows.pop(job, None) is not None:
                self.home.samples.add(job)
                self.post(DataCopied(job))

        self._write(whole)

    def _want_rows(self, job, sender, phase, row):
        self.world.say(self.node, sender, DataWanted(job, phase, row, ""))

        def again():
            if self.rows.get(job, {}).get(phase) == row:
                self._want_rows(job, sender, phase, row)

        self._later(self.world.sim.now + WANT_SECONDS, again)

    def has_samples(self, job):
        return job in self.home.spool or job in self.home.samples

    def start_feeder(self, effect):
        job = effect.spec.job
        if not self.has_samples(job):
            self.post(FeederFailed(job, "its samples are not here", "it was never submitted here"))
            return
        if job not in self.home.spool and job not in self.programs:
            self.post(FeederFailed(job, "its program is not here", "it was never submitted here"))
            return
        self.fed.add(job)

    def draw(self, effect):
        job, work = effect.job, effect.work
        if job not in self.fed:
            self.post(FeederFailed(job, "the job's spool folder is gone", "it was never submitted here"))
            return
        if (job, work) in self.samples:
            self.post(SampleDrawn(job, work))
            return
        self.pending.add((job, work))

        def drawn():
            if (job, work) in self.pending:
                self.pending.discard((job, work))
                self.samples[job, work] = sample(work)
                self.post(SampleDrawn(job, work))

        self._later(self.world.sim.now + DRAW_SECONDS, drawn)

    def send_inputs(self, effect):
        value = self.samples.get((effect.stamp.job, effect.work))
        if value is None:
            self._failed(effect.stamp, f"the source does not have the inputs of {effect.work}")
            return
        header = Inputs(effect.stamp, effect.route, effect.hop, effect.work, ())
        self.world.parcel(self.node, effect.to, header, value)

    def drop_sample(self, effect):
        self.samples.pop((effect.job, effect.work), None)
        self.pending.discard((effect.job, effect.work))

    # -- the result

    def write_weights(self, effect):
        stamp, version, token = effect.stamp, effect.version, effect.token
        spec, parts = self.world.specs[stamp.job], dict(self.shelf.get(stamp, {}).get(version, {}))

        def written():
            if stamp.job not in self.fed:
                self.post(WeightsWritten(stamp, token, "", "", "the job's spool folder is gone"))
                return
            state = {first + i: each for (first, _), held in parts.items() for i, each in enumerate(held)}
            whole = [state.get(layer) for layer in range(len(spec.layers))]
            self.world.compare(stamp.job, 0, version, whole, f"{self.node[0]} writes the weights")
            if token == 0:
                self.home.results[stamp.job] = version
                self.world.written.add(stamp.job)
            elif token < 0:
                self.world.brought_home.add((stamp.job, version))
            self.post(WeightsWritten(stamp, token, "out", "sha", ""))

        self._later(self.world.sim.now + self.troubles.disk_seconds, written)

    # ------------------------------------------------------------------------------------------------ parcels

    def take(self, sender, header, value, wants, arrived):
        """A parcel is complete: hold what it brings, then tell the core."""
        if not wants(sender, header):
            return
        match header:
            case DataParcel():
                self._take_rows(sender, header)
                return
            case ProgramParcel(job):
                self._compute(0.0, lambda: (self.programs.add(job), arrived()))
                return
            case StateParcel(replica=True):
                piece = (header.first_layer, header.last_layer, header.version)
                self.memory[header.stamp.job, piece] = value
            case StateParcel():
                place = (header.first_layer, header.last_layer)
                self.shelf.setdefault(header.stamp, {}).setdefault(header.version, {})[place] = value
            case Inputs():
                if header.hop == 0:
                    self.left["inputs", header.stamp, header.route, header.hop, header.work] = value
            case Activation():
                self.left["activation", header.stamp, header.route, header.hop, header.work] = value
            case Gradient():
                self.left["gradient", header.stamp, header.route, header.hop, header.work] = value
        arrived()

    def record(self, base):
        """The member record with which a new process begins: its speed is not known yet."""
        return replace(base, boot=self.home.boot, slowness=0.0, incarnation=0)
