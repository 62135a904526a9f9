"""The search for doors: members are never given up, and only a door that keeps refusing the key has another one."""

import asyncio
import contextlib
import itertools

import pytest

from edged.core.ids import NodeId
from edged.transport import road, search, sockets
from edged.transport.identity import new_identity
from edged.transport.knocking import Finding, Finished
from edged.transport.road import Attempt, Outcome
from edged.transport.search import Hint, Search
from edged.transport.security import parse_token
from edged.transport.sockets import DOOR_KIND, new_context
from tests.transport.nodes import KEY, PATIENCE_SECONDS, build, running

PLACE = ("192.0.2.1", 7000)
HOUR = 3600.0


class Knocked:
    def close(self) -> None:
        """Nothing is open."""


async def pauses_of(monkeypatch, hint, findings=(), seconds=HOUR):
    """Search behind one door that ends each attempt as told, then answers nothing; the pauses, and what was told."""
    left, pauses, told = list(findings), [], []
    wait = asyncio.Event()

    async def resolve(address):
        return [address[0]]

    async def sleep(pause):
        pauses.append(pause)
        if sum(pauses) > seconds:
            wait.set()
            await asyncio.Event().wait()

    def knock(address, done):
        done(Finished(left.pop(0) if left else Finding.UNREACHABLE, address, None, "why"))
        return Knocked()

    monkeypatch.setattr(search, "resolve", resolve)
    monkeypatch.setattr(search.asyncio, "sleep", sleep)
    looking = Search(knock, lambda node: False, told.append)
    looking.add(PLACE, NodeId("a" * 16), hint)
    (task,) = looking._tasks.values()
    ended = asyncio.create_task(wait.wait())
    await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    await looking.close()
    return pauses, told


async def test_a_remembered_member_is_looked_for_as_long_as_the_node_runs_ever_more_slowly(monkeypatch):
    pauses, told = await pauses_of(monkeypatch, Hint.MEMORY)
    assert sum(pauses) > HOUR
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0
    assert not told


async def test_hearsay_is_given_up_and_a_seed_never_nor_any_more_slowly(monkeypatch):
    pauses, told = await pauses_of(monkeypatch, Hint.HEARSAY)
    assert sum(pauses) < 70.0
    assert [one.finding for one in told] == [Finding.UNREACHABLE]
    pauses, told = await pauses_of(monkeypatch, Hint.SEED)
    assert sum(pauses) > HOUR
    assert max(pauses) == 5.0
    assert [one.finding for one in told] == [Finding.UNREACHABLE]


async def test_hearsay_of_a_door_that_refuses_in_words_is_not_given_up_while_it_does(monkeypatch):
    pauses, told = await pauses_of(monkeypatch, Hint.HEARSAY, [Finding.TWIN] * 100)
    assert [one.finding for one in told[:100]] == [Finding.TWIN] * 100
    assert 400.0 < sum(pauses) < 570.0  # then nobody answers: it ends


async def test_a_door_that_keeps_each_attempt_waiting_is_spoken_of_in_seconds_all_the_same(monkeypatch):
    moments = itertools.count(0, 3)  # an attempt takes three seconds, as one does that is not answered
    monkeypatch.setattr(search.time, "monotonic", lambda: float(next(moments)))
    pauses, told = await pauses_of(monkeypatch, Hint.SEED, seconds=1.0)
    assert len(told) == 1
    assert pauses[0] == 0.2


async def test_a_handshake_that_is_cut_now_and_then_is_no_proof_of_another_key(monkeypatch):
    cuts = [Finding.CUT, Finding.CUT, Finding.UNREACHABLE] * 20
    _, told = await pauses_of(monkeypatch, Hint.SEED, cuts)
    assert [one.finding for one in told] == [Finding.UNREACHABLE]


async def test_a_seed_that_breaks_off_a_handshake_is_told_to_do_so_and_no_more(monkeypatch):
    _, told = await pauses_of(monkeypatch, Hint.SEED, [Finding.UNREACHABLE] * 4 + [Finding.CUT], seconds=5.0)
    (one,) = told
    assert one.finding is Finding.UNREACHABLE
    assert one.reason == "192.0.2.1:7000 answers, but breaks the handshake off"


async def test_a_door_that_cuts_every_handshake_has_another_key(monkeypatch):
    pauses, told = await pauses_of(monkeypatch, Hint.SEED, [Finding.CUT] * 3, seconds=1.0)
    assert [(one.finding, one.reason) for one in told] == [(Finding.WRONG_KEY, "why")]
    assert len(pauses) == 3


@contextlib.asynccontextmanager
async def a_server(serve):
    """Where it listens; when it ends no connection is left, whoever was to close it."""
    writers = []

    async def served(reader, writer):
        writers.append(writer)
        with contextlib.suppress(OSError):
            await serve(reader, writer)

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        async with asyncio.timeout(PATIENCE_SECONDS):  # what it has accepted is served to its end
            while rest := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(rest)
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def outcome_at(place):
    context, told = new_context(), asyncio.get_running_loop().create_future()
    attempt = Attempt(
        context,
        DOOR_KIND,
        new_identity(),
        parse_token(KEY).door_public,
        place,
        lambda _, outcome: told.set_result(outcome),
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await told
    finally:
        attempt.close()
        context.destroy(linger=0)


async def cut(_reader, writer):
    writer.close()


async def silent(reader, writer):
    await reader.read()
    writer.close()


async def http(reader, writer):
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 8)
    await reader.read(1)


@pytest.mark.parametrize(("patience", "outcome"), [(20.0, Outcome.STRANGER), (0.0, Outcome.UNREACHABLE)])
async def test_who_cuts_a_handshake_at_once_may_be_a_stranger_and_who_does_so_late_is_slow(
    monkeypatch, patience, outcome
):
    monkeypatch.setattr(road, "PROMPT_SECONDS", patience)
    async with a_server(cut) as place:
        assert await outcome_at(place) is outcome


@pytest.mark.parametrize("serve", [silent, http])
async def test_a_handshake_that_runs_out_of_time_or_meets_no_node_tells_nothing_of_keys(monkeypatch, serve):
    monkeypatch.setattr(sockets, "HANDSHAKE_MILLISECONDS", 200)
    async with a_server(serve) as place:
        assert await outcome_at(place) is Outcome.UNREACHABLE


async def test_members_are_remembered_by_name_also_beside_entries_that_have_none(tmp_path):
    async with running(build("one")) as (one,):
        record = one.own_record()
        search.write_peers(tmp_path, [record])
        assert search.read_names(tmp_path) == {record.node: "one"}
        assert search.read_peers(tmp_path)[0][0] == record.node
    (tmp_path / "peers.json").write_text('[{"node": "a", "host": "192.0.2.1", "port": 7000}]', encoding="utf-8")
    assert search.read_names(tmp_path) == {}
    (tmp_path / "peers.json").write_text("{", encoding="utf-8")
    assert search.read_names(tmp_path) == {}
