"""The stages of the one procedure that puts a plan in force, and what leads from one to another.

::

             all are heard        planned          all prepared        progress
    FENCE -----------------> PLAN -------> TRANSFER -----------> RESUME -------> RUN <--+ no step is left
    ^ ^ |  lacking            |                                    ^              |     |
    | | +----------> WAIT <---+ no plan                            | told         +-> DRAIN -+
    | +---- retry ---+                                             |        a change         |
    |                                                            ADOPT                       |
    +------ trouble at PLAN, TRANSFER, RESUME, RUN, DRAIN, ADOPT; or drained ----------------+

    OVER: an end (result, stop, failure) at any stage; a pause at FENCE or WAIT; at ADOPT, if nobody tells the plan

``TABLE`` is the truth of this picture: what is not listed cannot happen. The start of a job, a death, a departure, a
newcomer, a device that has changed, a pause and a change of leader all go through these stages. A planned change comes
by DRAIN, so that all nodes stand between two steps and nothing is rolled back; any trouble at any stage goes to FENCE,
with one version more. Before a job stands, what only leaving nodes hold of it goes to others: from TRANSFER, where all
are prepared and nobody has begun, back to FENCE (drained).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Stage(Enum):
    """Where the procedure stands."""

    FENCE = "fence"
    """Older plans are being stopped; everyone says what it holds."""

    PLAN = "plan"
    """The planner thinks."""

    WAIT = "wait"
    """For something that the job's record names."""

    ADOPT = "adopt"
    """A new leader knows that the job runs, and not yet by which plan."""

    TRANSFER = "transfer"
    """The plan's nodes fetch layers and build."""

    RESUME = "resume"
    """Everyone is told to go on; nothing is done yet."""

    RUN = "run"
    """Steps are being done."""

    DRAIN = "drain"
    """The step under way is finished, and no other begun."""

    OVER = "over"
    """The job has ended, or is paused."""


class Turn(Enum):
    """What has happened, in the procedure's own words."""

    GATHERED = "those who answered hold all that is needed"
    LACKING = "something is needed that nobody has"
    PLANNED = "there is a plan"
    UNPLANNED = "no plan is possible now"
    RETRY = "it is worth trying again"
    TOLD = "the plan that runs is known"
    PREPARED = "every node of the plan is ready"
    PROGRESS = "a step or an evaluation is done, or all stand behind one"
    CHANGE = "another plan is wanted while this one could go on"
    DRAINED = "all nodes stand between two steps"
    LAST = "no step is left"
    TROUBLE = "this plan cannot go on"
    SHELVED = "the job stands: it was asked to, or nobody knows it here"
    ENDED = "a failure, a stop or the result"


_ANYWHERE = {Turn.ENDED: Stage.OVER}
_PLANNED = {Turn.TROUBLE: Stage.FENCE, **_ANYWHERE}

TABLE: Mapping[Stage, Mapping[Turn, Stage]] = {
    Stage.FENCE: {Turn.GATHERED: Stage.PLAN, Turn.LACKING: Stage.WAIT, Turn.SHELVED: Stage.OVER, **_ANYWHERE},
    Stage.PLAN: {Turn.PLANNED: Stage.TRANSFER, Turn.UNPLANNED: Stage.WAIT, **_PLANNED},
    Stage.WAIT: {Turn.RETRY: Stage.FENCE, Turn.SHELVED: Stage.OVER, **_ANYWHERE},
    Stage.ADOPT: {Turn.TOLD: Stage.RESUME, Turn.SHELVED: Stage.OVER, **_PLANNED},
    Stage.TRANSFER: {Turn.PREPARED: Stage.RESUME, Turn.DRAINED: Stage.FENCE, **_PLANNED},
    Stage.RESUME: {Turn.PROGRESS: Stage.RUN, **_PLANNED},
    Stage.RUN: {Turn.PROGRESS: Stage.RUN, Turn.CHANGE: Stage.DRAIN, **_PLANNED},
    Stage.DRAIN: {Turn.PROGRESS: Stage.DRAIN, Turn.DRAINED: Stage.FENCE, Turn.LAST: Stage.RUN, **_PLANNED},
    Stage.OVER: {},
}
"""Stage -> turn -> next stage; an unlisted pair is an error."""

IN_FORCE = frozenset({Stage.RESUME, Stage.RUN, Stage.DRAIN})
"""The stages at which nodes work by a plan."""
