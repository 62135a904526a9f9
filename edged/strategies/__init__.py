"""Planners: what is known of job and cluster in, a plan out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edged.core.ids import Stamp
from edged.core.plan import Plan
from edged.core.situation import Situation
from edged.strategies.pipeline import plan_pipeline
from edged.strategies.spread import plan_equal, plan_spread

Planner = Callable[[Situation, Stamp], Plan]
"""``planner(situation, stamp)``; raises ``PlanImpossibleError`` with the numbers."""

PLANNERS: Mapping[str, Planner] = MappingProxyType(
    {"auto": plan_pipeline, "pipeline": plan_pipeline, "spread": plan_spread, "equal": plan_equal}
)
"""Every strategy that a job may name."""
