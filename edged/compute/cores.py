"""How many threads compute, where nobody says it: a node and ``edged train --local`` choose alike.

Results agree bit for bit only where the numbers are equal. This module imports nothing of torch.
"""

from __future__ import annotations

import os


def compute_threads(wanted: int = 0) -> int:
    """As many as are ``wanted``; 0: as ``OMP_NUM_THREADS`` says, else one for each core that this process may use."""
    if wanted:
        return wanted
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # the others are for nested regions
    if first.isdecimal() and int(first):
        return int(first)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
