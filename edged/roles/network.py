"""The network performer: the effects that are one call of the transport."""

from __future__ import annotations

from edged.core.effects import Admit, Dismiss, ProbePort, SendMessage
from edged.roles.pump import Table
from edged.transport.interface import Transport


class Network:
    """Carries out what the core wants of the transport."""

    def __init__(self, transport: Transport) -> None:
        """Use ``transport``, which somebody else opens and closes."""
        self._transport = transport

    def table(self) -> Table:
        """Sending, admitting, dismissing, probing."""
        return {SendMessage: self._send, Admit: self._admit, Dismiss: self._dismiss, ProbePort: self._probe}

    def _send(self, effect: SendMessage) -> None:
        self._transport.send(effect.to, effect.message)

    def _admit(self, effect: Admit) -> None:
        self._transport.admit(effect.record)

    def _dismiss(self, effect: Dismiss) -> None:
        self._transport.dismiss(effect.node)

    def _probe(self, effect: ProbePort) -> None:
        self._transport.probe(effect.record)
