"""One version at a time for all disks."""

import pytest

from edged.core.storing import LATE_SECONDS, Storing
from tests.core.job_sample import A, B, C

KEEPERS = {(0, 1): {A, B}, (2, 3): {B, C}}


@pytest.fixture
def storing():
    made = Storing()
    made.begin(16, KEEPERS, 0.0)
    return made


def hear(storing, *nodes, version=16, problem="", present=(A, B, C), now=1.0):
    for node in nodes:
        storing.hear(node, version, problem)
    storing.look(present, now)
    return storing.version, storing.stored


def test_a_version_is_stored_when_all_who_hold_it_have_written_it(storing):
    assert hear(storing, A, B) == (16, -1)
    assert hear(storing, C) == (-1, 16)


def test_nothing_newer_is_begun_before_that(storing):
    storing.begin(32, KEEPERS, 1.0)
    assert hear(storing, A, B, C) == (-1, 16)
    storing.begin(16, KEEPERS, 2.0)
    assert storing.version == -1
    storing.begin(48, KEEPERS, 2.0)
    assert storing.version == 48


def test_words_of_another_version_count_nothing(storing):
    assert hear(storing, A, B, C, version=0) == (16, -1)


def test_a_broken_disk_does_not_keep_back_what_lies_on_others(storing):
    hear(storing, C, problem="full")
    assert hear(storing, A, B) == (-1, 16)


def test_a_layer_that_lies_on_no_disk_keeps_the_older_version_and_the_next_is_tried(storing):
    hear(storing, B, C, problem="full")
    assert hear(storing, A) == (-1, -1)
    storing.begin(32, KEEPERS, 2.0)
    assert hear(storing, A, B, C, version=32) == (-1, 32)


def test_whoever_is_gone_is_not_waited_for(storing):
    assert hear(storing, A, B, present=(A, B)) == (-1, 16)


def test_a_very_slow_disk_is_waited_for_only_if_it_alone_has_layers(storing):
    assert hear(storing, A, now=LATE_SECONDS) == (16, -1)
    assert hear(storing, B, now=LATE_SECONDS - 1.0) == (16, -1)
    assert hear(storing, now=LATE_SECONDS) == (-1, 16)
