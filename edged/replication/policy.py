"""How often the state of all layers is copied: seldom enough to cost little, often enough that little is done again.

Every interval is a power of two, so that nodes that hear of a change late still share the coarser versions.
"""

from __future__ import annotations

import math

SHARE = 0.02
"""Of the throughput, what copying may take at most."""

FAILURE_SECONDS = 3600.0
"""Mean time between failures, where nothing better is known."""

LEAST_COST_SECONDS = 1e-4
"""What a copy costs at least, however small it is: messages go round, the loop turns."""

LONGEST = 2**20
"""Steps; beyond that nobody waits."""


def interval(cost_seconds: float, step_seconds: float, failure_seconds: float = FAILURE_SECONDS) -> int:
    """Steps between two copies, a power of two.

    ``cost_seconds`` is how long one copy keeps a node from computing, ``step_seconds`` how long a step takes without
    it. Young's formula gives the time between two copies for which copying and doing lost steps again cost least
    together: ``sqrt(2 * cost * mean time between failures)`` (J. W. Young, "A first order approximation to the optimum
    checkpoint interval", Communications of the ACM 17(9), 1974). It is rounded to the nearest power of two, and then
    raised until copying takes at most ``SHARE`` of the time. 1 where a step takes no time that could be measured.
    """
    if not step_seconds > 0.0:
        return 1
    cost = max(cost_seconds, LEAST_COST_SECONDS)
    young = math.sqrt(2.0 * cost * failure_seconds) / step_seconds
    least = cost * (1.0 - SHARE) / (SHARE * step_seconds)  # cost / (cost + n * step) <= SHARE
    chosen = max(round(math.log2(max(young, 1.0))), math.ceil(math.log2(max(least, 1.0))))
    return 1 << min(chosen, LONGEST.bit_length() - 1)
