"""The door: how a node that holds the cluster key, and nothing else, becomes known.

The door's CURVE key is derived from the cluster key, so without it no handshake succeeds. Inside, each side proves
the key again, bound to both nodes' own keys and to fresh nonces::

    joiner                                            keeper of the door
      Knock(nonce j, no proof, record)       --->
                                             <---     Answer(CHALLENGE, nonce k, proof "keeper", record)
      Knock(nonce j, proof "joiner", record) --->     admits the joiner
      admits the keeper                      <---     Answer(WELCOME)        or at any time Answer(REFUSED, reason)

Every frame begins with ``edged-door`` and the protocol number, so that two versions can name each other.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum

import zmq

from edged.core.messages import MemberRecord
from edged.errors import MalformedError
from edged.transport.codec import compile_form, pack_body, unpack_body
from edged.transport.identity import node_of
from edged.transport.pump import Frames, Pump
from edged.transport.security import ClusterKey, equal

HEAD = struct.Struct(">10sH")
MAGIC = b"edged-door"
NONCE_BYTES = 32
CALLERS = 256
"""Most joiners whose challenge is remembered; the oldest goes first."""

KNOCKS_OF_ONE = 16
"""Most knocks of one connection; an honest joiner needs two."""

LONGEST_HOST = 255
"""Characters of a name, see RFC 1035; it is told to people."""

KNOCKS_PER_SECOND = 40.0
BURST = 80.0


class Verdict(IntEnum):
    """What the keeper says."""

    CHALLENGE = 0
    WELCOME = 1
    REFUSED = 2
    YOURSELF = 3
    TWIN = 4
    EXPELLED = 5


@dataclass(frozen=True, slots=True)
class Knock:
    """Joiner to keeper; ``proof`` is empty in the first."""

    cluster: str
    nonce: bytes
    proof: bytes
    record: MemberRecord


@dataclass(frozen=True, slots=True)
class Answer:
    """Keeper to joiner."""

    verdict: Verdict
    reason: str
    nonce: bytes
    proof: bytes
    record: MemberRecord | None


_KNOCK, _ANSWER = compile_form(Knock), compile_form(Answer)


class OtherVersionError(MalformedError):
    """The other side speaks another protocol; ``number`` is its version."""

    def __init__(self, number: int) -> None:
        """Remember the number."""
        super().__init__(f"protocol {number}")
        self.number = number


def pack_door(message: Knock | Answer, protocol: int) -> bytes:
    """A door message as a frame."""
    form = _KNOCK if isinstance(message, Knock) else _ANSWER
    return HEAD.pack(MAGIC, protocol) + pack_body(form.pack(message))


def unpack_knock(data: bytes, protocol: int) -> Knock:
    """A frame as a knock. Raises ``OtherVersionError`` or ``MalformedError``."""
    knock: Knock = _KNOCK.unpack(_body(data, protocol))
    return knock


def unpack_answer(data: bytes, protocol: int) -> Answer:
    """A frame as an answer. Raises ``OtherVersionError`` or ``MalformedError``."""
    answer: Answer = _ANSWER.unpack(_body(data, protocol))
    return answer


def _body(data: bytes, protocol: int) -> list[object]:
    if len(data) < HEAD.size:
        raise MalformedError("too short for the door")
    magic, number = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise MalformedError("not a message for the door")
    if number != protocol:
        raise OtherVersionError(number)
    return unpack_body(data[HEAD.size :])


def sound_record(record: MemberRecord) -> bool:
    """Whether a record's id belongs to its key, and it can be dialled."""
    ports = (record.control_port, record.bulk_port, record.door_port)
    hosts = record.addresses and all(0 < len(host) <= LONGEST_HOST for host in record.addresses)
    return node_of(record.public_key) == record.node and all(ports) and bool(hosts)


def judge(
    knock: Knock, own: MemberRecord, own_nonces: Collection[bytes], known: MemberRecord | None
) -> tuple[Verdict, str]:
    """Whether a joiner is who it seems: not this very process, and not a second one with an id that is in use.

    ``known`` is the newest record of the joiner's id. A restart raises the boot counter; the same counter elsewhere,
    or a lower one, is a copied home (a higher one, too, where the known process is still there: ``succession.py``).
    """
    joiner = knock.record
    if joiner.node == own.node:
        return (Verdict.YOURSELF, "") if knock.nonce in own_nonces else (Verdict.TWIN, already_runs(own))
    if known is not None and is_twin(joiner, known):
        return Verdict.TWIN, already_runs(known)
    return Verdict.WELCOME, ""


def is_twin(joiner: MemberRecord, known: MemberRecord) -> bool:
    """Whether the records alone show that ``joiner`` is not the process that is ``known``, nor one started later."""
    moved = (known.control_port, known.bulk_port) != (joiner.control_port, joiner.bulk_port)
    return joiner.boot < known.boot or (joiner.boot == known.boot and moved)


def already_runs(known: MemberRecord) -> str:
    """Told to a process by whoever knows another one with its identity."""
    where = f"{known.addresses[0] if known.addresses else '?'}:{known.door_port}"
    return (
        f"node {known.node} ({known.name}) already runs at {where}; if this home is a copy of another device's, "
        "delete identity.json here to make it a node of its own"
    )


class Door:
    """The keeper's side: one bound socket, a bounded memory of who is knocking, a bounded rate."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        key: ClusterKey,
        cluster: str,
        protocol: int,
        *,
        own_record: Callable[[], MemberRecord],
        judge: Callable[[Knock], tuple[Verdict, str]],
        admit: Callable[[MemberRecord, Callable[[Verdict, str], None]], None],
    ) -> None:
        """Open. ``judge`` says ``WELCOME``, or what else and why.

        ``admit`` is told of who has proved the key, and says the same, at once or within ``ANSWER_SECONDS``.
        """
        self._key = key
        self._cluster = cluster
        self._protocol = protocol
        self._own_record = own_record
        self._judge = judge
        self._admit = admit
        self._challenges: OrderedDict[bytes, bytes] = OrderedDict()
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._allowance = BURST
        self._filled_at = time.monotonic()
        self.dropped = 0
        self._pump = Pump(socket, self._knocked)

    def close(self) -> None:
        """Shut."""
        self._pump.close()

    def _knocked(self, frames: Frames) -> None:
        caller = frames[0].bytes
        if len(frames) != 2 or not self._allows(caller):  # noqa: PLR2004  # routing id and message
            self.dropped += 1
            return
        try:
            answer = self._answer(caller, frames[1].get("User-Id"), unpack_knock(frames[1].bytes, self._protocol))
        except OtherVersionError as other:
            reason = f"this node speaks protocol {self._protocol}, the joiner {other.number}; update the older edged"
            answer = Answer(Verdict.REFUSED, reason, b"", b"", None)
        except MalformedError:
            self.dropped += 1
            return
        if answer is not None:
            self._send(caller, answer)

    def _send(self, caller: bytes, answer: Answer) -> None:
        self._pump.send([caller, pack_door(answer, self._protocol)])

    def _allows(self, caller: bytes) -> bool:
        """Whether this connection may knock once more, and all connections together."""
        count = self._counts[caller] = self._counts.pop(caller, 0) + 1
        while len(self._counts) > CALLERS:
            self._counts.popitem(last=False)
        if count > KNOCKS_OF_ONE:
            return False
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._filled_at) * KNOCKS_PER_SECOND)
        self._filled_at = now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def _answer(self, caller: bytes, user: object, knock: Knock) -> Answer | None:
        """What to say now; nothing where it is not known yet whether to admit."""
        own = self._own_record()
        joiner = knock.record
        if joiner.node != user or not sound_record(joiner) or len(knock.nonce) != NONCE_BYTES:
            raise MalformedError("a knock in another node's name")
        verdict, reason = self._judge(knock)
        if knock.cluster != self._cluster:
            verdict, reason = Verdict.REFUSED, _other_cluster(self._cluster, knock.cluster)
        if verdict is not Verdict.WELCOME:
            return Answer(verdict, reason, b"", b"", None)
        nonce = self._challenges.pop(caller, None)
        if nonce is not None and knock.proof:
            wanted = self._key.proof(b"joiner", joiner.public_key, own.public_key, knock.nonce + nonce)
            if not equal(knock.proof, wanted):
                return Answer(Verdict.REFUSED, "the cluster key does not match", b"", b"", None)
            self._admit(joiner, lambda verdict, reason: self._conclude(caller, verdict, reason))
            return None
        nonce = secrets.token_bytes(NONCE_BYTES)
        self._challenges[caller] = nonce
        while len(self._challenges) > CALLERS:
            self._challenges.popitem(last=False)
        proof = self._key.proof(b"keeper", joiner.public_key, own.public_key, knock.nonce + nonce)
        return Answer(Verdict.CHALLENGE, "", nonce, proof, own)

    def _conclude(self, caller: bytes, verdict: Verdict, reason: str) -> None:
        own = self._own_record() if verdict is Verdict.WELCOME else None
        self._send(caller, Answer(verdict, reason, b"", b"", own))


def _other_cluster(own: str, asked: str) -> str:
    return f"this is the cluster {own!r}, not {asked!r}; join it with --cluster {own!r}"
