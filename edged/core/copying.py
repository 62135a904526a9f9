"""Copies of live state on demand: exactly at the version that was asked for, between two computations."""

from __future__ import annotations

from edged.core.effects import Effect, SendMessage, SendState
from edged.core.ids import NodeId
from edged.core.messages import Refused, WantState


class Copying:
    """Remembers who wants which layers at which version.

    A want is met when this node is at that version and has not begun to train from it (a training forward already moves
    the statistics of batch norm). A repeated want is met only once: a copy is on its way, and parcels are not lost.
    """

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self._waiting: list[tuple[NodeId, WantState]] = []
        self._met: set[tuple[NodeId, WantState]] = set()

    def ask(self, sender: NodeId, want: WantState) -> None:
        """Somebody wants layers; a repetition changes nothing."""
        if (sender, want) not in self._met and (sender, want) not in self._waiting:
            self._waiting.append((sender, want))

    def serve(self, version: int, *, trains: bool) -> list[Effect]:
        """Copy for those whose version this is, refuse those who come too late. Nothing may be computing."""
        effects: list[Effect] = []
        still: list[tuple[NodeId, WantState]] = []
        for sender, want in self._waiting:
            if want.version > version:
                still.append((sender, want))
            elif want.version < version or trains:
                reason = f"version {want.version} of layers {want.first_layer}..{want.last_layer} has been trained on"
                effects.append(SendMessage(sender, Refused(want.stamp.job, reason)))
            else:
                self._met.add((sender, want))
                effects.append(SendState(sender, want.stamp, want.first_layer, want.last_layer, want.version))
        self._waiting = still
        return effects
