"""The weights of the jobs that this node is the source of: the first ones handed out, the last ones written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edged.core.collecting import KEPT_TOKEN, RESULT_TOKEN
from edged.core.effects import SendFirstState, WriteWeights
from edged.core.events import HeldLost, WeightsWritten
from edged.core.ids import JobId, NodeId
from edged.core.messages import Holding, HoldingKind, Message, Refused, StateParcel
from edged.errors import JobError
from edged.roles.engine import Engine
from edged.roles.handed import Handed
from edged.roles.pump import Post, Table
from edged.roles.shelf import Shelf
from edged.roles.spool import copy_file, read_bytes
from edged.roles.worker import SendParcel, Worker
from edged.telemetry.logs import topic_logger

if TYPE_CHECKING:
    from edged.compute.executor import Executor
    from edged.compute.state import StateCopy


class Weights:
    """Reads first weights from the spool, writes results and exports."""

    def __init__(
        self,
        jobs: Mapping[JobId, Handed],
        engine: Engine,
        worker: Worker,
        shelf: Shelf,
        post: Post,
        send: Callable[[NodeId, Message], None],
        send_parcel: SendParcel,
    ) -> None:
        """``jobs``: those of the source, who changes them."""
        self._jobs = jobs
        self._engine = engine
        self._worker = worker
        self._shelf = shelf
        self._post = post
        self._send = send
        self._send_parcel = send_parcel

    def table(self) -> Table:
        """First state, result and exports."""
        return {SendFirstState: self._send_first_state, WriteWeights: self._write_weights}

    def _send_first_state(self, effect: SendFirstState) -> None:
        stamp, first, last = effect.stamp, effect.first_layer, effect.last_layer
        handed = self._jobs.get(stamp.job)
        if handed is None or not self.load_program(handed):
            self._lose_first(effect, "they are not here")
            return
        path = handed.spool.state

        def read(executor: Executor) -> StateCopy | str:
            try:
                return executor.first_state(stamp.job, path, first, last)
            except JobError as error:
                return str(error)

        def send(copy: StateCopy | str) -> None:
            if self._jobs.get(stamp.job) is not handed:
                return
            if isinstance(copy, str):
                self._lose_first(effect, copy)
            else:
                header = StateParcel(stamp, first, last, 0, copy.tensors, copy.extra, replica=False)
                self._send_parcel(effect.to, header, copy.buffers)

        def refuse(reason: str) -> None:
            if self._jobs.get(stamp.job) is handed:
                self._send(effect.to, Refused(stamp.job, reason, 0))  # no schedule hears of it yet

        self._engine.run(read, send, refuse)

    def _lose_first(self, effect: SendFirstState, reason: str) -> None:
        """Nobody is to ask for them again: what is newer and lies elsewhere may do."""
        job, first, last = effect.stamp.job, effect.first_layer, effect.last_layer
        self._post(HeldLost(job, Holding(first, last, 0, HoldingKind.FIRST), reason))
        self._send(effect.to, Refused(job, f"its first weights are lost: {reason}", 0))

    def _write_weights(self, effect: WriteWeights) -> None:
        stamp, token = effect.stamp, effect.token
        handed = self._jobs.get(stamp.job)
        gone = "the job's spool folder is gone"
        if handed is None:
            self._post(WeightsWritten(stamp, token, "", "", gone))
            return
        if not self.load_program(handed):
            self._written(handed, effect, handed.spool.folder, "", gone)
            return
        if token > RESULT_TOKEN and token not in handed.exports:
            return
        parcels = self._shelf.read(stamp, effect.version)
        own = {RESULT_TOKEN: handed.spool.result, KEPT_TOKEN: handed.spool.kept}
        path = own[token] if token in own else handed.exports[token][0]
        self._engine.run(
            lambda executor: executor.write_weights(stamp.job, parcels, path),
            lambda digest: handed.spawn(self._place(handed, effect, path, digest)),
            lambda reason: self._written(handed, effect, path, "", reason),
        )

    async def _place(self, handed: Handed, effect: WriteWeights, path: Path, digest: str) -> None:
        """Copy the result to where the user wants it; where that cannot be, it is safe in the home all the same."""
        place = path
        if effect.token == RESULT_TOKEN and handed.output is not None:
            try:
                await asyncio.to_thread(copy_file, path, handed.output)
                place = handed.output
            except OSError as error:
                topic_logger("source").warning(
                    "job %s: cannot write %s: %s; the weights are in %s", handed.spec.name, handed.output, error, path
                )
        self._written(handed, effect, place, digest, "")

    def _written(self, handed: Handed, effect: WriteWeights, output: Path, digest: str, problem: str) -> None:
        self._post(WeightsWritten(effect.stamp, effect.token, str(output), digest, problem))
        _, future = handed.exports.pop(effect.token, (None, None))
        if future is None or future.done():
            return
        if problem:
            future.set_exception(JobError(problem))
        else:
            answer: dict[str, object] = {"job": handed.spec.job, "output": str(output)}
            future.set_result({**answer, "step": effect.version, "state_sha256": digest})

    def load_program(self, handed: Handed) -> bool:
        """Load a job's program unless it is loaded; whether it is in the spool."""
        data = read_bytes(handed.spool.program)
        if data is None:
            return False
        self._worker.load_program(handed.spec.job, data, lambda: None)
        return True
