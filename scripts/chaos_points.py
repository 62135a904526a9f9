"""A node that dies, or does wrong, at an exact point: ``python scripts/chaos_points.py ARM DIED join ...``.

It is ``edged`` itself with some of its functions wrapped from outside. While there is no file ``ARM``, nothing is
different. ``ARM`` holds ``{"point": NAME, "count": N, "above": [TERM, VERSION], "at": MOMENT}``: when the point is
reached for the N-th time from then on (of plans: of newer ones than that), ``ARM`` is renamed to ``DIED``, which then
says what was under way, and the process kills itself with SIGKILL, on the spot. A process that is started again finds
no ``ARM`` and lives. With ``"victim": PID`` it kills that process instead, and goes on.

::

    before-vote, after-vote          around the writing of a vote for somebody
    between-write-and-rename         a copy of layers is written and synced, and has not its name yet
    half-plan                        a plan has been published to all of N - 1 members
    half-replica                     N messages of a replica are under way, and its end is not
    after-update                     weights are updated, and nobody has been told
    fence, inventory, plan,          the leader has decided this and handed it on, and nothing has come of it yet:
    transfer, resume, drain          all are halted; the first has said what it holds; and so on

Others are no points: as long as they are armed, the node is a wrong one. They show that the verdict of the chaos
scenarios can fail::

    flip-bit                         one bit of one weight is wrong in every copy of layers that it takes or is given
    stands-still                     a job that has lost a node waits for it, whatever the others hold
    hasty                            whoever leaves is treated as if it had died
    forgets-its-disk                 a restarted node finds none of the layers that it has written
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edged.cli import main as edged
from edged.core import founding
from edged.core.effects import Effect, MakePlan, SaveVote, SendMessage
from edged.core.events import Event, MessageReceived, UpdateDone
from edged.core.ids import NodeId, Stamp
from edged.core.messages import Drain, Halt, Inventory, Message, Parcel, PlanChosen, Prepare, Start, StateParcel
from edged.core.replanning import Replanning
from edged.replication.snapshots import HeldState, Snapshots
from edged.replication.store import Store
from edged.roles.ballot import Ballot
from edged.roles.pump import Pump
from edged.telemetry.journal import Journal
from edged.transport.network import ZmqTransport
from edged.transport.track import Track

FLIP, STILL, HASTY, FORGETS = "flip-bit", "stands-still", "hasty", "forgets-its-disk"
POINTS = ("before-vote", "after-vote", "between-write-and-rename", "half-plan", "half-replica", "after-update")

SENT_SECONDS = 0.1
"""What was handed to the sockets leaves within this time, on a thread that goes on: half is sent, not none."""

WRONG_BIT = 17
"""Of a weight of four bytes, little endian: in the middle of its digits."""


class Trigger:
    """Reads what is armed, and kills the process when that is reached."""

    def __init__(self, armed: Path, died: Path) -> None:
        """Nothing is read before a point is reached."""
        self._armed, self._died = armed, died
        self._reached = 0
        self._since = 0.0

    def wanted(self) -> dict[str, Any]:
        """What is armed now; empty if nothing is."""
        try:
            found: dict[str, Any] = json.loads(self._armed.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def wrong(self, how: str) -> bool:
        """Whether this node is to be a wrong one of this kind."""
        return self.wanted().get("point") == how

    def reach(self, point: str, **facts: Any) -> None:
        """This point is reached. Does not return if this process is to die here."""
        wanted = self.wanted()
        if wanted.get("point") != point or facts.get("stamp", [0, 1]) <= wanted["above"]:
            return
        self._reached, self._since = self._reached if self._since == wanted["at"] else 0, wanted["at"]
        self._reached += 1
        if self._reached < wanted["count"]:
            return
        if point.startswith("half"):
            time.sleep(SENT_SECONDS)
        self._armed.write_text(json.dumps({"point": point, **facts}), encoding="utf-8")
        self._armed.replace(self._died)
        os.kill(wanted.get("victim") or os.getpid(), signal.SIGKILL)


def save(trigger: Trigger, right: Callable[..., None], self: Ballot, effect: SaveVote) -> None:
    """``Ballot.save``: before it, after it."""
    facts = {"term": effect.term, "voted_for": effect.voted_for}
    if effect.voted_for is not None:
        trigger.reach("before-vote", **facts)
    right(self, effect)
    if effect.voted_for is not None:
        trigger.reach("after-vote", **facts)


def rename(trigger: Trigger, right: Callable[..., None], source: Any, target: Any, **rest: Any) -> None:
    """``os.replace`` of a file of layers."""
    if Path(target).parent.parent.name == "held" and Path(target).suffix == ".safetensors":
        trigger.reach("between-write-and-rename", source=str(source), target=str(target))
    right(source, target, **rest)


def send(trigger: Trigger, right: Callable[..., None], self: ZmqTransport, to: NodeId, message: Message) -> None:
    """``ZmqTransport.send`` of a plan: before the count-th, so that some members have it and some have not."""
    if isinstance(message, PlanChosen):
        stamp = message.plan.stamp
        trigger.reach("half-plan", stamp=[stamp.term, stamp.version], to=to)
    right(self, to, message)


def went(trigger: Trigger, right: Callable[..., Parcel | None], self: Track) -> Parcel | None:
    """``Track.went``: a message is under way; of a replica, and not the last of it."""
    whole = right(self)
    half = self._half
    if whole is None and half is not None and isinstance(half.header, StateParcel) and half.header.replica:
        trigger.reach("half-replica", version=half.header.version, waiting=self.waiting_bytes, of=half.size)
    return whole


def post(trigger: Trigger, right: Callable[..., None], self: Pump, event: Event) -> None:
    """``Pump.post`` of what the compute thread answers when weights have been updated."""
    if isinstance(event, UpdateDone):
        trigger.reach("after-update", version=event.version)
    right(self, event)


def record(
    trigger: Trigger, right: Callable[..., None], self: Journal, event: Event, effects: Sequence[Effect], *rest: Any
) -> None:
    """``Journal.record``: what a leader has decided has been handed on, and no answer to it is taken in before this."""
    right(self, event, effects, *rest)
    if isinstance(event, MessageReceived) and isinstance(event.message, Inventory):
        trigger.reach("inventory", stamp=newness(event.message.stamp), of=event.sender)
    for effect in effects:
        if isinstance(effect, MakePlan) and effect.situation.plan is None:
            trigger.reach("plan", stamp=newness(effect.stamp))
        elif isinstance(effect, SendMessage):
            match effect.message:
                case Halt(stamp):
                    trigger.reach("fence", stamp=newness(stamp))
                case Prepare(plan):
                    trigger.reach("transfer", stamp=newness(plan.stamp))
                case Start(stamp):
                    trigger.reach("resume", stamp=newness(stamp))
                case Drain(stamp):
                    trigger.reach("drain", stamp=newness(stamp))


def newness(stamp: Stamp) -> list[int]:
    """What tells an older plan from a newer one."""
    return [stamp.term, stamp.version]


def put(trigger: Trigger, right: Callable[..., None], self: Snapshots, held: HeldState) -> None:
    """``Snapshots.put``: what is held from now on."""
    right(self, flipped(held) if trigger.wrong(FLIP) else held)


def take_stock(trigger: Trigger, right: Callable[..., Any], *arguments: Any, **rest: Any) -> Any:
    """``take_stock``: what a job goes on with after a loss, or what it lacks."""
    before, there = rest["before"], arguments[1]
    gone = [] if before is None else [node for node in before.nodes() if node not in there]
    if gone and trigger.wrong(STILL):
        return f"node {gone[0]} is gone; the job goes on when it is back"
    return right(*arguments, **rest)


def drain(trigger: Trigger, right: Callable[..., Any], self: Any, recovery: Any, now: float) -> Any:
    """``Replanning._drain``: a change that all agree to."""
    if recovery is not None and recovery.cause == "left" and trigger.wrong(HASTY):
        return self._trouble("left", dict(recovery.verbs), now)
    return right(self, recovery, now)


def scan(trigger: Trigger, right: Callable[..., Any], self: Store) -> Any:
    """``Store.scan``: what a node that starts finds on its disk."""
    return () if trigger.wrong(FORGETS) else right(self)


def flipped(held: HeldState) -> HeldState:
    """The same with one bit of its first weight changed; itself if it has no weights."""
    for place, spec in enumerate(held.tensors):
        if spec.name.startswith("parameter/") and spec.dtype == "float32":
            wrong = bytearray(held.buffers[place])
            wrong[WRONG_BIT // 8] ^= 1 << WRONG_BIT % 8
            buffers: Sequence[memoryview] = [*held.buffers[:place], memoryview(wrong), *held.buffers[place + 1 :]]
            return replace(held, buffers=tuple(buffers))
    return held


def wrap(owner: Any, name: str, wrapper: Callable[..., Any], trigger: Trigger) -> None:
    """Put ``wrapper(trigger, right, ...)`` in the place of a function."""
    right = getattr(owner, name)

    def instead(*arguments: Any, **rest: Any) -> Any:
        return wrapper(trigger, right, *arguments, **rest)

    setattr(owner, name, instead)


def main() -> None:
    """Wrap, and be ``edged``."""
    armed, died, *arguments = sys.argv[1:]
    trigger = Trigger(Path(armed), Path(died))
    wrap(Ballot, "save", save, trigger)
    wrap(os, "replace", rename, trigger)
    wrap(ZmqTransport, "send", send, trigger)
    wrap(Track, "went", went, trigger)
    wrap(Pump, "post", post, trigger)
    wrap(Journal, "record", record, trigger)
    wrap(Snapshots, "put", put, trigger)
    wrap(founding, "take_stock", take_stock, trigger)
    wrap(Replanning, "_drain", drain, trigger)
    wrap(Store, "scan", scan, trigger)
    sys.argv = ["edged", *arguments]
    edged.main()


if __name__ == "__main__":
    main()
