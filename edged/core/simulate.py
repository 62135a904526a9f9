"""A whole cluster in one process: virtual clock, network in memory, faults from a seed.

Any machine with the contract of the core (``handle``, ``deadline``, ``check``) can live in it. ``SendMessage`` and
``ProbePort`` are performed here, ``Admit`` and ``Dismiss`` as a transport would (who is dismissed is neither sent to
nor heard). All but ``SendMessage`` are also shown to ``perform``, which may ``post`` the answers of the others.

::

    Simulation(seed, network, perform, after) -> add -> run_for -> kill, silence, pause, cut -> run_for -> look
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from edged.core.effects import Admit, Dismiss, Effect, Expel, ProbePort, SendMessage
from edged.core.events import Event, LinkLost, LoopWasLate, MessageReceived, PortProbed, TimerFired
from edged.core.ids import NodeId

LINKS_REMEMBERED = 64
PROBE_TIMEOUT_SECONDS = 1.0
LATE_SECONDS = 0.2

_CARRIED_OUT = frozenset({ProbePort, Admit, Dismiss, Expel})


class Machine(Protocol):
    """What can be simulated."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact."""

    def deadline(self) -> float | None:
        """When to be woken."""

    def check(self) -> None:
        """Assert the invariants."""


@dataclass(frozen=True, slots=True)
class Network:
    """Properties of every link. Delays are one way, in seconds, drawn evenly; the others are probabilities.

    ``ordered``: what is sent over a link arrives in that order, as over a connection. ``further(sender, receiver)``:
    seconds that a link takes beyond its delay (fewer, if negative); none if they are all alike.
    """

    delay_seconds: tuple[float, float] = (0.0005, 0.003)
    loss: float = 0.0
    duplication: float = 0.0
    ordered: bool = False
    further: Callable[[NodeId, NodeId], float] | None = None


class Host:
    """One simulated device: its machine, and what the network does to it."""

    __slots__ = (
        "armed",
        "busy",
        "dismissed",
        "gone",
        "inbox",
        "machine",
        "node",
        "paused_at",
        "peers",
        "service",
        "stopped",
    )

    def __init__(self, node: NodeId, machine: Machine, service_seconds: float) -> None:
        """A running device that needs ``service_seconds`` for every event."""
        self.node = node
        self.machine = machine
        self.service = service_seconds
        self.armed = math.inf
        self.busy = 0.0
        self.inbox: deque[tuple[Event, float]] = deque()
        self.peers: deque[NodeId] = deque(maxlen=LINKS_REMEMBERED)
        self.dismissed: set[NodeId] = set()
        self.paused_at: float | None = None
        self.gone = False
        self.stopped = False


class Simulation:
    """The clock, the network and the hosts. Equal seeds and calls give equal runs."""

    def __init__(
        self,
        seed: int,
        network: Network | None = None,
        perform: Callable[[NodeId, Effect], None] | None = None,
        after: Callable[[NodeId], None] | None = None,
        *,
        checks: bool = False,
        before: Callable[[NodeId, Effect], None] | None = None,
    ) -> None:
        """``perform`` gets every effect but ``SendMessage``; ``after`` is called after every handled event.

        With ``checks`` every machine's ``check`` is called after every event that it handles. ``before`` is shown every
        effect just before it is performed; if it kills the device, neither this one nor the rest is.
        """
        self.now = 1000.0
        self.rng = Random(seed)
        self.network = network or Network()
        self.hosts: dict[NodeId, Host] = {}
        self.messages_sent = 0
        self._perform = perform
        self._after = after
        self._before = before
        self._checks = checks
        self._queue: list[tuple[float, int, Host | None, Event | Callable[[], None]]] = []
        self._number = 0
        self._cuts: set[tuple[NodeId, NodeId]] = set()
        self._resets: set[tuple[NodeId, NodeId]] = set()
        self._arrivals: dict[tuple[NodeId, NodeId], float] = {}

    # ------------------------------------------------------------------------------------------ hosts and faults

    def add(self, node: NodeId, machine: Machine, service_seconds: float = 0.0) -> None:
        """Start a device (again). ``service_seconds`` is its time for one event; 0: none."""
        host = Host(node, machine, service_seconds)
        self.hosts[node] = host
        self._arm(host)

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Call ``action`` at ``moment`` of the virtual clock."""
        self._push(moment, None, action)

    def post(self, node: NodeId, event: Event, delay_seconds: float = 0.0) -> None:
        """Hand ``event`` to a device, ``delay_seconds`` from now."""
        self._push(self.now + delay_seconds, self.hosts[node], event)

    def kill(self, node: NodeId) -> None:
        """The process dies: its peers' sessions end, fresh connects are refused."""
        host = self.hosts[node]
        self.silence(node)
        host.gone = True
        for peer in sorted(set(host.peers)):
            if not self.is_cut(node, peer):
                self.post(peer, LinkLost(node), self._delay())

    def silence(self, node: NodeId) -> None:
        """The device loses its power: nobody is told, connects are not answered."""
        self.hosts[node].stopped = True

    def pause(self, node: NodeId) -> None:
        """The process is stopped (SIGSTOP): what is sent to it waits, connects are accepted."""
        host = self.hosts[node]
        if host.paused_at is None:
            host.paused_at = self.now

    def go_on(self, node: NodeId) -> None:
        """The process continues; it learns at once how long it was away, then what waited for it."""
        host = self.hosts[node]
        if host.paused_at is None or host.stopped:
            return
        away = self.now - host.paused_at
        host.paused_at = None
        host.armed = math.inf
        waiting, host.inbox = host.inbox, deque()
        self._handle(host, LoopWasLate(away))
        for event, _ in waiting:
            if not host.stopped:
                self._handle(host, event)
        self._arm(host)

    def send(self, node: NodeId, effect: SendMessage) -> None:
        """Send a message that no machine decided on."""
        self._send(self.hosts[node], effect)

    def cut(self, sender: NodeId, receiver: NodeId, *, resets: bool = False) -> None:
        """Nothing gets from ``sender`` to ``receiver`` any more; the other way is not touched.

        With ``resets`` it is not lost but refused (by a firewall): the session ends at once, and so do fresh connects.
        """
        self._cuts.add((sender, receiver))
        if resets:
            self._resets.add((sender, receiver))
            for host, peer in ((self.hosts[sender], receiver), (self.hosts[receiver], sender)):
                if peer in host.peers:
                    self.post(host.node, LinkLost(peer), self._delay())

    def mend(self, sender: NodeId, receiver: NodeId) -> None:
        """Mend one cut, if it is there."""
        self._cuts.discard((sender, receiver))
        self._resets.discard((sender, receiver))

    def is_cut(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether nothing gets from ``sender`` to ``receiver``."""
        return bool(self._cuts) and (sender, receiver) in self._cuts

    def partition(self, *groups: Iterable[NodeId], resets: bool = False) -> None:
        """Cut every link between different ``groups``, both ways; ``resets`` as in ``cut``."""
        sides = [sorted(group) for group in groups]
        for i, one in enumerate(sides):
            for other in sides[i + 1 :]:
                for a in one:
                    for b in other:
                        self.cut(a, b, resets=resets)
                        self.cut(b, a, resets=resets)

    def heal(self) -> None:
        """Mend every cut."""
        self._cuts.clear()
        self._resets.clear()

    # ------------------------------------------------------------------------------------------ the clock

    def run_until(self, moment: float) -> None:
        """Let everything happen that is due up to ``moment``."""
        queue = self._queue
        while queue and queue[0][0] <= moment:
            when, _, host, item = heapq.heappop(queue)
            self.now = when
            if host is None:
                assert callable(item), "an action without a host"
                item()
            elif not host.stopped:
                assert not callable(item), "an action at a host"
                self._deliver(host, item)
        self.now = moment

    def run_for(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass."""
        self.run_until(self.now + seconds)

    # ------------------------------------------------------------------------------------------ inside

    def _push(self, moment: float, host: Host | None, item: Event | Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._queue, (moment, self._number, host, item))

    def _delay(self) -> float:
        least, most = self.network.delay_seconds
        return least + (most - least) * self.rng.random()

    def _deliver(self, host: Host, event: Event) -> None:
        if type(event) is TimerFired:
            self._wake(host)
            return
        if type(event) is MessageReceived:
            if event.sender in host.dismissed:
                return
            host.peers.append(event.sender)
        if host.paused_at is not None:
            host.inbox.append((event, self.now))
        elif host.service:
            self._queue_up(host, event)
        else:
            self._handle(host, event)
            self._arm(host)

    def _wake(self, host: Host) -> None:
        """A timer has come: perhaps an older one, perhaps the machine has put its deadline off meanwhile."""
        if self.now < host.armed or host.paused_at is not None:
            return
        host.armed = math.inf
        if host.inbox:
            self._serve(host)
            return
        deadline = host.machine.deadline()
        if deadline is not None and deadline <= self.now:
            self._handle(host, TimerFired())
            host.busy = self.now + host.service
        self._arm(host)

    def _queue_up(self, host: Host, event: Event) -> None:
        host.inbox.append((event, self.now))
        if host.busy <= self.now:
            self._serve(host)
        else:
            self._arm(host)

    def _serve(self, host: Host) -> None:
        """A slow device takes one event after another; it notices when its own timer came late."""
        if host.busy > self.now:
            self._arm(host)
            return
        deadline = host.machine.deadline()
        late = 0.0 if deadline is None else self.now - deadline
        if late > LATE_SECONDS and deadline:
            self._handle(host, LoopWasLate(late))
        event, _ = host.inbox.popleft()
        self._handle(host, event)
        host.busy = self.now + host.service
        self._arm(host)

    def _arm(self, host: Host) -> None:
        if host.paused_at is not None or host.stopped:
            return
        deadline = host.machine.deadline()
        moment = math.inf if deadline is None else max(deadline, self.now)
        if host.service:
            moment = max(host.busy, self.now) if host.inbox else max(moment, host.busy)
        if moment < host.armed:
            host.armed = moment
            self._push(moment, host, TimerFired())

    def _handle(self, host: Host, event: Event) -> None:
        for effect in host.machine.handle(event, self.now):
            if self._before is not None:
                self._before(host.node, effect)
            if host.stopped:
                return
            if type(effect) is SendMessage:
                self._send(host, effect)
                continue
            if type(effect) in _CARRIED_OUT:
                self._carry_out(host, effect)
            if self._perform is not None:
                self._perform(host.node, effect)
        if self._checks:
            host.machine.check()
        if self._after is not None:
            self._after(host.node)

    def _carry_out(self, host: Host, effect: Effect) -> None:
        if isinstance(effect, ProbePort):
            self._probe(host, effect)
        elif isinstance(effect, Admit):
            host.dismissed.discard(effect.record.node)
        elif isinstance(effect, Dismiss):
            host.dismissed.add(effect.node)
        elif isinstance(effect, Expel):
            host.dismissed.add(effect.record.node)

    def _send(self, host: Host, effect: SendMessage) -> None:
        self.messages_sent += 1
        receiver = self.hosts.get(effect.to)
        if receiver is None or receiver.stopped or effect.to in host.dismissed:
            return
        if self.is_cut(host.node, effect.to):
            return
        network, random = self.network, self.rng.random
        if network.loss and random() < network.loss:
            return
        event = MessageReceived(host.node, effect.message)
        least, most = network.delay_seconds
        arrival = self.now + least + (most - least) * random()
        if network.further is not None:
            arrival += network.further(host.node, effect.to)
        if network.ordered:
            link = (host.node, effect.to)
            arrival = self._arrivals[link] = max(arrival, self._arrivals.get(link, 0.0))
        self._push(arrival, receiver, event)
        if network.duplication and random() < network.duplication:
            self._push(self.now + least + (most - least) * random(), receiver, event)

    def _probe(self, host: Host, effect: ProbePort) -> None:
        node = effect.record.node
        target = self.hosts.get(node)
        reachable = not self.is_cut(host.node, node) and not self.is_cut(node, host.node)
        if (host.node, node) in self._resets:
            self.post(host.node, PortProbed(node, refused=True), 2 * self._delay())
        elif target is None or not reachable or (target.stopped and not target.gone):
            self.post(host.node, PortProbed(node, refused=False), PROBE_TIMEOUT_SECONDS)
        else:
            self.post(host.node, PortProbed(node, refused=target.gone), 2 * self._delay())
