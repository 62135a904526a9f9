"""How often the state of all layers is copied: seldom enough to cost little, often enough that little is done again.

Every interval is a power of two, so that nodes that hear of a change late still share the coarser versions.
"""

from __future__ import annotations

import math

from edged.core.protection import Cost

SHARE = 0.02
"""Of the throughput, what copying may take at most."""

FAILURE_SECONDS = 3600.0
"""Mean time between failures, where nothing better is known."""

LEAST_COST_SECONDS = 1e-4
"""What a copy costs at least, however small it is: messages go round, the loop turns."""

BEHIND_SECONDS_PER_BYTE = 1e-8
"""What goes on behind a copy: it is encrypted, taken in elsewhere, digested and written.

Other threads do that, but where no core is idle it takes its time from computing: three nodes on two busy cores needed
0.18 s of processor time for 30 MB, of which every node sent its 10 MB to one or two others, so 0.09 s of both cores.
"""

LONGEST = 2**20
"""Steps; beyond that nobody waits."""


def interval(cost: Cost, step_seconds: float, failure_seconds: float = FAILURE_SECONDS) -> int:
    """Steps between two copies, a power of two.

    ``step_seconds``: how long a step takes without a copy. Young's formula gives the time between two copies for
    which copying and doing lost steps again cost least together: ``sqrt(2 * cost * mean time between failures)`` (J.
    W. Young, "A first order approximation to the optimum checkpoint interval", Communications of the ACM 17(9),
    1974). It is rounded to the nearest power of two, and then raised until copying takes at most ``SHARE`` of the
    time, also where all that goes on behind it takes its time from computing. 1 where a step takes no time that could
    be measured.
    """
    if not step_seconds > 0.0:
        return 1
    seconds = max(cost.seconds, LEAST_COST_SECONDS)
    young = math.sqrt(2.0 * seconds * failure_seconds) / step_seconds
    all_seconds = seconds + cost.size_bytes * BEHIND_SECONDS_PER_BYTE
    least = all_seconds * (1.0 - SHARE) / (SHARE * step_seconds)  # all / (all + n * step) <= SHARE
    chosen = max(round(math.log2(max(young, 1.0))), math.ceil(math.log2(max(least, 1.0))))
    return 1 << min(chosen, LONGEST.bit_length() - 1)
