"""Held layers are cut, found and let go as values."""

import json
from dataclasses import replace

import pytest

from edged.core.ids import JobId, Stamp
from edged.errors import MalformedError
from edged.replication.snapshots import MOST_VERSIONS, HeldState, Snapshots, cut, held_of
from tests.replication.held import JOB, held, same


def names(part: HeldState) -> list[str]:
    return [spec.name for spec in part.tensors]


def test_a_cut_has_the_tensors_and_numbers_of_its_layers_and_shares_their_memory() -> None:
    whole = held()
    part = cut(whole, 4, 4)
    assert names(part) == ["parameter/a.w", "buffer/a.b", "optimizer/a.w/exp_avg"]
    assert part.buffers[0] is whole.buffers[0]
    assert (part.first_layer, part.last_layer, part.version) == (4, 4, 32)
    document, before = json.loads(part.extra), json.loads(whole.extra)
    assert document["entries"] == {"a.w": {"step": 3}}
    assert (document["group"], document["scheduler"]) == (before["group"], before["scheduler"])
    assert cut(whole, 4, 6) is whole


def test_cuts_of_cuts_are_cuts() -> None:
    whole = held()
    assert same(cut(cut(whole, 5, 6), 6, 6), cut(whole, 6, 6))
    assert cut(whole, 5, 5).tensors == ()
    assert sorted(names(cut(whole, 4, 5)) + names(cut(whole, 6, 6))) == sorted(names(whole))


def test_layers_that_are_not_held_cannot_be_cut_out() -> None:
    for first, last in ((3, 4), (6, 7), (5, 4)):
        with pytest.raises(MalformedError, match="are not in"):
            cut(held(), first, last)


@pytest.mark.parametrize(
    "extra",
    [
        b"",
        b"{",
        b"[]",
        b'{"entries": []}',
        b'{"entries": {}}',
        b'{"entries": {}, "layers": [[0, 1], []]}',
        b'{"entries": {}, "layers": [[0, 1], 5, [2, 3, 4, 5, 6, 7]]}',
        b'{"entries": {}, "layers": [[0, 1], [], [2, 3, 4, 5, 6, "7"]]}',
        b'{"entries": {}, "layers": [[0, 1], [1], [2, 3, 4, 5, 6, 7]]}',
        b'{"entries": {}, "layers": [[0, 1], [], [2, 3, 4, 5, 6, 7, 8]]}',
    ],
)
def test_a_replica_that_does_not_say_whose_tensors_are_whose_is_refused(extra: bytes) -> None:
    sound = held().parcel(Stamp(JOB, 1, 1), replica=True)
    assert same(held_of(sound, held().buffers), held())
    with pytest.raises(MalformedError):
        held_of(replace(sound, extra=extra), held().buffers)
    with pytest.raises(MalformedError, match="buffers"):
        held_of(sound, held().buffers[1:])


def test_the_smallest_holding_that_has_the_layers_is_found() -> None:
    snapshots = Snapshots()
    assert snapshots.find(JOB, 32, 4, 4) is None
    low, high = cut(held(), 4, 5), cut(held(), 5, 6)
    snapshots.put(low)
    snapshots.put(high)
    assert snapshots.find(JOB, 32, 6, 6) is high
    assert snapshots.find(JOB, 32, 4, 5) is low
    assert snapshots.find(JOB, 32, 4, 6) is None
    assert snapshots.find(JOB, 33, 4, 4) is None
    assert snapshots.at(JOB, 32) == (low, high)
    assert snapshots.size_bytes == low.size_bytes + high.size_bytes


def test_no_layer_is_held_twice_where_one_has_all_of_another() -> None:
    freed: list[int] = []
    snapshots = Snapshots(lambda buffers: freed.append(sum(buffer.nbytes for buffer in buffers)))
    whole, low, high = held(), cut(held(), 4, 4), cut(held(), 5, 6)
    snapshots.put(low)
    snapshots.put(high)
    snapshots.put(high)
    snapshots.put(whole)
    assert snapshots.at(JOB, 32) == (whole,)
    snapshots.put(low)
    assert snapshots.at(JOB, 32) == (whole,)
    assert sorted(freed) == sorted([0, low.size_bytes, high.size_bytes, low.size_bytes])
    snapshots.put(held())
    assert snapshots.size_bytes == whole.size_bytes
    assert freed[-1] == whole.size_bytes
    assert snapshots.find(JOB, 32, 5, 6) is not None


def test_versions_that_nobody_lets_go_do_not_pile_up() -> None:
    snapshots = Snapshots()
    for version in [*range(20), 5, 4]:
        snapshots.put(held(version))
    kept = [version for version in range(20) if snapshots.at(JOB, version)]
    assert kept == [4, 5, *range(20 - MOST_VERSIONS + 2, 20)]


def test_what_is_let_go_is_gone_and_nothing_else() -> None:
    snapshots, other = Snapshots(), JobId("0" * 12)
    for version in (1, 2, 3):
        snapshots.put(held(version))
    snapshots.put(held(2, job=other))
    snapshots.drop(JOB, (2, 9))
    assert [bool(snapshots.at(JOB, version)) for version in (1, 2, 3)] == [True, False, True]
    snapshots.drop_job(JOB)
    assert snapshots.size_bytes == held().size_bytes
    assert len(snapshots.at(other, 2)) == 1


@pytest.mark.parametrize(
    "extra", [b"[" * 100_000, b'{"entries": ' * 5000, b"\xff\xfe", b""], ids=["[", "{", "bytes", "none"]
)
def test_what_is_buried_in_brackets_is_malformed(extra: bytes) -> None:
    """A member may send it as a replica; it must not end the node that was to hold it."""
    with pytest.raises(MalformedError):
        held_of(replace(held(), extra=extra).parcel(Stamp(JOB, 1, 1), replica=True), held().buffers)
