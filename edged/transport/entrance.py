"""How nodes get to know each other: the own door, the others' doors, mDNS, and who is never let in again.

All of it hangs on the cluster key, which may be exchanged while the node runs: the door is then shut and opened anew,
and whoever holds only the old key stays outside. Members know each other by their own keys and notice nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.core.expelling import EXPELLED
from edged.core.ids import NodeId
from edged.core.messages import MemberRecord
from edged.errors import ConfigError
from edged.transport.banned import read_expelled, write_expelled
from edged.transport.contacts import (
    Contacts,
    Reason,
    Unmet,
    copied,
    deaf,
    knocking_twin,
    nobody,
    other_cluster,
    other_version,
    unreachable,
)
from edged.transport.discovery import Announcement, Discovery
from edged.transport.door import Door, Knock, Verdict, judge
from edged.transport.identity import Identity
from edged.transport.interfaces import is_loopback
from edged.transport.knocking import Approve, Finding, Finished, Knocking, new_nonce
from edged.transport.notices import Notices
from edged.transport.probe import reach
from edged.transport.search import Address, Hint, Search, read_peers
from edged.transport.security import exchange_cluster_key, parse_token
from edged.transport.sockets import DOOR_KIND, Context, bound_router
from edged.transport.stubborn import Stubborn
from edged.transport.succession import Succession

NONCES = 64
REOPEN_SECONDS = 0.02
REOPENINGS = 250
"""A port that was just given back may take a moment to be free; after five seconds somebody else has it."""

ECHO_SECONDS = 6.0
"""What a node announces comes back to itself within a second or two, where multicast works."""

LONELY_SECONDS = 8.0
"""Who has met nobody by then is told that nothing is wrong here."""

TWIN_SECONDS = 60.0
"""A twin that has not knocked for so long is gone."""

REASONS = {
    Finding.UNREACHABLE: Reason.UNREACHABLE,
    Finding.WRONG_KEY: Reason.KEY,
    Finding.WRONG_VERSION: Reason.VERSION,
    Finding.REFUSED: Reason.REFUSED,
    Finding.TWIN: Reason.TWIN,
    Finding.EXPELLED: Reason.EXPELLED,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the entrance needs to know of the node that it belongs to.

    ``present`` are the addresses of the own record that are there now. ``newest`` maps every node that was ever
    admitted to its record; ``content`` says whether a node needs no door any more; ``meet`` hears of whom a door
    admitted, on either side.
    """

    own_record: Callable[[], MemberRecord]
    present: Callable[[], tuple[str, ...]]
    newest: Mapping[NodeId, MemberRecord]
    content: Callable[[NodeId], bool]
    meet: Callable[[MemberRecord], None]


class Entrance:
    """The door and everything around it. ``bind``, then ``open``, and ``close``."""

    def __init__(
        self,
        identity: Identity,
        token: str,
        cluster: str,
        protocol: int,
        home: Path | None,
        surroundings: Surroundings,
        notices: Notices,
    ) -> None:
        """Nothing is bound. Raises ``ConfigError`` if ``token`` is none, or ``home`` keeps a damaged list."""
        self._identity = identity
        self._key = parse_token(token)
        self._cluster = cluster
        self._protocol = protocol
        self._home = home
        self._around = surroundings
        self._notices = notices
        self.contacts = Contacts()
        self._echoes = False
        self._copies: dict[str, asyncio.TimerHandle] = {}
        self._unexplained: dict[str, Finished] = {}
        self._nonces: deque[bytes] = deque(maxlen=NONCES)
        self._succession = Succession(surroundings.newest, surroundings.content, self._ask)
        self._stubborn = Stubborn(notices)
        self._discovery: Discovery | None = None
        self._announcing = asyncio.Lock()
        self._door: Door | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        known = () if home is None else read_expelled(home)
        self.expelled: dict[NodeId, MemberRecord] = {record.node: record for record in known}

    def bind(self, context: Context, host: str, port: int) -> int:
        """Open the own door; its port. Raises ``ConfigError`` if the address cannot be had."""
        self._context, self._host = context, host
        self._port = self._open_door(port)
        return self._port

    def open(self, seeds: Iterable[Address], *, discovery: bool) -> None:
        """Look for others: behind ``seeds``, behind the doors that the home remembers, and by mDNS."""
        self.search = Search(self._dial, self._content, self._found)
        self._seeds = frozenset(seeds)
        for seed in self._seeds:
            self.search.add(seed, hint=Hint.SEED)
        remembered = () if self._home is None else read_peers(self._home)
        for node, address in remembered:
            self.search.add(address, node, Hint.MEMORY)
        if discovery:
            self._announce()
        self._start(self._look_around(len(remembered), discovery=discovery))

    async def close(self) -> None:
        """Shut the door, stop looking."""
        self.shut()
        await self.search.close()
        self._stubborn.close()
        for copy in self._copies.values():
            copy.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._discovery is not None:
            await self._discovery.close()
        self.shut()  # which a task may have opened anew

    def shut(self) -> None:
        """Shut the door; who waited for an answer there gets none."""
        self._succession.close()
        if self._door is not None:
            self._door.close()
            self._door = None

    def expel(self, record: MemberRecord) -> None:
        """Never let this node in again, nor after a restart."""
        self.expelled[record.node] = record
        home = self._home
        if home is not None:  # the others remember as well; a full disk must not stop a node
            self._stubborn.write(
                "the list of expelled nodes",
                lambda: write_expelled(home, self.expelled.values()),
                f"a restart of this node forgets {record.name}",
            )

    def exchange_key(self, token: str) -> None:
        """From now on only this key opens the door; it is in the home when this returns, if the disk takes it.

        Raises ``ConfigError`` if it is no key.
        """
        key = parse_token(token)
        if key == self._key:
            return
        home = self._home
        if home is not None:
            self._stubborn.write(
                "the new cluster key",
                lambda: exchange_cluster_key(home, token),
                "a restart of this node needs it (`edged key show` on another device)",
            )
        self._key = key
        self._start(self._reopen())

    def announce_anew(self) -> None:
        """The own record has other addresses, or one is back: say so on mDNS, and listen there."""
        self._start(self._announce_anew())

    def _open_door(self, port: int) -> int:
        keys = (self._key.door_public, self._key.door_secret)
        socket, bound = bound_router(self._context, DOOR_KIND, keys, self._host, port)
        self._door = Door(
            socket,
            self._key,
            self._cluster,
            self._protocol,
            own_record=self._around.own_record,
            judge=self._judge,
            admit=self._admit,
        )
        return bound

    async def _reopen(self) -> None:
        """The same port, another key; then say so on mDNS."""
        self.shut()
        for attempt in range(REOPENINGS):
            try:
                self._open_door(self._port)
                break
            except ConfigError as problem:
                if attempt == REOPENINGS - 1:
                    text = f"{problem}; until this node is started again, others can only join elsewhere"
                    self._notices.add("door", "", text)
                await asyncio.sleep(REOPEN_SECONDS)
        await self._announce_anew()

    async def _announce_anew(self) -> None:
        """Who asks while that is under way is content with it; ``close`` finds what is not closed yet."""
        before = self._discovery
        async with self._announcing:
            if before is not None and before is self._discovery:
                await before.close()
                self._announce()

    def _announce(self) -> None:
        record = self._around.own_record()
        addresses = tuple(address for address in self._around.present() if ":" not in address)
        own = Announcement(self._key.tag(self._cluster), self._protocol, record.node, addresses, self._port)
        self._discovery = Discovery(own, self._heard, self._gone, self._cannot_announce)
        self._discovery.open()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------------------------- both sides of doors

    def _content(self, node: NodeId) -> bool:
        """Whether this node's door need not be tried."""
        return node in self.expelled or self._around.content(node)

    def _judge(self, knock: Knock) -> tuple[Verdict, str]:
        record, own = knock.record, self._around.own_record()
        if record.node in self.expelled:
            return Verdict.EXPELLED, EXPELLED
        verdict = judge(knock, own, self._nonces, self._around.newest.get(record.node))
        if verdict[0] is Verdict.TWIN and record.node == own.node:
            where = f"{record.addresses[0]}:{record.door_port}"
            self._copy_found(where, knocking_twin(where))
        return verdict

    def _admit(self, record: MemberRecord, told: Callable[[Verdict, str], None]) -> None:
        """Meet who has proved the key; but first ask a process that it says to follow, if that seems to be there."""

        def examined(second: str) -> None:
            if second:
                told(Verdict.TWIN, second)
            elif record.node in self.expelled:  # meanwhile
                told(Verdict.EXPELLED, EXPELLED)
            else:
                self._meet(record)
                told(Verdict.WELCOME, "")

        self._succession.examine(record, examined)

    def _copy_found(self, where: str, text: str) -> None:
        """It is there as long as it knocks or is dialled, which is never less than every few seconds."""
        self.contacts.add(Unmet(Reason.TWIN, where, text))
        self._notices.add("copy", where, text)
        if where in self._copies:
            self._copies.pop(where).cancel()
        self._copies[where] = asyncio.get_running_loop().call_later(TWIN_SECONDS, self._forget_copy, where)

    def _forget_copy(self, where: str) -> None:
        del self._copies[where]
        self.contacts.settle(where)

    def _dial(self, address: Address, done: Callable[[Finished], None]) -> Knocking:
        """Knock at a door, and break off where its keeper turns out to be a member's copy."""

        def approve(keeper: MemberRecord, told: Callable[[Finding, str], None]) -> None:
            where = f"{address[0]}:{address[1]}"
            self._succession.examine(
                keeper,
                lambda second: told(Finding.COPIED, copied(keeper.name, where)) if second else told(Finding.MET, ""),
            )

        return self._knock(address, approve, done)

    def _ask(self, address: Address, done: Callable[[Finished], None]) -> Knocking:
        """Knock at a door, only to see who is there."""
        return self._knock(address, lambda _keeper, told: told(Finding.THERE, ""), done)

    def _knock(self, address: Address, approve: Approve, done: Callable[[Finished], None]) -> Knocking:
        nonce = new_nonce()
        self._nonces.append(nonce)
        return Knocking(
            self._context,
            self._identity,
            self._key,
            self._cluster,
            self._protocol,
            address,
            nonce,
            self._around.own_record,
            approve,
            done,
        )

    # -------------------------------------------------------------------------- who is met, and why others are not

    def _found(self, finished: Finished) -> None:
        where = f"{finished.address[0]}:{finished.address[1]}"
        self._unexplained.pop(where, None)
        if finished.finding is Finding.MET and finished.record is not None:
            self._meet(finished.record)
            self.contacts.settle(where)
        elif finished.finding is Finding.COPIED:
            self._copy_found(where, finished.reason)
        elif finished.finding is Finding.UNREACHABLE:
            self._unexplained[where] = finished
            self._start(self._explain(finished, where))
        elif finished.finding is not Finding.MYSELF:
            self._miss(REASONS[finished.finding], where, finished.reason)

    async def _explain(self, finished: Finished, where: str) -> None:
        """Why a door lets nobody in: a plain connect shows more than a handshake that fails."""
        shown = await reach(finished.address)
        if self._unexplained.get(where) is not finished:
            return  # it has answered meanwhile
        del self._unexplained[where]
        if finished.address in self._seeds or not self._around.newest:  # else one of a member's several, perhaps
            self._miss(Reason.UNREACHABLE, where, unreachable(where, shown, finished.reason))

    def _meet(self, record: MemberRecord) -> None:
        self.contacts.settle("")
        for host in record.addresses:
            self.contacts.settle(f"{host}:{record.door_port}")
        self._around.meet(record)

    def _miss(self, reason: Reason, where: str, text: str) -> None:
        self.contacts.add(Unmet(reason, where, text))
        self._notices.add(reason.value, where, text)

    async def _look_around(self, remembered: int, *, discovery: bool) -> None:
        """Tell in good time why nobody was met."""
        await asyncio.sleep(ECHO_SECONDS)
        told = any(not unmet.address for unmet in self.contacts.unmet(alone=True))
        if discovery and not self._echoes and not self._around.newest and not told:
            self._miss(Reason.MULTICAST, "", deaf())
        await asyncio.sleep(LONELY_SECONDS - ECHO_SECONDS)
        if not self._around.newest and not self.contacts.unmet(alone=True):
            self._miss(Reason.NOBODY, "", nobody(discovery=discovery, remembered=remembered))

    def _cannot_announce(self, reason: Reason, text: str) -> None:
        own = self._around.own_record()
        where = f"{own.addresses[0]}:{own.door_port}" if reason is Reason.TWIN else ""
        self.contacts.add(Unmet(reason, where, text))
        self._notices.add("discovery", "", text)

    def _heard(self, heard: Announcement) -> None:
        record = self._around.own_record()
        if heard.node == record.node and heard.door_port == self._port:
            self._echoes = True
            self.contacts.settle("")
        elif self._content(NodeId(heard.node)):
            return  # a member, whose announcement may be older than its key
        elif heard.tag != self._key.tag(self._cluster):
            self._miss(Reason.CLUSTER, _place(heard), other_cluster(_place(heard)))
        elif heard.protocol != self._protocol:
            text = other_version(f"the node at {_place(heard)}", heard.protocol, self._protocol)
            self._miss(Reason.VERSION, _place(heard), text)
        else:
            node = NodeId(heard.node) if heard.node != record.node else None
            for address in heard.addresses:
                if is_loopback(address) == is_loopback(record.addresses[0]):
                    self.search.add((address, heard.door_port), node)

    def _gone(self, gone: Announcement) -> None:
        """What was only heard of is gone with its announcement; what the user named is not."""
        where = _place(gone)
        if where not in {f"{host}:{port}" for host, port in self._seeds}:
            self.contacts.settle(where)


def _place(heard: Announcement) -> str:
    return f"{heard.addresses[0] if heard.addresses else '?'}:{heard.door_port}"
