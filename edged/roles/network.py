"""The network performer: the effects that are one call of the transport."""

from __future__ import annotations

from edged.core.effects import Admit, Dismiss, ExchangeKey, Expel, ProbePort, SendMessage
from edged.errors import ConfigError
from edged.roles.pump import Table
from edged.telemetry.logs import topic_logger
from edged.transport.interface import Transport


class Network:
    """Carries out what the core wants of the transport."""

    def __init__(self, transport: Transport) -> None:
        """Use ``transport``, which somebody else opens and closes."""
        self._transport = transport

    def table(self) -> Table:
        """Sending, admitting, dismissing, expelling, probing, exchanging the key."""
        return {
            SendMessage: self._send,
            Admit: self._admit,
            Dismiss: self._dismiss,
            Expel: self._expel,
            ExchangeKey: self._exchange_key,
            ProbePort: self._probe,
        }

    def _send(self, effect: SendMessage) -> None:
        self._transport.send(effect.to, effect.message)

    def _admit(self, effect: Admit) -> None:
        self._transport.admit(effect.record)

    def _dismiss(self, effect: Dismiss) -> None:
        self._transport.dismiss(effect.node)

    def _expel(self, effect: Expel) -> None:
        self._transport.expel(effect.record)

    def _exchange_key(self, effect: ExchangeKey) -> None:
        try:
            self._transport.exchange_key(effect.key.decode("ascii", "replace"))
        except ConfigError:  # from a peer; what is wrong with it could tell about it
            topic_logger("membership").warning("a peer handed out something that is no cluster key; the old one stays")
        else:
            topic_logger("membership").info("the cluster has a new key; `edged key show` prints it")

    def _probe(self, effect: ProbePort) -> None:
        self._transport.probe(effect.record)
