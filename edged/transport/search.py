"""Trying doors: seeds, mDNS hints and remembered addresses, each dialled again and again until its node is known.

Seeds and remembered members are looked for as long as the node runs, the latter ever more slowly; hints only for a
while. Doors that cut the handshake are taken for doors of another key only when they did it several times in a row.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from pathlib import Path

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord
from edged.errors import UNREADABLE, ConfigError
from edged.transport.knocking import Finding, Finished, Knocking
from edged.transport.private import read_private, write_private

FILE_NAME = "peers.json"
MOST_HINTS = 256
MOST_REMEMBERED = MOST_HINTS // 2
"""These are looked for as long as the node runs, and must leave room for new hints."""

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
SLOW_PAUSE_SECONDS = 30.0
"""Between two attempts at the door of a remembered member that has not answered for ``HOPE_SECONDS``."""

HOPE_SECONDS = 60.0
"""A hint that leads nowhere is given up after this long."""

CUTS_OF_ANOTHER_KEY = 3
PATIENCE_SECONDS = 2.0
"""A door that does not answer is spoken of after this long, attempts included: it may just be starting."""

CONTENT_SECONDS = 1.0
"""How often a hint whose node is known is looked at again."""

Address = tuple[str, int]


SILENT = frozenset({Finding.UNREACHABLE, Finding.CUT, Finding.WRONG_KEY})
"""Nobody of this cluster is there; who refuses in so many words is, and may think better of it."""


class Hint(Enum):
    """Where an address comes from: told by the user, remembered from an earlier run, or heard of while running."""

    SEED = "seed"
    MEMORY = "memory"
    HEARSAY = "hearsay"


class Search:
    """One task per hint. ``knock`` begins an attempt; ``known`` says whether a node needs no door any more."""

    def __init__(
        self,
        knock: Callable[[Address, Callable[[Finished], None]], Knocking],
        known: Callable[[NodeId], bool],
        found: Callable[[Finished], None],
    ) -> None:
        """Nothing to look for yet.

        ``found`` hears of every finding; of unreachable doors only after a while, once in a row, and not of remembered
        ones. A finding has the address that was looked for, which may be a name.
        """
        self._knock = knock
        self._known = known
        self._found = found
        self._tasks: dict[Address, asyncio.Task[None]] = {}

    def add(self, address: Address, node: NodeId | None = None, hint: Hint = Hint.HEARSAY) -> None:
        """Look behind this door. ``node`` is whom to expect; only hearsay is ever given up."""
        running = self._tasks.get(address)
        if (running is None or running.done()) and len(self._tasks) < MOST_HINTS:
            task = asyncio.get_running_loop().create_task(self._pursue(address, node, hint))
            self._tasks[address] = task
            task.add_done_callback(lambda done: self._ended(address, done))

    async def close(self) -> None:
        """Stop looking."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, address: Address, task: asyncio.Task[None]) -> None:
        if self._tasks.get(address) is task:
            del self._tasks[address]

    async def _pursue(self, address: Address, node: NodeId | None, hint: Hint) -> None:
        pause, silent, cuts, told = FIRST_PAUSE_SECONDS, 0.0, 0, False
        tried = 0.0
        while hint is not Hint.HEARSAY or silent < HOPE_SECONDS:
            if node is not None and self._known(node):
                pause, silent = FIRST_PAUSE_SECONDS, 0.0
                await asyncio.sleep(CONTENT_SECONDS)
                continue
            begun = time.monotonic()
            finished = replace(await self._try(address), address=address)
            tried += time.monotonic() - begun
            cuts = cuts + 1 if finished.finding is Finding.CUT else 0
            if cuts:
                finished = _judged(finished, cuts)
            unreachable = finished.finding is Finding.UNREACHABLE
            due = hint is not Hint.MEMORY and not told and silent + tried > PATIENCE_SECONDS
            if not unreachable or (due and not (node is not None and self._known(node))):
                told = unreachable
                self._found(finished)
            if finished.finding is Finding.MYSELF:
                return
            if finished.record is not None:
                node = finished.record.node
                continue
            await asyncio.sleep(pause)
            silent = silent + pause if finished.finding in SILENT else 0.0
            slow = hint is Hint.MEMORY and silent >= HOPE_SECONDS
            pause = min(2 * pause, SLOW_PAUSE_SECONDS if slow else LONGEST_PAUSE_SECONDS)

    async def _try(self, address: Address) -> Finished:
        last = Finished(Finding.UNREACHABLE, address, None, "the name is unknown")
        for host in await resolve(address):
            last = await self._once((host, address[1]))
            if last.finding not in (Finding.UNREACHABLE, Finding.CUT):
                break
        return last

    async def _once(self, address: Address) -> Finished:
        done: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

        def finish(finished: Finished) -> None:
            if not done.done():
                done.set_result(finished)

        knocking = self._knock(address, finish)
        try:
            return await done
        finally:
            knocking.close()


def _judged(cut: Finished, times: int) -> Finished:
    """What a door that has cut the handshake so many times in a row is taken for."""
    if times >= CUTS_OF_ANOTHER_KEY:
        return replace(cut, finding=Finding.WRONG_KEY)
    where = f"{cut.address[0]}:{cut.address[1]}"
    return replace(cut, finding=Finding.UNREACHABLE, reason=f"{where} answers, but breaks the handshake off")


async def resolve(address: Address) -> list[str]:
    """The numeric hosts behind a name, IPv4 first; none if it is unknown."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(*address, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # what stands in a record may be no name at all: ``a..b``
        return []
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def read_peers(home: Path, read: Callable[[Path], bytes | None] = read_private) -> tuple[tuple[NodeId, Address], ...]:
    """Doors remembered from earlier runs; none if there is no such file or it is damaged."""
    try:
        data = read(home / FILE_NAME)
        entries = json.loads(data) if data is not None else []
        return tuple(
            (NodeId(str(entry["node"])), (str(entry["host"]), int(entry["port"])))
            for entry in entries
            if 0 < int(entry["port"]) < 1 << 16
        )[:MOST_REMEMBERED]
    except (ConfigError, *UNREADABLE):
        return ()


def read_names(home: Path, read: Callable[[Path], bytes | None] = read_private) -> dict[NodeId, str]:
    """What the members of earlier runs are called; none if there is no such file or it is damaged."""
    try:
        data = read(home / FILE_NAME)
        entries = json.loads(data) if data is not None else []
        return {NodeId(str(entry["node"])): str(entry["name"]) for entry in entries if "name" in entry}
    except (ConfigError, *UNREADABLE):
        return {}


def write_peers(home: Path, records: Iterable[MemberRecord]) -> None:
    """Remember these members' names and doors. Raises ``ConfigError`` if the home cannot be written."""
    entries = [
        {"node": record.node, "name": record.name, "host": host, "port": record.door_port}
        for record in records
        for host in record.addresses[:4]
    ]
    write_private(home / FILE_NAME, json.dumps(entries[:MOST_REMEMBERED]).encode() + b"\n")
