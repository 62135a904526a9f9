"""``--tensorboard DIR``: what is followed is also written down for TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edged.errors import ConfigError

if TYPE_CHECKING:
    from edged.cli.event_file import EventFile

TensorBoardOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Also write curves and events for TensorBoard; needs `pip install tensorboard`."),
]
Record = Callable[[Mapping[str, Any]], None]


@contextmanager
def recording(folder: Path | None) -> Iterator[Record]:
    """Give what takes each object of a followed job: into a new event file in ``folder``, or nowhere.

    Raises ``ConfigError`` if the extra is not installed, or a file cannot be made there.
    """
    if folder is None:
        yield lambda _event: None
        return
    try:
        from edged.cli.event_file import EventFile
    except ImportError as error:
        raise ConfigError(f"--tensorboard needs TensorBoard ({error}): type `pip install tensorboard`") from error
    try:
        file = EventFile(folder.expanduser())
    except OSError as error:
        raise ConfigError(f"--tensorboard {folder}: {error.strerror}: name another folder") from error
    with file:
        yield _Recorder(file)


class _Recorder:
    """Writes until that fails, which is said once: what is written down must not end what is followed."""

    def __init__(self, file: EventFile) -> None:
        self._file = file
        self._failed = False

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self._failed:
            return
        try:
            self._file.show(event)
        except OSError as error:
            self._failed = True
            print(f"edged: {self._file.path}: {error.strerror}; going on without it", file=sys.stderr, flush=True)
