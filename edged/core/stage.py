"""One hop's own order of work: backward first; forward while the window is open; ascending, always.

::

    works of a version:   E0 E1 | T0 T1 T2 T3 T4 ...        E evaluation: forward only     T training
                                       ^     ^
                                backward   forward          in flight: the training works between the two

Because both passes go through the same list in ascending order, two counters are the whole state. With windows P - h
this rule runs 1F1B (Narayanan et al., PipeDream, SOSP 2019, section 3.2; with the flush of PipeDream-Flush).
"""

from __future__ import annotations

from collections.abc import Sequence

from edged.core.dealing import Dealing, inputs_of
from edged.core.ids import NodeId
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Activation, Gradient, Inputs
from edged.core.plan import Plan
from edged.errors import BrokenInvariantError


class Stage:
    """What one hop has received and done; answers what it could do next.

    ``previous`` and ``next`` are the neighbours' nodes on the route, ``None`` at its ends.
    """

    def __init__(self, plan: Plan, spec: JobSpec, dealing: Dealing, route: int, index: int) -> None:
        """Hop number ``index`` of a route; ``begin`` tells it the version."""
        hops = plan.routes[route].hops
        self.route = route
        self.index = index
        self.hop = hops[index]
        self.previous: NodeId | None = hops[index - 1].node if index > 0 else None
        self.next: NodeId | None = hops[index + 1].node if index + 1 < len(hops) else None
        self.takes_inputs = inputs_of(spec, index, self.hop) is not None
        self._dealing = dealing
        self._version = 0
        self._works: Sequence[Work] = ()
        self._end = 0
        self._first_training = 0
        self._forward = 0
        self._backward = 0
        self._inputs: set[Work] = set()
        self._activations: set[Work] = set()
        self._gradients: set[Work] = set()

    def begin(self, version: int) -> None:
        """Go on with the works of this weight version."""
        works = self._dealing.works_of(version, self.route)
        self._first_training = sum(work.phase is Phase.EVALUATE for work in works)
        self._take(works, version, version + 1)

    def reach(self, version: int) -> None:
        """The update to this version is applied."""
        self.begin(version)

    def bound(self, version: int) -> None:
        """Nothing from this version on will come; a step that has begun is fed whole."""

    def _take(self, works: Sequence[Work], version: int, end: int) -> None:
        """Go on with these works, which are all that follow the route before version ``end``."""
        self._works, self._version, self._end = works, version, end
        self._forward = 0
        self._backward = self._first_training

    # ------------------------------------------------------------------------------------------- what arrives

    def refusal(self, sender: NodeId, source: NodeId, parcel: Inputs | Activation | Gradient) -> str:
        """Why this parcel cannot be right or is not waited for; empty if it is. Changes nothing."""
        match parcel:
            case Inputs() if sender != source or not self.takes_inputs:
                return "this hop gets no such inputs"
            case Activation() if sender != self.previous:
                return "it does not come from the hop before"
            case Gradient() if sender != self.next:
                return "it does not come from the hop behind"
        work = parcel.work
        if not self._version <= work.version <= self._version + self._dealing.ahead:
            return f"this hop is at version {self._version}"
        if not self._dealing.exists(work) or self._dealing.route_of(work) != self.route:
            return "no such work follows this route"
        if work in self._shelf(parcel):
            return "it is here already"
        if isinstance(parcel, Gradient):
            return "" if work in self._works[self._backward : self._forward] else "its forward is not in flight here"
        done = self._forward == len(self._works) or work < self._works[self._forward]
        return "it has been done" if work.version < self._end and done else ""

    def accept(self, parcel: Inputs | Activation | Gradient) -> None:
        """A parcel that is not refused has come."""
        self._shelf(parcel).add(parcel.work)

    def _shelf(self, parcel: Inputs | Activation | Gradient) -> set[Work]:
        match parcel:
            case Inputs():
                return self._inputs
            case Activation():
                return self._activations
            case Gradient():
                return self._gradients

    # ----------------------------------------------------------------------------------------- what can be done

    def next_backward(self) -> Work | None:
        """The training work whose backward can run now."""
        if self.in_flight == 0:
            return None
        work = self._works[self._backward]
        return work if self.next is None or work in self._gradients else None

    def next_forward(self) -> Work | None:
        """The work whose forward can run now."""
        if self._forward == len(self._works):
            return None
        work = self._works[self._forward]
        if work.phase is Phase.TRAIN and self.in_flight >= self.hop.window:
            return None
        if self.takes_inputs and work not in self._inputs:
            return None
        return work if self.previous is None or work in self._activations else None

    def start_forward(self, work: Work) -> None:
        """The forward of ``work`` begins; its inputs are used up."""
        if work != self._works[self._forward]:
            raise BrokenInvariantError(f"hop {self.index}: forward of {work}, not of {self._works[self._forward]}")
        self._forward += 1
        self._inputs.discard(work)
        self._activations.discard(work)

    def finish_backward(self, work: Work) -> None:
        """The backward of ``work`` is done; its place in the window is free."""
        if work != self._works[self._backward]:
            raise BrokenInvariantError(f"hop {self.index}: backward of {work}, not of {self._works[self._backward]}")
        self._backward += 1
        self._gradients.discard(work)

    # ------------------------------------------------------------------------------------------------- its state

    @property
    def in_flight(self) -> int:
        """Training works whose forward has begun and whose backward is not done."""
        return max(0, self._forward - self._backward)

    @property
    def trains(self) -> bool:
        """Whether a training forward of this version has begun: from then on buffers may have changed."""
        return self._forward > self._first_training

    @property
    def due(self) -> bool:
        """Whether nothing but an update can follow."""
        return self.finished

    @property
    def finished(self) -> bool:
        """Whether all works that it went on with are done."""
        return self._forward == self._backward == len(self._works)

    def check(self) -> None:
        """Counters in order, the window kept."""
        if not self._first_training <= self._backward <= len(self._works) or self._forward > len(self._works):
            raise BrokenInvariantError(f"hop {self.index}: counters out of order")
        if self.in_flight > self.hop.window:
            raise BrokenInvariantError(f"hop {self.index}: {self.in_flight} in flight, window {self.hop.window}")
