"""Copies of live state, exactly at one version, between two computations: on demand, and when a snapshot is due."""

from __future__ import annotations

from edged.core.effects import Effect, SendMessage, SendState, TakeSnapshot
from edged.core.ids import NodeId, Stamp
from edged.core.messages import Refused, WantState
from edged.core.plan import layers_in_words


class Snapshots:
    """When this node copies its own layers: at the version it begins with, and at each that ``every`` divides.

    All nodes of a plan follow the same rule, so they copy the same versions. ``every`` is 0 (never) until the leader
    has told it.
    """

    def __init__(self, stamp: Stamp, start: int) -> None:
        """The plan begins at version ``start``."""
        self.every = 0
        self._stamp = stamp
        self._start = start
        self._newest = -1

    def serve(self, version: int, layers: tuple[tuple[int, int], ...]) -> list[Effect]:
        """Copy these layers, which nothing has trained from yet, once, if this version is one to be kept."""
        due = version == self._start or (self.every > 0 and version % self.every == 0)
        if not due or version == self._newest:
            return []
        self._newest = version
        return [TakeSnapshot(self._stamp, first, last, version) for first, last in layers]


class Copying:
    """Remembers who wants which layers at which version.

    A want is met when this node is at that version and has not begun to train from it (a training forward already moves
    the statistics of batch norm). A repeated want is met only once: a copy is on its way, unless it was ``lost``.
    """

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self._waiting: list[tuple[NodeId, WantState]] = []
        self._met: set[tuple[NodeId, WantState]] = set()

    def ask(self, sender: NodeId, want: WantState) -> None:
        """Somebody wants layers; a repetition changes nothing."""
        if (sender, want) not in self._met and (sender, want) not in self._waiting:
            self._waiting.append((sender, want))

    def lost(self, node: NodeId) -> None:
        """What was on its way to this node may not have arrived: it may ask again."""
        self._met = {(asker, want) for asker, want in self._met if asker != node}

    def serve(self, version: int, *, trains: bool) -> list[Effect]:
        """Copy for those whose version this is, refuse those who come too late. Nothing may be computing."""
        effects: list[Effect] = []
        still: list[tuple[NodeId, WantState]] = []
        for sender, want in self._waiting:
            if want.version > version:
                still.append((sender, want))
            elif want.version < version or trains:
                what = layers_in_words(want.first_layer, want.last_layer)
                reason = f"version {want.version} of {what} has been trained on"
                effects.append(SendMessage(sender, Refused(want.stamp.job, reason, want.version)))
            else:
                self._met.add((sender, want))
                effects.append(SendState(sender, want.stamp, want.first_layer, want.last_layer, want.version))
        self._waiting = still
        return effects
