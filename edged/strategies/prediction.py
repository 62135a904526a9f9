"""What a plan's step will take, by the figures of a situation."""

from __future__ import annotations

from edged.core.plan import Plan
from edged.core.situation import Situation
from edged.strategies.figures import Figures
from edged.strategies.rehearsal import STEPS, rehearse
from edged.strategies.steady import seconds_between
from edged.strategies.timing import road, step_seconds


def predicted_seconds(plan: Plan, situation: Situation) -> float:
    """Seconds of a step (of an asynchronous job: of a micro-batch) once the plan runs as it always will.

    ``timing`` says of one route what a rehearsal would.
    """
    if len(plan.routes) > 1:
        return rehearse(plan, situation).step_seconds
    (route,) = plan.routes
    figures = road(Figures(situation), [hop.node for hop in route.hops], [hop.first_layer for hop in route.hops])
    if situation.spec.asynchronous:
        return seconds_between(figures)
    return step_seconds(figures, [hop.window for hop in route.hops], plan.micro_batches, STEPS)
