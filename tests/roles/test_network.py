"""The network performer: every effect is one call; a key that is none is no reason to stop."""

from __future__ import annotations

from typing import Any

import pytest

from edged.core.effects import Admit, Dismiss, ExchangeKey, Expel, ProbePort, SendMessage
from edged.core.messages import Ping
from edged.errors import ConfigError
from edged.roles.network import Network
from edged.transport.security import new_cluster_key, parse_token
from tests.core.records import member, node_id

RECORD = member(1)
QUESTION = Ping(1, node_id(1), ())


class Calls:
    """A transport that notes what it is asked for, and knows a key when it sees one."""

    def __init__(self) -> None:
        self.made: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str):
        def call(*arguments: Any) -> None:
            if name == "exchange_key":
                parse_token(*arguments)
            self.made.append((name, arguments))

        return call


def perform(effect) -> list[tuple[str, tuple[Any, ...]]]:
    calls = Calls()
    Network(calls).table()[type(effect)](effect)
    return calls.made


@pytest.mark.parametrize(
    ("effect", "made"),
    [
        (SendMessage(node_id(1), QUESTION), ("send", (node_id(1), QUESTION))),
        (Admit(RECORD), ("admit", (RECORD,))),
        (Dismiss(node_id(1)), ("dismiss", (node_id(1),))),
        (Expel(RECORD), ("expel", (RECORD,))),
        (ProbePort(RECORD), ("probe", (RECORD,))),
    ],
)
def test_an_effect_is_a_call(effect, made) -> None:
    assert perform(effect) == [made]


def test_a_key_becomes_text_and_neither_it_nor_nonsense_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    token = new_cluster_key()
    assert perform(ExchangeKey(token.encode())) == [("exchange_key", (token,))]
    with pytest.raises(ConfigError):
        parse_token("secret nonsense")
    assert perform(ExchangeKey(b"secret nonsense \xff")) == []
    assert token not in caplog.text
    assert "secret nonsense" not in caplog.text
