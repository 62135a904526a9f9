"""The composition root: builds one node of real things, runs it, and leaves nothing behind.

::

    lock -> identity, key -> transport -> core -> roles -> local socket -> what the disk holds -> "ready" -> pump ...
                                                                                              ... -> all closed again

torch is not imported here: the compute thread does that once the node has been announced.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from logging import INFO, WARNING
from random import SystemRandom
from typing import Any, NoReturn

from edged import __version__
from edged.compute.thread import ComputeThread
from edged.config import Settings
from edged.core.beginning import Beginning
from edged.core.electorate import SavedVote
from edged.core.events import JobSubmitted
from edged.core.expelling import EXPELLED
from edged.core.ids import PROTOCOL_VERSION
from edged.core.messages import MemberRecord
from edged.errors import BrokenInvariantError, ConfigError, ExpelledError, KeyRefusedError, UserError
from edged.replication.policy import interval
from edged.replication.snapshots import Snapshots
from edged.replication.store import Store
from edged.roles.ballot import Ballot
from edged.roles.cleaner import Cleaner
from edged.roles.commands import NodeCommands
from edged.roles.copies import Copies
from edged.roles.curves import Curves
from edged.roles.device import Device
from edged.roles.disk import Disk
from edged.roles.endpoint import Endpoint
from edged.roles.engine import Engine
from edged.roles.farewell import AT_ONCE, Farewell
from edged.roles.freeing import release
from edged.roles.intake import Intake
from edged.roles.keeper import Keeper
from edged.roles.leader import Leader
from edged.roles.local import LocalServer
from edged.roles.lock import HomeLock
from edged.roles.meter import Meter
from edged.roles.network import Network
from edged.roles.observer import Observer
from edged.roles.pump import Pump
from edged.roles.register import Register
from edged.roles.reporter import Reporter
from edged.roles.shelf import Shelf
from edged.roles.source import Source
from edged.roles.status import address
from edged.roles.supervision import Supervision, sentence
from edged.roles.survey import Survey
from edged.roles.worker import Worker
from edged.strategies import PLANNERS
from edged.telemetry.counters import Counters
from edged.telemetry.journal import Journal
from edged.telemetry.logs import LOG_NAME, configure, name_node, topic_logger
from edged.telemetry.paths import local_socket_path
from edged.telemetry.supervisor import Supervisor
from edged.transport.banned import is_shut_out, mark_shut_out
from edged.transport.identity import load_identity
from edged.transport.interfaces import await_network
from edged.transport.network import ZmqTransport
from edged.transport.notices import Notice
from edged.transport.search import read_names
from edged.transport.security import settle_cluster_key

try:
    from uvloop import new_event_loop
except ImportError:  # Windows has none; asyncio's own loop does the same, slower
    LOOP_FACTORY: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    LOOP_FACTORY = new_event_loop

NETWORK_SECONDS = 60.0
"""How long a node that nobody sits in front of waits at its start for the network, which may come up after it."""

DOOR_SECONDS = 10.0
"""How long a node to which one seed showed another key waits for another seed to let it in."""

FIRST_SECONDS = 15.0
"""Of two nodes with one identity that hear of each other, the one that has run for longer than this stays."""

THREAD_SECONDS = 0.3
"""How long a computation under way may go on after that."""

IMPORT_SECONDS = 10.0
"""An interpreter that ends while another thread imports torch may crash: a mistake is told after that at the latest."""

SWITCH_SECONDS = 0.0001
"""How long the loop may keep the interpreter while the compute thread wants it; Python's 5 ms cost 1 % of a step."""

SEED_BITS = 53
"""As many as any reader of the journal's JSON keeps."""

INTERRUPTED = 130


def _ignore(_result: object) -> None:
    """Do nothing: the first job pays for what could not be done beforehand."""


def _nothing() -> None:
    """Do nothing."""


def run(settings: Settings, before_exit: Callable[[], None] = _nothing) -> NoReturn:
    """Run a node until it leaves, then end the process: with status 0, or 1 if it broke.

    The process ends here because the interpreter would take torch apart piece by piece, for seconds on a busy device,
    and must not do so around a computation that cannot be interrupted. ``before_exit`` is called before (it restores a
    terminal, say). Raises ``UserError`` (``ConfigError``, ``KeyRefusedError``) for what the user can mend.
    """
    configure(settings.log_format)
    os.umask((os.umask(0o077) | 0o022) & 0o077)  # others write into no file of a node, whatever its user's umask
    sys.setswitchinterval(SWITCH_SECONDS)
    lock = HomeLock(settings.home)
    thread = ComputeThread()
    try:
        if settings.tui:  # a log line would tear the live view
            configure(settings.log_format, file=settings.home / LOG_NAME)
        if settings.unattended:
            faulthandler.enable()  # a watchdog ends a loop that hangs by SIGABRT: the log is to say where it hung
        with asyncio.Runner(loop_factory=LOOP_FACTORY) as runner:
            status = runner.run(_run(settings, thread, before_exit, lock))
            thread.stop(THREAD_SECONDS)
            before_exit()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    except UserError as error:
        lock.ends(str(error))
        thread.stop(IMPORT_SECONDS)
        raise
    finally:
        lock.release()
        gc.freeze()  # else the interpreter looks through all of torch for garbage before it ends: a second or more


async def _run(settings: Settings, thread: ComputeThread, before_exit: Callable[[], None], lock: HomeLock) -> int:
    status = 0
    async with AsyncExitStack() as stack:
        daemon = Daemon(settings, thread, before_exit)
        stack.push_async_callback(daemon.close)
        try:
            await daemon.open()
            reason = await daemon.serve()
            topic_logger("daemon").info("this node has left: %s", reason)
        except BrokenInvariantError as error:  # say why, and let the others recover
            topic_logger("daemon").error("this node broke and stops: %s", error, exc_info=error)
            lock.ends(f"it broke: {error}")
            status = 1
    return status


class Daemon:
    """One node, put together. ``open``, then ``serve``, and ``close`` in any case."""

    def __init__(self, settings: Settings, thread: ComputeThread, before_exit: Callable[[], None]) -> None:
        """Read the home's identity and key; nothing is bound yet. Raises ``ConfigError``, ``ExpelledError``."""
        self._settings = settings
        self._thread = thread
        self._before_exit = before_exit
        self._token, self._key_is_new = settle_cluster_key(settings.home, settings.key, joins=bool(settings.seeds))
        self._refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._strange: set[str] = set()
        self._observer: Observer | None = None
        self._source: Source | None = None
        self._copies: Copies | None = None
        self._keeper: Keeper | None = None
        self._disk = Disk()
        self._server: LocalServer | None = None
        self._endpoint: Endpoint | None = None
        self._farewell = Farewell(self._tell_person, self._abandon)
        self._supervision = Supervision(Supervisor.from_environment(os.environ, os.getpid()))
        self._begun = asyncio.get_running_loop().time()
        self.journal = Journal(settings.home / "journal", settings.journal_bytes // 2)
        identity = load_identity(settings.home)
        name_node(identity.node)
        if is_shut_out(settings.home, identity.node):
            raise ExpelledError(EXPELLED)
        self.transport = ZmqTransport(
            identity,
            name=settings.name,
            cluster=settings.cluster,
            key=self._token,
            listen=settings.listen,
            seeds=settings.seeds,
            discovery=settings.discovery,
            home=settings.home,
            memory_bytes=settings.memory_bytes,
            on_notice=self._notice,
        )

    async def open(self) -> None:
        """Bind everything, join core and roles, say that the node can be used. Raises ``ConfigError``."""
        settings = self._settings
        self._farewell.open()
        if settings.unattended:
            self._supervision.open("waits for a network, then reads what its disk holds")
            await await_network(settings.listen[0], NETWORK_SECONDS, lambda: self._farewell.asked)
        ballot = Ballot(settings.home / "vote.json")
        vote = ballot.load()
        register = Register(settings.home / "jobs.json")
        await self.transport.open()
        own = self.transport.own_record()
        saved = None if vote is None else SavedVote(vote.term, vote.voted_for, vote.electorate)
        names, counters = read_names(settings.home), Counters()
        self._observer = observer = Observer(
            own, lambda: node.board.jobs.records,
            remembered=names, contacts=self.transport.contacts, counters=counters,
            voters=lambda: node.election.voters, forks=settings.forks,
        )  # fmt: skip
        beginning = Beginning(
            release=__version__,
            protocol=PROTOCOL_VERSION,
            seed=SystemRandom().getrandbits(SEED_BITS),
            replicas=settings.replicas,
            forks=settings.forks,
            record=own,
            saved=saved,
            known=self.transport.expelled(),
            listed=tuple(register.load()),
        )
        self.journal.begin(beginning, time.monotonic())
        curves = Curves(observer, lambda to, message: self.pump.send(to, message))  # noqa: PLW0108 -- made below
        node = beginning.node(interval, curves.watch)
        self._leaving = node.leaving
        self.pump = pump = Pump(own.node, node, self.transport, self.journal, counters)
        device = Device(settings.device, settings.threads, settings.slowdown, settings.memory_bytes)
        shelf, snapshots, engine = Shelf(), Snapshots(release), Engine(self._thread, device.executor)
        worker = Worker(own.node, engine, shelf, snapshots, pump.post, pump.send_parcel, node.expects)
        self._copies = copies = Copies(settings.home, self._disk, node.spec_of, pump.post, pump.send)
        intake = Intake(worker, copies, node.expects)
        path = local_socket_path(settings.home)
        self._source = source = Source(
            settings.home, path, engine, worker, shelf, copies, pump.post, pump.send, pump.send_parcel
        )
        store = Store(settings.home)
        self._keeper = keeper = Keeper(
            engine, self._disk, store, snapshots, worker, source,
            pump.post, pump.send, pump.send_parcel, self.transport.drop_parcels,
        )  # fmt: skip
        pump.connect(
            [
                Network(self.transport),
                ballot,
                register,
                worker,
                source,
                keeper,
                Cleaner(worker, source, keeper, copies, self.transport.drop_parcels),
                Leader(PLANNERS, pump.post),
                observer,
            ],
            intake,
        )
        self.transport.expect(intake.expects)
        commands = NodeCommands(
            settings.cluster, observer, source, self.journal, pump.post, self.transport, node.keyring.taken
        )
        self._server = LocalServer(path, commands)
        await self._server.open()
        meter = Meter(settings.cluster, settings.seeds, observer, counters, engine, self.transport, node)
        self._sentence = lambda: sentence(meter.why_not_ready(), observer)
        if settings.metrics is not None:
            self._endpoint = Endpoint(settings.metrics, meter.pages())
            await self._endpoint.open()
            topic_logger("daemon").info("metrics and health: %s", self._endpoint.url)
        self._reporter = Reporter(
            observer,
            worker,
            engine,
            Survey(node, device, engine, worker, pump.post, self.transport.addresses),
            self.transport,
            self.journal,
            pump.send,
            node.membership.round_trips,
            source.waiting,
        )
        self._disk.start()
        self._thread.start()
        worker.start(device.measure, device.free_memory, lambda reason: self._refuse(ConfigError(reason)))
        engine.run(device.warm_up, _ignore, _ignore)
        await keeper.open()
        await copies.open()
        for spec in source.take_on_again():
            if spec.source == own.node:
                pump.post(JobSubmitted(spec))
        self._announce(own)

    async def serve(self) -> str:
        """Run until the node leaves; returns why. Raises what broke it, or ``KeyRefusedError``."""
        loop = asyncio.get_running_loop()
        pumping, reporting = loop.create_task(self.pump.run()), loop.create_task(self._reporter.run())
        supervised = self._supervision.start(self._sentence)
        self._farewell.serve(self.pump, self._leaving)
        ends: set[asyncio.Future[Any]] = {pumping, reporting, self._refused}
        try:
            done, _ = await asyncio.wait({*ends, supervised}, return_when=asyncio.FIRST_COMPLETED)
            for end in done - {pumping}:
                end.result()
            return await pumping
        except ExpelledError:
            if pumping.done() and isinstance(pumping.exception(), ExpelledError):  # a member said so, no stranger
                mark_shut_out(self._settings.home, self.transport.own_record().node)
            raise
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def close(self) -> None:
        """Close everything that was opened, once what is held is on the disk; safe after a failed ``open``."""
        self._supervision.stop("leaving: what is held goes to the disk")
        for server in (self._server, self._endpoint):
            if server is not None:
                await server.close()
        if self._source is not None:
            await self._source.close()
        if self._copies is not None:
            self._copies.close()
        if self._keeper is not None:
            await self._keeper.finish()
        await asyncio.to_thread(self._disk.stop)
        await self.transport.close()
        self.journal.close()
        await self._supervision.close()  # until now the loop had to go round ...
        self._farewell.close()  # ... and a second signal ended the wait for the disk

    def _announce(self, own: MemberRecord) -> None:
        door = address(own)
        if self._key_is_new and not self._settings.tui:
            seed = door.removeprefix("tcp://")
            cluster = "" if self._settings.cluster == "edged" else f" --cluster {self._settings.cluster}"
            if self._settings.log_format == "json" or self._settings.unattended:  # no key belongs into a log
                topic_logger("daemon").info("made a cluster key; `edged key join-command` prints the line to share")
            else:
                _tell(f"join from another device with:  edged join{cluster} --key {self._token} --seed {seed}")
        if not self._settings.tui:
            ready = {"event": "ready", "node": own.node, "name": own.name, "address": door}
            ready |= {"home": str(self._settings.home)}
            ready |= {"metrics": f"{self._endpoint.url}/metrics"} if self._endpoint is not None else {}
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()

    def _notice(self, notice: Notice) -> None:
        """Something about peers that a person should know. A wrong key or a twin: this node cannot join at all."""
        topic_logger("transport").log(INFO if notice.kind == "nobody" else WARNING, "%s", notice.text)
        if self._observer is not None and notice.kind != "nobody":  # which the live view shows while it lasts
            self._observer.tell(notice.text)
        if notice.kind == "expelled":
            self._refuse(ExpelledError(notice.text))
        alone = self._observer is None or len(self._observer.members) == 1
        if not alone:
            return
        if notice.kind == "twin" and asyncio.get_running_loop().time() - self._begun < FIRST_SECONDS:
            self._refuse(ConfigError(notice.text))
        elif notice.kind == "key":
            self._strange_door(notice)

    def _strange_door(self, notice: Notice) -> None:
        """A door has another key. Who was told of several doors waits for the others: they may have this key."""
        seeds = {f"{host}:{port}" for host, port in self._settings.seeds}
        if notice.address in seeds:
            self._strange.add(notice.address)
            patience = 0.0 if self._strange == seeds else DOOR_SECONDS
            asyncio.get_running_loop().call_later(patience, self._give_up, notice.text)

    def _give_up(self, why: str) -> None:
        if self._observer is None or len(self._observer.members) == 1:
            self._refuse(KeyRefusedError(why))

    def _refuse(self, error: UserError) -> None:
        if not self._refused.done():
            self._refused.set_exception(error)

    def _tell_person(self, text: str) -> None:
        """Say how this node leaves to whoever sits in front of it, and to whoever looks after it."""
        self._supervision.stop(text)
        if self._settings.tui or self._settings.log_format == "json":
            topic_logger("daemon").info("%s", text)
        else:
            _tell(text)
        if self._observer is not None:
            self._observer.tell(text)

    def _abandon(self) -> None:
        if self._source is not None:
            self._source.kill()
        with suppress(OSError):
            local_socket_path(self._settings.home).unlink(missing_ok=True)
        self.journal.close()
        self._before_exit()
        if self._settings.log_format == "json" and not self._settings.tui:
            topic_logger("daemon").warning("%s", AT_ONCE)
        else:
            _tell(AT_ONCE)
        os._exit(INTERRUPTED)


def _tell(text: str) -> None:
    sys.stderr.write(f"edged: {text}\n")
    sys.stderr.flush()
