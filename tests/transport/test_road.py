"""Roads as libzmq sees them: dialled, lost, hung up, many at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edged.transport import sockets
from edged.transport.identity import Identity, load_identity
from edged.transport.road import Outcome, Road
from edged.transport.sockets import CONTROL_KIND, Socket, bound_router, new_context
from edged.transport.zap import Gate
from tests.transport.nodes import until

ROADS, ROUNDS = 20, 30


class Two:
    """This side, which dials, and the other, which can be bound and ended; each has a context of its own."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = new_context(), new_context()
        self.identity, self.server = self._identity(folder / "here"), self._identity(folder / "there")
        self.gate = Gate(self.there)
        self.gate.admit(self.identity.node, self.identity.public_key)
        self.outcomes: list[Outcome] = []

    @staticmethod
    def _identity(home: Path) -> Identity:
        home.mkdir()
        return load_identity(home)

    def bind(self) -> tuple[Socket, int]:
        keys = (self.server.public_key, self.server.secret_key)
        return bound_router(self.there, CONTROL_KIND, keys, "127.0.0.1", 0)

    def road(self, port: int) -> Road:
        road = Road(
            self.here,
            CONTROL_KIND,
            self.identity,
            self.server.public_key,
            on_up=lambda: None,
            on_down=self.outcomes.append,
            on_message=lambda _frames: None,
        )
        road.lead_to([("127.0.0.1", port)])
        road.want()
        return road

    def end(self) -> None:
        self.gate.close()
        for context in (self.here, self.there):
            context.destroy(linger=0)


def hang_up(roads: list[Road], seconds: float) -> None:
    """After a moment in which the loop hears of nothing, and libzmq of much."""
    time.sleep(seconds)
    for road in roads:
        road.close()


@pytest.mark.timeout(120)
async def test_hanging_up_just_when_the_other_side_ends_cuts_this_process_off_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libzmq's thread must never wait for a monitor that is gone: no handshake would come to its end any more."""
    monkeypatch.setattr(sockets, "HANDSHAKE_MILLISECONDS", 60_000)
    monkeypatch.setattr(sockets, "CONNECT_MILLISECONDS", 60_000)
    two = Two(tmp_path)
    for number in range(ROUNDS):
        socket, port = two.bind()
        roads = [two.road(port) for _ in range(ROADS)]
        await until(lambda: all(road.up for road in roads))  # noqa: B023 -- it is awaited here
        socket.close(linger=0)
        hang_up(roads, number % 10 * 0.00002)
    assert two.outcomes == [], "whoever hangs up hears of nothing, and nothing was in vain"
    two.end()


async def test_a_lost_road_is_told_once_and_can_be_dialled_again(tmp_path: Path) -> None:
    two = Two(tmp_path)
    socket, port = two.bind()
    road = two.road(port)
    await until(lambda: road.up)
    socket.close(linger=0)
    await until(lambda: not road.up)
    assert two.outcomes == [Outcome.LOST]
    socket, port = two.bind()
    road.lead_to([("127.0.0.1", port)])
    road.want()
    await until(lambda: road.up)
    assert two.outcomes == [Outcome.LOST]
    road.close()
    socket.close(linger=0)
    two.end()
