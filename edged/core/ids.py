"""Names of nodes, jobs and plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

NodeId = NewType("NodeId", str)
"""16 hexadecimal digits: a hash of the node's public key."""

JobId = NewType("JobId", str)
"""12 hexadecimal digits, drawn when the job is submitted."""

PROTOCOL_VERSION = 1
"""Number of the wire protocol; nodes with another number refuse each other, naming both."""


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """Identifies a plan. Every data message carries one; ``core/fence.py`` admits or drops by it.

    Stamps of one job are ordered by (term, version).
    """

    job: JobId
    term: int
    version: int
