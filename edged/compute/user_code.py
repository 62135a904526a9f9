"""The border to the user's own code: whatever it raises comes out as one ``JobError`` in one sentence."""

from __future__ import annotations

import traceback
from types import TracebackType

from edged.errors import JobError


class UserCode:
    """Runs the user's code: ``with UserCode("data[7]"): sample = data[7]``.

    Any exception inside becomes a ``JobError``: what was being done, the exception's own last line, and the line of the
    user's file. The original is its ``__cause__``. ``JobError`` passes as it is, and so do interrupts.
    """

    def __init__(self, what: str) -> None:
        """``what`` was being done, for the sentence."""
        self._what = what

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise ``JobError`` from whatever was raised."""
        if isinstance(error, Exception) and not isinstance(error, JobError):
            raise JobError(f"{self._what}: {last_line(error)}{_place(error)}") from error
        if isinstance(error, SystemExit):
            raise JobError(f"{self._what}: the program asked to exit (status {error.code}){_place(error)}") from error


def last_line(error: BaseException) -> str:
    """What stands at the end of the exception's traceback, on one line: ``ValueError: no such digit``."""
    return " ".join("".join(traceback.format_exception_only(error)).split())


def _place(error: BaseException) -> str:
    """Where in the user's code it happened: the innermost frame outside of installed packages, if there is one."""
    if isinstance(error, SyntaxError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and "<" not in f.filename and not _ours(f.filename)]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def _ours(filename: str) -> bool:
    return filename.startswith(__file__.rpartition("compute")[0])
