"""The feeder processes of a node: started, listened to, and none left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from edged.core.ids import JobId
from edged.roles.spool import Drawing
from edged.telemetry.logs import topic_logger

MODULE = "edged.feeder"
PIECE_BYTES = 2**16
OUTPUT_BYTES = 4000


class FeederProcesses:
    """All of them: each is held from the moment it is wanted until it has been collected, whoever gives up waiting."""

    def __init__(self, socket: Path) -> None:
        """``socket``: where feeders connect."""
        self._socket = socket
        self._starting: set[asyncio.Task[FeederProcess]] = set()
        self._ending: dict[FeederProcess, asyncio.Task[None]] = {}
        self._closed = False

    async def start(self, job: JobId, feeder: Drawing, spool: Path) -> FeederProcess:
        """Start the feeder of a job that was submitted in ``spool``. Raises ``OSError`` if that cannot be."""
        starting = asyncio.get_running_loop().create_task(self._start(job, feeder, spool))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return await asyncio.shield(starting)

    def kill(self) -> None:
        """End all at once: the process is about to end without a goodbye."""
        for process in self._ending:
            process.kill()

    async def close(self) -> None:
        """End all that run or are being started, and collect them."""
        self._closed = True
        await asyncio.gather(*self._starting, return_exceptions=True)
        self.kill()
        await asyncio.gather(*self._ending.values())

    async def _start(self, job: JobId, feeder: Drawing, spool: Path) -> FeederProcess:
        process = await FeederProcess.start(job, feeder, spool, self._socket)
        self._ending[process] = asyncio.get_running_loop().create_task(self._collect(process))
        if self._closed:
            process.kill()
        return process

    async def _collect(self, process: FeederProcess) -> None:
        await process.collect()
        del self._ending[process]


class FeederProcess:
    """The child that imports the user's job file, or reads a copy of its samples.

    It has a process group of its own: a terminal's Ctrl-C is the node's.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Wrap a process that ``start`` made."""
        self._process = process
        self._tail = b""
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def start(cls, job: JobId, feeder: Drawing, spool: Path, socket: Path, module: str = MODULE) -> FeederProcess:
        """Start the feeder of ``job``, submitted in ``spool``; it connects to the node's local ``socket`` by itself."""
        command = [sys.executable, "-m", module, "--socket", str(socket), "--job", job, "--submitted", str(spool)]
        command += feeder.arguments()
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            cwd=feeder.folder,
            env={**os.environ, "PYTHONPATH": path},
        )
        return cls(process)

    async def wait(self) -> str:
        """Wait for the end; returns one sentence about it."""
        await asyncio.wait({self._reading})  # by several at once, of which one may give up
        status = await self._process.wait()
        tail = self.last_line()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"the feeder {how}" + (f": {tail}" if tail else "")

    def last_line(self) -> str:
        """The last line that the feeder printed."""
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def output(self) -> str:
        """The end of what the feeder printed, on standard output or standard error."""
        return self._tail.decode(errors="replace")

    async def stop(self) -> None:
        """Kill the feeder and collect it."""
        self.kill()
        await self.collect()
        self._reading.cancel()  # what it had started may hold the pipe open

    async def collect(self) -> None:
        """Wait until the process is no more."""
        await self._process.wait()

    def kill(self) -> None:
        """Kill the feeder and the loader's workers in its group."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self) -> None:
        """Pass on what the user's code prints, line by line, and keep the end of it."""
        stream = self._process.stdout
        assert stream is not None
        begun = b""
        while piece := await stream.read(PIECE_BYTES):
            self._tail = (self._tail + piece)[-OUTPUT_BYTES:]
            *lines, begun = (begun + piece).split(b"\n")
            for line in lines:
                topic_logger("feeder").info("%s", line[-OUTPUT_BYTES:].decode(errors="replace"))
            begun = begun[-OUTPUT_BYTES:]
