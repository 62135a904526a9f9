"""Bringing the whole model home: ``WantState`` to every hop of a route, at one version, until all parcels are here.

::

    result:  version = steps           every hop gets there, and stays
    export:  a version that no hop can have begun to train from yet; if one has all the same (the question was
             long on its way), it refuses, and a later version is chosen, twice as far ahead each time
    kept:    a version that every hop has copied; the job fails, and nothing else will come of it

A large hop is asked for in pieces: a source takes no parcel that exceeds its memory budget, and others may have a
larger one. It still holds the whole of the weights while it writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edged.core.effects import Effect, SendMessage, WriteWeights
from edged.core.ids import NodeId
from edged.core.inventory import pieces
from edged.core.job import JobSpec
from edged.core.messages import StateParcel, WantSnapshot, WantState
from edged.core.plan import Hop, Plan

REPEAT_SECONDS = 1.0

RESULT_TOKEN = 0
KEPT_TOKEN = -1


class Collecting:
    """At most one export and the result are under way; whoever asks while one is, shares it.

    The shell keeps the parcels of a version until those of a later version come, or the plan is dropped: an export that
    is asked for at the very end is written from the result's.
    """

    def __init__(self, plan: Plan, spec: JobSpec) -> None:
        """Nothing is being collected yet."""
        self._stamp = plan.stamp
        self._pieces = tuple(_pieces(plan, spec))
        self._steps = spec.steps
        self._tokens: dict[int, list[int]] = {}
        self._missing: dict[int, list[Hop]] = {}
        self._ahead = 1
        self._repeat_at: float | None = None
        self._kept: int | None = None

    def begin_result(self, now: float) -> list[Effect]:
        """Every step is done: collect the result."""
        return self._begin(self._steps, RESULT_TOKEN, now)

    def begin_kept(self, version: int, now: float) -> list[Effect]:
        """The job fails: collect what every hop has copied of this version. It is the newest for exports as well."""
        exports = list(self.tokens())
        self._tokens, self._missing, self._kept = {}, {}, version
        effects = self._begin(version, KEPT_TOKEN, now)
        self._tokens[version] = [*exports, KEPT_TOKEN]  # with which the job ends
        return effects

    def begin_export(self, token: int, newest: int, now: float) -> list[Effect]:
        """Somebody wants weights soon; training works up to version ``newest`` have been fed."""
        if self._kept is not None:
            return self._begin(self._kept, token, now)
        for version, missing in self._missing.items():
            if missing or version == self._steps:
                return self._begin(version, token, now)
        return self._begin(min(newest + self._ahead, self._steps), token, now)

    def tokens(self) -> tuple[int, ...]:
        """The exports that nothing has been written for yet."""
        return tuple(token for tokens in self._tokens.values() for token in tokens if token > RESULT_TOKEN)

    def refused(self, version: int, newest: int, now: float) -> list[Effect]:
        """A hop was past the export's version: choose one further ahead, once, whatever else is refused of that one."""
        if version >= self._steps or not self._missing.get(version):
            return []
        self._ahead *= 2
        del self._missing[version]
        tokens = self._tokens.pop(version)
        return [effect for token in tokens for effect in self.begin_export(token, newest, now)]

    def give_up(self) -> list[Effect]:
        """A part of an export cannot be taken: it is written as it is, and whoever asked hears what is missing."""
        given_up = [WriteWeights(self._stamp, v, token) for v, tokens in self._tokens.items() for token in tokens]
        self._tokens, self._missing = {}, {}
        return [*given_up]

    def arrived(self, version: int, first_layer: int, last_layer: int) -> list[Effect]:
        """A hop's state is here."""
        missing = self._missing.get(version)
        if not missing:
            return []
        missing[:] = [hop for hop in missing if (hop.first_layer, hop.last_layer) != (first_layer, last_layer)]
        return self._write(version)

    def lacks(self, version: int) -> bool:
        """Whether some hop's state at this version was asked for, and has not come."""
        return bool(self._missing.get(version))

    def expects(self, sender: NodeId, parcel: StateParcel) -> bool:
        """Whether this hop was asked for these layers at this version, and they have not come. Changes nothing."""
        missing = self._missing.get(parcel.version, ())
        return (
            parcel.stamp == self._stamp
            and not parcel.replica
            and any(
                (hop.node, hop.first_layer, hop.last_layer) == (sender, parcel.first_layer, parcel.last_layer)
                for hop in missing
            )
        )

    def remind(self, now: float) -> list[Effect]:
        """Ask again those whose state has not come; a hop meets a question only once."""
        if self._repeat_at is None or now < self._repeat_at:
            return []
        asked: list[Effect] = [self._ask(hop, version) for version, missing in self._missing.items() for hop in missing]
        self._repeat_at = now + REPEAT_SECONDS if asked else None
        return asked

    def deadline(self) -> float | None:
        """When to call ``remind``."""
        return self._repeat_at

    def _begin(self, version: int, token: int, now: float) -> list[Effect]:
        self._tokens.setdefault(version, []).append(token)
        if version in self._missing:
            return self._write(version)
        self._missing = {v: missing for v, missing in self._missing.items() if missing}
        self._missing[version] = list(self._pieces)
        self._repeat_at = now + REPEAT_SECONDS
        return [self._ask(hop, version) for hop in self._pieces]

    def _write(self, version: int) -> list[Effect]:
        if self._missing[version]:
            return []
        self._ahead = 1
        return [WriteWeights(self._stamp, version, token) for token in self._tokens.pop(version, [])]

    def _ask(self, hop: Hop, version: int) -> SendMessage:
        want = WantState if version != self._kept else WantSnapshot
        return SendMessage(hop.node, want(self._stamp, hop.first_layer, hop.last_layer, version))


def _pieces(plan: Plan, spec: JobSpec) -> Iterator[Hop]:
    """The hops of one route, those that are large in parts."""
    for hop in plan.routes[0].hops:
        for first, last in pieces(spec, hop.first_layer, hop.last_layer):
            yield replace(hop, first_layer=first, last_layer=last)
