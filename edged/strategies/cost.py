"""What a stage costs on a node: seconds and bytes."""

from __future__ import annotations

from edged.errors import JobFailedError


class PlanImpossibleError(JobFailedError):
    """No plan exists for this job on these members; the message carries the numbers."""
