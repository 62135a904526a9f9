"""A workbench: worker and source with a real executor and a real feeder, moved by hand instead of by a core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from edged.compute.job_file import load
from edged.compute.submission import submit
from edged.compute.thread import ComputeThread
from edged.core.effects import Effect
from edged.core.events import Event, ParcelArrived, SelfMeasured
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import Message, Parcel
from edged.core.plan import Hop, Plan, Route
from edged.replication.snapshots import Snapshots
from edged.replication.store import Store
from edged.roles.commands import NodeCommands
from edged.roles.copies import Copies
from edged.roles.device import Device
from edged.roles.disk import Disk
from edged.roles.engine import Engine
from edged.roles.keeper import Keeper
from edged.roles.local import LocalServer
from edged.roles.shelf import Shelf
from edged.roles.source import Source
from edged.roles.worker import Worker

OWN = NodeId("a" * 16)
E = TypeVar("E")

JOB_FILE = """
import os
import torch
from functools import partial
from torch import nn
from torch.nn import functional as F
from edged import Job

class Data:
    def __len__(self):
        return 32
    def __getitem__(self, index):
        {trouble}
        generator = torch.Generator().manual_seed(index)
        return torch.randn(6, generator=generator), torch.tensor(index % 3)

def job():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
    return Job(name="small", model=model, objective=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
               data=Data(), optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9), batch_size=8, micro_batches=2,
               epochs={epochs}, seed=3, clip_norm=1.0)
"""


def write_job(folder: Path, trouble: str = "pass", epochs: int = 1) -> Path:
    """Write a small job file; ``trouble`` is a statement in ``__getitem__``."""
    path = folder / "job.py"
    path.write_text(JOB_FILE.format(trouble=trouble, epochs=epochs))
    return path


def hand_in(home: Path, path: Path, output: Path | None = None) -> JobSpec:
    """Capture a job file and write its spool, as ``edged train`` does."""
    feeder = {"path": str(path), "function": "job", "set": {}}
    return submit(load(f"{path}:job"), home, feeder, output, source=OWN)


def plan_of(spec: JobSpec, *cuts: int) -> Plan:
    """One route over this node; every number in ``cuts`` begins a new hop."""
    starts = (0, *cuts)
    ends = (*cuts, len(spec.layers))
    hops = tuple(Hop(OWN, start, end - 1, 2) for start, end in zip(starts, ends, strict=True))
    route = Route(hops, tuple(range(spec.micro_batches)))
    return Plan(Stamp(spec.job, 1, 1), "test", "by hand", len(spec.layers), spec.micro_batches, (route,), 0.0)


class Bench:
    """One node without a core. Open it with ``async with``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.events: list[Event] = []
        self.messages: list[tuple[NodeId, Message]] = []
        self.parcels: list[tuple[NodeId, Parcel]] = []
        self.problems: list[str] = []
        self.thread = ComputeThread()
        self._news = asyncio.Event()
        self.shelf = Shelf()
        self.tell: Callable[[NodeId, Message], None] = lambda _to, _message: None
        self.carry: Callable[[NodeId, Parcel, Any], None] = lambda _to, _header, _buffers: None
        self.wants: Callable[[Parcel], bool] = lambda _header: True
        device = Device("cpu", 1, 1.0, 10**9)
        self.engine = Engine(self.thread, device.executor)
        self.disk, self.snapshots = Disk(), Snapshots()
        self.worker = Worker(
            OWN,
            self.engine,
            self.shelf,
            self.snapshots,
            self.post,
            self.send_parcel,
            lambda _sender, header: self.wants(header),
        )
        self.specs: dict[JobId, JobSpec] = {}
        self.copies = Copies(home, self.disk, self.specs.get, self.post, self._send)
        socket = home / "node.sock"
        self.source = Source(
            home, socket, self.engine, self.worker, self.shelf, self.copies, self.post, self._send, self.send_parcel
        )
        self.keeper = Keeper(
            self.engine,
            self.disk,
            Store(home),
            self.snapshots,
            self.worker,
            self.source,
            self.post,
            self._send,
            self.send_parcel,
            self._drop_parcels,
        )
        commands = NodeCommands("test", None, self.source, None, self.post, None, None)
        self.server = LocalServer(socket, commands)
        self._table = {**self.worker.table(), **self.source.table(), **self.keeper.table()}

    async def __aenter__(self) -> Self:
        await self.server.open()
        self.disk.start()
        self.thread.start()
        self.worker.start(lambda _executor: (1.0, "cpu"), lambda: 10**9, self.problems.append)
        async with asyncio.timeout(60):
            while not any(isinstance(event, SelfMeasured) for event in self.events):  # else nothing fits in here
                assert not self.problems, self.problems
                self._news.clear()
                await self._news.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()
        await self.source.close()
        self.copies.close()
        assert self.thread.stop()
        assert self.disk.stop()

    def post(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def send_parcel(self, to: NodeId, header: Parcel, buffers: Any) -> None:
        self.parcels.append((to, header))
        self.carry(to, header, buffers)
        if to == OWN:
            assert not self.wants(header) or self.worker.expects(to, header), f"{header} would have been dropped"
            self.worker.take(to, header, buffers, lambda: self.post(ParcelArrived(to, header)))

    def do(self, effect: Effect) -> None:
        """Perform one effect."""
        self._table[type(effect)](effect)

    async def until(self, kind: type[E], condition: Callable[[E], bool] = lambda _event: True) -> E:
        """Wait for an event and take it off the list."""
        async with asyncio.timeout(60):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and condition(event):
                        self.events.remove(event)
                        return event
                self._news.clear()
                await self._news.wait()

    async def turn(self) -> None:
        """Let the loop take what other threads have handed to it."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _drop_parcels(self, predicate: Callable[[Parcel], bool], *, to: NodeId, begun: bool) -> None:
        """What has been sent here waits for ever, and none of it has begun to travel."""
        assert not begun
        self.parcels = [(node, header) for node, header in self.parcels if node != to or not predicate(header)]

    def _send(self, to: NodeId, message: Message) -> None:
        self.messages.append((to, message))
        self.tell(to, message)
