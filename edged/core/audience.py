"""Who in a node hears what: the machines by number, and for every event and message those that it concerns.

What is not listed concerns all of them, or, if it is a message, all machines of jobs. A timer concerns those whose
moment has come, which only ``node.py`` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edged.core.events import (
    BackwardDone,
    ComputeFailed,
    Event,
    ForwardDone,
    LeaveAsked,
    MessageReceived,
    NormsTaken,
    ParcelArrived,
    ParcelLost,
    ParcelRefused,
    SampleDrawn,
    SnapshotTaken,
    UpdateDone,
)
from edged.core.messages import (
    Accusation,
    Ack,
    Exchange,
    ExpelOrder,
    Gossip,
    Heartbeat,
    HeartbeatReply,
    KeyTaken,
    Nack,
    NewKey,
    Ping,
    PingRequest,
    RotateRequest,
    Testimony,
    VoteReply,
    VoteRequest,
)

MEMBERSHIP, ELECTION, BOARD, MIGRATION, KEEPING, SHARING, LEAVING, PAUSING, REACH = range(9)
EXPELLING, KEYRING, RUNNING = range(9, 12)

EVERYONE = tuple(range(12))
"""In their order: who is there, who leads, what is to be done, how."""

OF_JOBS = (BOARD, MIGRATION, KEEPING, SHARING, LEAVING, PAUSING, RUNNING)
OF_PARCELS = (MIGRATION, KEEPING, SHARING, RUNNING)

OF_CLUSTER = frozenset({MEMBERSHIP, ELECTION, REACH, EXPELLING, KEYRING})
"""Machines that know nothing of jobs: what they alone have heard changes nothing for any job, and carries no stamp."""

_READERS: Mapping[type, tuple[int, ...]] = MappingProxyType(
    dict.fromkeys((Ping, PingRequest, Ack, Nack, Accusation, Testimony, Gossip, Exchange), (MEMBERSHIP,))
    | dict.fromkeys((VoteRequest, VoteReply, Heartbeat, HeartbeatReply), (ELECTION,))
    | dict.fromkeys((RotateRequest, NewKey, KeyTaken), (KEYRING,))
    | {ExpelOrder: (EXPELLING,)}
)

_HEARERS: Mapping[type, tuple[int, ...]] = MappingProxyType(
    dict.fromkeys((ParcelArrived, ParcelRefused, ParcelLost), OF_PARCELS)
    | dict.fromkeys((ForwardDone, BackwardDone, NormsTaken, UpdateDone, ComputeFailed, SampleDrawn), (RUNNING,))
    | {SnapshotTaken: (KEEPING,), LeaveAsked: (LEAVING,)}
)


def hearers(event: Event) -> tuple[int, ...]:
    """The machines that an event concerns, in order."""
    if isinstance(event, MessageReceived):
        return _READERS.get(type(event.message), OF_JOBS)
    return _HEARERS.get(type(event), EVERYONE)
