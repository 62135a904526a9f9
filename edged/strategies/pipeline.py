"""One route over the members, in proportion to their speed and within their memory."""

from __future__ import annotations

from edged.core.ids import Stamp
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord
from edged.core.plan import Plan


def plan_pipeline(spec: JobSpec, members: tuple[MemberRecord, ...], stamp: Stamp) -> Plan:
    """Plan one route; raises ``PlanImpossibleError``."""
    raise NotImplementedError
