"""What a node says of its own slowness: as it worked; and while it has no layers, as calibrations show it changing.

Work shows more than a calibration does: a busy memory, a loop that wants the processor too. So the first calibration
after work tells how the two differ on this node, and later ones are read with that in mind. A node that
was left out for its slowness is noticed when it is fast again, and is not taken for faster than it will be at work.
"""

from __future__ import annotations

from edged.core.ids import JobId

MOST_BIAS = 1.5
"""Work takes at most so many times what a calibration says, and at least the reciprocal.

Else the device has changed in between, and how the two differ is not known."""


class Speed:
    """One node's slowness for one job, relative to the source's profile of it; 0.0 while nothing is known."""

    def __init__(self) -> None:
        """Nothing is known."""
        self.job = JobId("")
        self.slowness = 0.0
        self._bias: float | None = 1.0

    def worked(self, job: JobId, slowness: float) -> None:
        """So slow was the work for this job (see ``gauge.py``)."""
        self.job, self.slowness, self._bias = job, slowness, None

    def calibrated(self, job: JobId, slowness: float) -> None:
        """So slow is a calibration without layers of this job, relative to the source's one."""
        if job != self.job:
            self.job, self._bias = job, 1.0
        if self._bias is None:
            ratio = self.slowness / slowness
            self._bias = ratio if 1.0 / MOST_BIAS <= ratio <= MOST_BIAS else 1.0
        self.slowness = self._bias * slowness
