"""Two files that outlive a full disk: what it refuses waits, and what does not fit into memory is told as missing."""

import errno
import subprocess
from pathlib import Path

import pytest

from edged.telemetry import alternating
from edged.telemetry.alternating import RETRY_SECONDS, AlternatingFiles


class Disk:
    """A file that takes ``room`` bytes, and refuses as the system does: what fits of a write, then nothing."""

    def __init__(self, file, room):
        self.file = file
        self.room = room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = self.file.write(data[: self.room])
        self.room -= done
        return done

    def close(self):
        self.file.close()


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def line(number):
    return b"%06d\n" % number


def made(folder, *, room, file_bytes=10**6):
    clock = Clock()
    files = AlternatingFiles(folder, "x", file_bytes, b"%d missing\n".__mod__, clock)
    disk = files._file = Disk(files._file, room)
    return files, disk, clock


def test_what_a_full_disk_refused_is_written_in_its_order_when_there_is_room(tmp_path):
    files, disk, clock = made(tmp_path, room=17)  # in the midst of the third line
    for number in range(5):
        files.write(line(number))
    files.flush()
    path = tmp_path / "x-0.jsonl"
    assert path.read_bytes() == b"000000\n000001\n000"
    disk.room = 1000
    files.write(line(5))
    files.flush()
    assert path.stat().st_size == 17, "tried again too early"
    clock.now += RETRY_SECONDS
    files.flush()
    assert path.read_bytes() == b"".join(map(line, range(6)))
    files.write(line(6))
    files.close()
    assert path.read_bytes() == b"".join(map(line, range(7)))


@pytest.mark.parametrize("room", [14, 17], ids=["between two lines", "in the midst of one"])
def test_what_does_not_fit_into_memory_is_told_as_missing(tmp_path, monkeypatch, room):
    monkeypatch.setattr(alternating, "WAITING_BYTES", 70)
    files, disk, clock = made(tmp_path, room=room)
    files.write(line(0) + line(1) + line(2))
    files.flush()
    for number in range(3, 20):
        files.write(line(number))
        files.flush()
    disk.room = 1000
    clock.now += RETRY_SECONDS
    files.write(line(20))
    files.close()
    lines = (tmp_path / "x-0.jsonl").read_bytes().split(b"\n")
    assert lines[:2] == [b"000000", b"000001"]
    torn = lines[2:3] if room == 17 else []
    assert torn in ([], [b"000"])
    gap, *after = lines[2 + len(torn) : -1]
    lost = int(gap.removesuffix(b" missing"))
    assert after == [b"%06d" % number for number in range(2 + lost, 21)]
    assert lost >= 10


def test_the_files_take_turns_at_lines_and_after_a_refusal_as_well(tmp_path):
    files, disk, clock = made(tmp_path, room=24, file_bytes=30)
    for number in range(12):
        files.write(line(number))
    files.flush()
    disk.room = 1000
    clock.now += RETRY_SECONDS
    files.close()
    texts = [(tmp_path / name).read_bytes() for name in ("x-0.jsonl", "x-1.jsonl")]
    assert texts == [b"".join(map(line, range(10, 12))), b"".join(map(line, range(5, 10)))]


def test_a_file_that_cannot_be_made_is_tried_again(tmp_path):
    files, _, clock = made(tmp_path, room=1000, file_bytes=7)
    (tmp_path / "x-1.jsonl").mkdir()
    files.write(line(0) + line(1))
    files.flush()
    (tmp_path / "x-1.jsonl").rmdir()
    clock.now += RETRY_SECONDS
    files.close()
    assert (tmp_path / "x-1.jsonl").read_bytes() == line(1)


def test_a_real_disk_that_was_full(tmp_path):
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root, to mount a small disk")
    try:
        (tmp_path / "other").write_bytes(bytes(48 * 1024))
        clock = Clock()
        files = AlternatingFiles(tmp_path, "x", 10**6, b"%d missing\n".__mod__, clock)
        for number in range(5000):
            files.write(line(number))
        files.flush()
        assert (tmp_path / "x-0.jsonl").stat().st_size < 35000
        Path(tmp_path / "other").unlink()
        clock.now += RETRY_SECONDS
        files.close()
        assert (tmp_path / "x-0.jsonl").read_bytes() == b"".join(map(line, range(5000)))
    finally:
        subprocess.run(["umount", tmp_path], check=True)
