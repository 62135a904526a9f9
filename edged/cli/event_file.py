"""A followed job as TensorBoard shows it: curves and notes in one event file.

Needs the extra ``edged[tensorboard]``: without it this module cannot be imported, so that is done where a user asks for
it. The form is that of ``torch.utils.tensorboard``, which would bring torch along: following a job does without.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from edged.cli.progress import in_words

_FORM: Final = "brain.Event:2"
_CURVES: Final = ("loss", "learning_rate", "samples_per_second")


class EventFile:
    """One event file in a folder, written as the objects of ``edged train --json`` come.

    ::

        train/loss, train/learning_rate, train/samples_per_second     each step
        eval/loss, eval/NAME (of each metric)                         each evaluation, at the step after which it was
        events/plan, events/recovery, events/waiting, ...             texts: everything else, in words

    Each file says that curves begin anew with it: a job that is followed once more into the same folder does not double
    them.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder and begin a file. Raises ``OSError`` if that cannot be."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter(self.path.open("xb"))
        self._step = 0
        self._texts: dict[str, int] = {}
        self._write(Event(file_version=_FORM))
        self._write(Event(session_log=SessionLog(status=SessionLog.START)))  # what older files hold is past
        self._records.flush()

    def __enter__(self) -> Self:
        """Open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file. Whatever was shown is in it, or ``show`` has raised."""
        with suppress(OSError):
            self._records.close()

    def show(self, event: Mapping[str, Any]) -> None:
        """Write one object; it can be read when this returns. Raises ``OSError`` if the disk refuses."""
        if event["event"] == "step":
            self._step = event["step"]
            self._curves({f"train/{name}": event[name] for name in _CURVES})
        elif event["event"] == "eval":
            self._curves({"eval/loss": event["loss"]})
            self._curves({f"eval/{name}": value for name, value in event["metrics"].items() if name != "loss"})
        else:
            self._text(event)
        self._records.flush()

    def _curves(self, points: Mapping[str, float | None]) -> None:
        """One point on each curve; what is no finite number has none."""
        values = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in points.items()
            if value is not None and math.isfinite(value)
        ]
        if values:
            self._write(Event(step=self._step, summary=Summary(value=values)))

    def _text(self, event: Mapping[str, Any]) -> None:
        """A note at this step, or a later one: of two notes of one kind at one step only the last would be shown."""
        tag = f"events/{event['event']}"
        step = self._texts[tag] = max(self._step, self._texts.get(tag, -1) + 1)
        metadata = SummaryMetadata(
            plugin_data=SummaryMetadata.PluginData(plugin_name="text"), data_class=DATA_CLASS_TENSOR
        )
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        text = TensorProto(dtype=DT_STRING, string_val=[in_words(event).encode()], tensor_shape=shape)
        value = Summary.Value(tag=tag, metadata=metadata, tensor=text)
        self._write(Event(step=step, summary=Summary(value=[value])))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
