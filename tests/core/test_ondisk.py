"""What lies on one disk, and what must stay there."""

from edged.core.messages import Holding, HoldingKind
from edged.core.ondisk import OnDisk
from edged.core.origins import UNKNOWN


def of_one_plan(*there):
    return dict.fromkeys(there, UNKNOWN)


def pieces(*versions):
    return of_one_plan(*((0, 1, version) for version in versions))


def write(disk, version, problem=""):
    assert disk.write(version, pieces(version))
    assert disk.outcome(version) is None
    disk.written(version, problem)


def test_what_is_stored_everywhere_outlives_all_that_is_written_until_a_newer_is():
    disk = OnDisk()
    write(disk, 16)
    disk.stored(16)
    for version in (32, 64, 80):
        write(disk, version)
        assert disk.pieces == pieces(16, version)
    disk.stored(80)
    write(disk, 96)
    assert disk.pieces == pieces(80, 96)


def test_while_something_is_written_only_that_is_sure_which_does_not_go_for_it():
    disk = OnDisk()
    write(disk, 16)
    disk.stored(16)
    write(disk, 48)
    assert disk.sure() == pieces(16, 48)
    assert disk.write(64, pieces(64))
    assert disk.sure() == pieces(16), "48 goes for 64, perhaps a moment ago"
    disk.written(64, "the disk is full")
    assert disk.sure() == pieces(16, 48), "nothing has changed"
    assert disk.write(48, of_one_plan((2, 3, 48)))
    assert disk.sure() == pieces(16, 48), "a version does not go for more of itself"
    assert disk.write(80, pieces(80))
    assert disk.sure() == pieces(16), "48 is made whole, and goes then"
    disk.written(48, "")
    disk.written(80, "")
    assert disk.sure() == disk.pieces == pieces(16, 80)


def test_a_write_under_way_spares_what_was_to_stay_when_it_began():
    disk = OnDisk()
    disk.found(Holding(0, 1, version, HoldingKind.DISK) for version in (0, 16))
    disk.stored(16)
    assert disk.write(32, pieces(32))
    disk.stored(0)  # says a new leader, who has not heard of 16
    assert disk.sure() == pieces(16)
    disk.written(32, "")
    assert disk.sure() == disk.pieces == pieces(16, 32)


def test_after_a_restart_nobody_knows_which_is_stored_everywhere_so_what_was_found_stays():
    disk = OnDisk()
    disk.found(Holding(0, 1, version, HoldingKind.DISK) for version in (16, 48))
    write(disk, 64)
    assert disk.pieces == pieces(16, 48, 64)
    disk.stored(64)
    write(disk, 80)
    assert disk.pieces == pieces(64, 80)


def test_what_is_newer_than_what_all_have_stays_until_that_is_passed():
    """The job began anew, and a device that was late may bring back what the rest of it."""
    disk = OnDisk()
    disk.found([Holding(0, 1, 96, HoldingKind.DISK)])
    for version in (0, 16, 32):
        write(disk, version)
        disk.stored(version)
        assert pieces(96, version).keys() <= disk.pieces.keys()
    write(disk, 112)
    disk.stored(112)
    write(disk, 128)
    assert disk.pieces == pieces(112, 128)


def test_what_a_job_was_put_down_at_stays_but_never_more_than_three_are_there():
    disk = OnDisk()
    for version in (16, 32, 48, 64):
        write(disk, version)
        disk.stay(version)
        assert len(disk.pieces) <= 3
    assert disk.pieces == pieces(16, 48, 64)


def test_a_full_disk_is_told_and_not_tried_again_with_the_same_version():
    disk = OnDisk()
    write(disk, 16)
    write(disk, 32, "the disk is full")
    assert disk.outcome(32) == "the disk is full"
    assert disk.pieces == pieces(16)
    assert not disk.write(32, pieces(32))
    write(disk, 48)
    assert disk.outcome(48) == ""


def test_of_a_version_that_was_never_here_there_is_nothing_to_tell():
    assert OnDisk().outcome(16) is None


def test_what_comes_while_the_rest_of_its_version_is_being_written_is_written_after_that():
    disk = OnDisk()
    assert disk.write(16, of_one_plan((0, 1, 16)))
    assert not disk.write(16, of_one_plan((0, 1, 16), (2, 2, 16)))
    assert disk.written(16, "")
    assert disk.pieces == of_one_plan((0, 1, 16))
    assert disk.outcome(16) is None
    assert not disk.written(16, "")
    assert disk.pieces == of_one_plan((0, 1, 16), (2, 2, 16))
    assert disk.outcome(16) == ""


def test_what_came_later_does_not_lie_there_because_the_rest_does():
    disk = OnDisk()
    assert disk.write(16, of_one_plan((0, 1, 16)))
    assert not disk.write(16, of_one_plan((2, 2, 16)))
    assert disk.written(16, "")
    assert not disk.written(16, "the disk is full")
    assert disk.pieces == of_one_plan((0, 1, 16))
    assert disk.outcome(16) == "the disk is full"
    assert not disk.write(16, of_one_plan((0, 1, 16), (2, 2, 16)))


def test_a_full_disk_is_not_tried_in_turns_with_the_parts_of_a_version():
    disk = OnDisk()
    assert disk.write(16, of_one_plan((0, 1, 16)))
    assert not disk.write(16, of_one_plan((2, 2, 16)))
    assert disk.written(16, "the disk is full")
    assert not disk.written(16, "the disk is full")
    assert not disk.write(16, of_one_plan((0, 1, 16), (2, 2, 16)))


def test_an_older_version_is_not_written_again_behind_a_newer_that_would_go_for_it():
    disk = OnDisk()
    assert disk.write(16, of_one_plan((0, 1, 16)))
    assert not disk.write(16, of_one_plan((2, 2, 16)))
    assert disk.write(32, of_one_plan((0, 1, 32)))
    assert not disk.written(16, "")
    assert disk.outcome(16) == "another version is written instead"
    assert not disk.written(32, "")
    assert disk.outcome(32) == ""


def test_what_failed_of_a_version_is_known_although_another_has_failed_since():
    disk = OnDisk()
    assert disk.write(16, of_one_plan((0, 1, 16)))
    assert not disk.write(16, of_one_plan((2, 2, 16)))
    assert disk.write(32, of_one_plan((0, 1, 32)))
    disk.written(16, "")
    disk.written(32, "the disk is full")
    assert disk.outcome(16) == "another version is written instead"
    assert disk.outcome(32) == "the disk is full"
