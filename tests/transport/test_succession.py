"""Who follows a process that is known: it is asked first, and its answer counts for nobody else."""

import dataclasses

import pytest

from edged.transport import succession
from edged.transport.identity import new_identity
from edged.transport.knocking import Finding, Finished
from edged.transport.succession import Succession
from tests.transport.nodes import build, until

HOSTS = ("192.0.2.1", "192.0.2.2")


class Knocked:
    """An attempt at a door that ends as the test says."""

    def __init__(self, address, done):
        self.address = address
        self.done = done
        self.closed = False

    def close(self):
        self.closed = True

    def end(self, finding, record=None):
        self.done(Finished(finding, self.address, record, ""))


class Place:
    """A succession whose doors, members and processes are the test's."""

    def __init__(self):
        self.newest = {}
        self.knocks = []
        self.told = []
        self.succession = Succession(self.newest, self.newest.__contains__, self._knock)

    def _knock(self, address, done):
        self.knocks.append(Knocked(address, done))
        return self.knocks[-1]

    def examine(self, record):
        """As a door does: who is not the second one is met."""

        def told(second):
            self.told.append((record.boot, second))
            if not second:
                self.newest[record.node] = record

        self.succession.examine(record, told)


@pytest.fixture
async def place(monkeypatch):
    monkeypatch.setattr(succession, "ANSWER_SECONDS", 3600.0)  # a test that needs silence says so
    there = Place()
    yield there
    there.succession.close()


def process(boot, identity=new_identity(), port=5000):  # noqa: B008 - one identity for all, on purpose
    record = build(identity=dataclasses.replace(identity, boot=boot)).own_record()
    return dataclasses.replace(record, addresses=HOSTS, control_port=port, bulk_port=port + 1, door_port=port + 2)


async def test_who_is_new_or_known_is_met_without_a_question(place):
    place.examine(process(4))
    place.examine(process(4))
    assert place.told == [(4, ""), (4, "")]
    assert not place.knocks


@pytest.mark.parametrize(("boot", "port"), [(3, 5000), (4, 6000)])
async def test_a_lower_boot_and_the_same_one_elsewhere_are_second_without_a_question(place, boot, port):
    place.newest[process(4).node] = process(4)
    place.examine(process(boot, port=port))
    assert "already runs" in place.told[0][1]
    assert not place.knocks


async def test_who_follows_a_process_that_answers_is_second(place):
    place.newest[process(4).node] = process(4)
    place.examine(process(5, port=6000))
    assert [knock.address for knock in place.knocks] == [(host, 5002) for host in HOSTS]
    place.knocks[0].end(Finding.UNREACHABLE)
    assert not place.told
    place.knocks[1].end(Finding.THERE, process(4))
    ((boot, second),) = place.told
    assert boot == 5
    assert "already runs at 192.0.2.1:5002" in second


async def test_who_follows_a_process_that_none_of_its_doors_knows_is_met(place):
    place.newest[process(4).node] = process(4)
    place.examine(process(5, port=6000))
    place.knocks[0].end(Finding.UNREACHABLE)
    place.knocks[1].end(Finding.THERE, process(1, new_identity()))  # somebody else has that address by now
    assert place.told == [(5, "")]


async def test_a_door_that_the_next_process_has_taken_ends_the_question_at_once(place):
    """A device that is started anew with fixed ports, and one address of which answers nobody, is not kept waiting."""
    place.newest[process(4).node] = process(4)
    place.examine(process(5))
    place.knocks[0].end(Finding.THERE, process(5))
    assert place.told == [(5, "")]
    assert all(knock.closed for knock in place.knocks[1:])


async def test_silence_is_waited_for_and_then_counts_as_gone(place, monkeypatch):
    monkeypatch.setattr(succession, "ANSWER_SECONDS", 0.05)
    place.newest[process(4).node] = process(4)
    place.examine(process(5, port=6000))
    await until(lambda: place.told)
    assert place.told == [(5, "")]
    assert all(knock.closed for knock in place.knocks)


@pytest.mark.parametrize("boots", [(5, 6), (6, 5), (5, 5)])
async def test_of_two_that_follow_one_that_is_gone_one_is_met_whatever_they_count(place, boots):
    place.newest[process(4).node] = process(4)
    for number, boot in enumerate(boots, 6):
        place.examine(process(boot, port=1000 * number))
    assert len(place.knocks) == len(HOSTS), "one question is asked for both"
    for knock in place.knocks[: len(HOSTS)]:
        knock.end(Finding.UNREACHABLE)
    for knock in place.knocks[len(HOSTS) :]:  # about the first, where the second says to follow it
        if not knock.closed:
            knock.end(Finding.THERE, process(boots[0], port=6000))
    assert place.told[0] == (boots[0], "")
    assert place.told[1][0] == boots[1]
    assert "already runs at 192.0.2.1:6002" in place.told[1][1]


async def test_a_closed_question_is_answered_to_nobody_and_may_be_asked_again(place):
    """A door that is shut for another key drops its questions; the one that opens then asks its own."""
    place.newest[process(4).node] = process(4)
    place.examine(process(5, port=6000))
    place.succession.close()
    assert all(knock.closed for knock in place.knocks)
    place.examine(process(5, port=6000))
    assert len(place.knocks) == 2 * len(HOSTS)
    for knock in place.knocks[len(HOSTS) :]:
        knock.end(Finding.UNREACHABLE)
    assert place.told == [(5, "")]
