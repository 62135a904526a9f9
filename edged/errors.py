"""Every exception that edged raises, as one tree.

::

    EdgedError
    ├── UserError            the user can mend it; the message says how; no traceback unless --debug
    │   ├── JobError         the job file, the model, the data or the optimizer      (exit status 1)
    │   ├── ConfigError      an option, a variable, a key in config.toml, a path     (exit status 2)
    │   ├── NoNodeError      no node is running in this home                         (exit status 3)
    │   ├── KeyRefusedError  the cluster key was refused                             (exit status 4)
    │   ├── ExpelledError    the cluster does not want this node any more            (exit status 1)
    │   └── JobFailedError   a job that had been accepted could not be finished      (exit status 1)
    ├── PeerError            a peer's fault: drop the message, count it, tell membership
    │   ├── MalformedError   a frame that does not decode, or a field out of bounds
    │   └── ProgramRefusedError  a program with an unknown operation, wrong types or wrong shapes
    ├── ShortageError        this device has no memory left: it gives layers up, and lives
    └── BrokenInvariantError our own fault: crash, and let the others recover

Expected failures (a peer that dies, a transfer that breaks off) are events, not exceptions.
"""

from __future__ import annotations

from typing import Final

UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What taking a foreign JSON document apart raises, where it is none, or not of the form that it should have.

A wrong type, a field that is missing, ``Infinity`` for a whole number, a thousand brackets in each other.
"""

_MOST_LETTERS: Final = 200


def brief(error: Exception) -> str:
    """What one of ``UNREADABLE`` says, short: it may repeat what it could not read, which others have written."""
    text = str(error)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} …"


class EdgedError(Exception):
    """Anything that edged raises on purpose."""


class UserError(EdgedError):
    """Something that the user can mend; the message says what to do next."""

    exit_status = 1


class JobError(UserError):
    """The job cannot be run as it is written."""


class ConfigError(UserError):
    """An option, a variable or a path is wrong."""

    exit_status = 2


class NoNodeError(UserError):
    """No node is running in this home."""

    exit_status = 3


class KeyRefusedError(UserError):
    """The cluster refused the key."""

    exit_status = 4


class ExpelledError(UserError):
    """This node was shut out of its cluster for good."""


class JobFailedError(UserError):
    """An accepted job ended without a result."""


class PeerError(EdgedError):
    """A peer sent what it must not send."""


class MalformedError(PeerError):
    """A frame does not decode, or a field is out of its bounds."""


class ProgramRefusedError(PeerError):
    """A program is not made of allowed operations, or does not fit its own shapes."""


class ShortageError(EdgedError):
    """Memory was refused while this node computed. ``held_bytes``: what its computing held until then."""

    def __init__(self, reason: str, held_bytes: int) -> None:
        """``reason``: a sentence."""
        super().__init__(reason)
        self.held_bytes = held_bytes


class BrokenInvariantError(EdgedError):
    """A promise of the code to itself does not hold."""
