"""What a node has told the source, and says again."""

from __future__ import annotations

from edged.core.account import Account
from edged.core.dealing import VERSIONS_AHEAD
from edged.core.job import Phase, Work
from edged.core.messages import Taken, Updated, WantProgress
from tests.core.miniature import SOURCE, STAMP


def work(version: int, m: int) -> Work:
    return Work(version, Phase.TRAIN, m)


def updated(version: int) -> Updated:
    return Updated(STAMP, 0, 0, version, 1.0, 0.1)


def test_only_the_newest_taken_of_each_route_is_said_again():
    account = Account(STAMP, SOURCE, VERSIONS_AHEAD)
    for m in range(4):
        account.taken(m % 2, work(0, m))
    again = account.again(WantProgress(STAMP, 0, work(0, 0)))
    assert [effect.message for effect in again] == [Taken(STAMP, work(0, 2)), Taken(STAMP, work(0, 3))]


def test_an_answer_is_bounded_and_begins_with_the_oldest():
    account = Account(STAMP, SOURCE, VERSIONS_AHEAD)
    for m in range(1000):
        account.result(work(0, m), 1.0, ())
    again = account.again(WantProgress(STAMP, 0, work(0, 300)))
    assert [effect.message.work.micro_batch for effect in again] == list(range(300, 556))


def test_without_questions_memory_stays_bounded():
    account = Account(STAMP, SOURCE, VERSIONS_AHEAD)
    for version in range(100):
        account.result(work(version, 0), 1.0, ())
        account.updated(updated(version + 1))
    again = account.again(WantProgress(STAMP, 0, work(0, 0)))
    assert len(again) <= 2 * 5
    assert again[-1].message == updated(100)
