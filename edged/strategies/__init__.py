"""Planners: profiles in, a plan out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edged.core.ids import Stamp
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord
from edged.core.plan import Plan
from edged.strategies.apart import Apart
from edged.strategies.pipeline import plan_pipeline

Planner = Callable[[JobSpec, tuple[MemberRecord, ...], Stamp, Apart], Plan]
"""``planner(spec, members, stamp, apart)``; raises ``PlanImpossibleError`` with the numbers."""

PLANNERS: Mapping[str, Planner] = MappingProxyType({"auto": plan_pipeline, "pipeline": plan_pipeline})
"""Every strategy that a job may name."""
