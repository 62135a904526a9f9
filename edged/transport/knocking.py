"""The joiner's side of the door: one attempt at one address, and what came of it.

See ``door.py`` for the protocol.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edged.core.messages import MemberRecord
from edged.errors import MalformedError
from edged.transport.contacts import other_key, other_version
from edged.transport.door import NONCE_BYTES, Answer, Knock, OtherVersionError, Verdict, pack_door, sound_record
from edged.transport.door import unpack_answer as unpack
from edged.transport.identity import Identity
from edged.transport.pump import Frames, Pump
from edged.transport.road import Attempt, Outcome
from edged.transport.security import ClusterKey, equal
from edged.transport.sockets import DOOR_KIND, Context

PATIENCE_SECONDS = 5.0


class Finding(Enum):
    """How an attempt to get in ended.

    ``CUT``: the other side ended the handshake at once. A door of another key does so, but also one that is just being
    closed: one such end proves nothing (see ``search.py``). ``THERE``: the keeper has proved the key, which is all that
    was asked. ``COPIED``: it is the copy of a member's home.
    """

    MET = "met"
    UNREACHABLE = "unreachable"
    CUT = "cut"
    WRONG_KEY = "key"
    WRONG_VERSION = "version"
    REFUSED = "refused"
    TWIN = "twin"
    MYSELF = "myself"
    EXPELLED = "expelled"
    THERE = "there"
    COPIED = "copied"


Approve = Callable[[MemberRecord, Callable[[Finding, str], None]], None]
"""Hears of a keeper that has proved the key, and says, at once or later, ``MET`` to go in, or how the attempt ends."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an attempt: ``record`` is the keeper's if ``MET`` or ``THERE``; ``reason`` says why not, otherwise."""

    finding: Finding
    address: tuple[str, int]
    record: MemberRecord | None
    reason: str


class Knocking:
    """One attempt. Calls ``done`` exactly once, unless closed first.

    The keeper proves the key first. What this side proves then makes it known there, so it is sent only if ``approve``
    finds nothing against the keeper.
    """

    def __init__(
        self,
        context: Context,
        identity: Identity,
        key: ClusterKey,
        cluster: str,
        protocol: int,
        address: tuple[str, int],
        nonce: bytes,
        own_record: Callable[[], MemberRecord],
        approve: Approve,
        done: Callable[[Finished], None],
    ) -> None:
        """Begin. ``address`` is a numeric host and a door's port; ``nonce`` is ``new_nonce()``."""
        self._identity = identity
        self._key = key
        self._cluster = cluster
        self._protocol = protocol
        self._address = address
        self._nonce = nonce
        self._own_record = own_record
        self._approve = approve
        self._done = done
        self._closed = False
        self._keeper: MemberRecord | None = None
        self._pump: Pump | None = None
        self._attempt = Attempt(context, DOOR_KIND, identity, key.door_public, address, self._told)
        self._timer = self._patience()

    def close(self) -> None:
        """Give up, and tell nothing."""
        self._closed = True
        self._timer.cancel()
        if self._pump is not None:
            self._pump.leave()
        self._attempt.close()

    def _end(self, finding: Finding, reason: str, record: MemberRecord | None = None) -> None:
        self.close()
        self._done(Finished(finding, self._address, record, reason))

    def _patience(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._silence)

    def _silence(self) -> None:
        where = f"{self._address[0]}:{self._address[1]}"
        self._end(Finding.UNREACHABLE, f"{where} does not let anybody in within {PATIENCE_SECONDS:.0f} s")

    def _told(self, _attempt: Attempt, outcome: Outcome) -> None:
        where = f"{self._address[0]}:{self._address[1]}"
        if outcome is Outcome.UP:
            self._pump = Pump(self._attempt.socket, self._answered)
            self._knock(b"")
        elif outcome is Outcome.STRANGER:
            self._end(Finding.CUT, other_key(where))
        else:
            self._end(Finding.UNREACHABLE, f"nobody answers at {where}")

    def _knock(self, proof: bytes) -> None:
        knock = Knock(self._cluster, self._nonce, proof, self._own_record())
        if self._pump is not None:
            self._pump.send([pack_door(knock, self._protocol)])

    def _answered(self, frames: Frames) -> None:
        where = f"{self._address[0]}:{self._address[1]}"
        try:
            answer = unpack(frames[-1].bytes, self._protocol)
        except OtherVersionError as other:
            self._end(Finding.WRONG_VERSION, other_version(where, other.number, self._protocol))
            return
        except MalformedError as problem:
            self._end(Finding.UNREACHABLE, f"{where} sends nonsense: {problem}")
            return
        if answer.verdict is Verdict.CHALLENGE:
            self._challenged(answer)
        elif answer.verdict is Verdict.YOURSELF:
            self._end(Finding.MYSELF, "this is the node itself")
        elif answer.verdict is Verdict.TWIN:
            self._end(Finding.TWIN, answer.reason)
        elif answer.verdict is Verdict.EXPELLED:
            self._end(Finding.EXPELLED, answer.reason)
        elif answer.verdict is Verdict.REFUSED or self._keeper is None:
            self._end(Finding.REFUSED, f"{where} refuses: {answer.reason}")
        else:
            self._end(Finding.MET, "", self._keeper)

    def _challenged(self, answer: Answer) -> None:
        keeper = answer.record
        own = self._identity.public_key
        if keeper is None or not sound_record(keeper) or len(answer.nonce) != NONCE_BYTES:
            self._end(Finding.UNREACHABLE, "a challenge without a sound record")
            return
        nonces = self._nonce + answer.nonce
        if not equal(answer.proof, self._key.proof(b"keeper", own, keeper.public_key, nonces)):
            self._end(Finding.WRONG_KEY, "the door cannot prove that it holds the cluster key")
            return
        self._timer.cancel()  # whoever approves has a limit of its own
        proof = self._key.proof(b"joiner", own, keeper.public_key, nonces)
        self._approve(keeper, lambda finding, reason: self._approved(keeper, proof, finding, reason))

    def _approved(self, keeper: MemberRecord, proof: bytes, finding: Finding, reason: str) -> None:
        if self._closed:
            return
        if finding is not Finding.MET:
            self._end(finding, reason, keeper if finding is Finding.THERE else None)
            return
        self._keeper = keeper
        self._timer.cancel()
        self._timer = self._patience()
        self._knock(proof)


def new_nonce() -> bytes:
    """Fresh random bytes for one attempt."""
    return secrets.token_bytes(NONCE_BYTES)
