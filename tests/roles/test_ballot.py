"""The ballot: a vote outlives the process, and a full disk."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from edged.core.effects import SaveVote
from edged.core.ids import NodeId
from edged.core.lineage import fork
from edged.core.messages import Electorate
from edged.errors import ConfigError
from edged.roles.ballot import Ballot

ELECTORATE = Electorate("l1", 3, 2, (NodeId("a"), NodeId("b"), NodeId("c")))


@pytest.mark.parametrize(
    "vote",
    [
        SaveVote(3, NodeId("b"), ELECTORATE),
        SaveVote(4, None, None),
        SaveVote(9000, NodeId("a"), fork(ELECTORATE, "l2", 9000, (NodeId("a"),))),
    ],
)
def test_a_vote_is_read_back_as_it_was_written(tmp_path: Path, vote: SaveVote) -> None:
    Ballot(tmp_path / "vote.json").save(SaveVote(1, None, None))
    Ballot(tmp_path / "vote.json").save(vote)
    assert Ballot(tmp_path / "vote.json").load() == vote
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vote.json", "vote.spare"]


def test_a_new_home_has_no_vote(tmp_path: Path) -> None:
    assert Ballot(tmp_path / "vote.json").load() is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"term": "x", "voted_for": null, "electorate": null}'])
def test_a_damaged_vote_stops_the_node(tmp_path: Path, content: str) -> None:
    (tmp_path / "vote.json").write_text(content)
    with pytest.raises(ConfigError, match=r"vote\.json"):
        Ballot(tmp_path / "vote.json").load()


def test_a_vote_that_the_disk_does_not_take_is_said_in_words_and_the_old_one_stays(tmp_path: Path) -> None:
    ballot, old = Ballot(tmp_path / "vote.json"), SaveVote(1, None, None)
    ballot.save(old)
    (tmp_path / "vote.spare").unlink()
    (tmp_path / "vote.spare").symlink_to("/dev/full")
    with pytest.raises(ConfigError, match="No space left on device; a node must not vote without remembering it"):
        ballot.save(SaveVote(2, NodeId("b"), None))
    assert ballot.load() == old
    assert [path.name for path in tmp_path.iterdir()] == ["vote.json"]


FULL_DISK = """
import os, sys
from contextlib import suppress
from pathlib import Path
from edged.core.effects import SaveVote
from edged.roles.ballot import Ballot

home = Path(sys.argv[1])
ballot = Ballot(home / "vote.json")
ballot.save(SaveVote(1, None, None))
with (home / "filler").open("wb", buffering=0) as file, suppress(OSError):
    while True:
        file.write(bytes(4096))
for term in range(2, 20):
    ballot.save(SaveVote(term, None, None))
    assert Ballot(home / "vote.json").load() == SaveVote(term, None, None)
try:
    (home / "other").write_bytes(bytes(4096))
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_takes_votes(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    mount = f"mount -t tmpfs -o size=64k none {tmp_path} || exit 77; exec {sys.executable} -c '{FULL_DISK}' {tmp_path}"
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"a small disk cannot be had here: {done.stderr}")
    assert (done.stdout, done.stderr) == ("No space left on device\n", "")


def test_a_crash_at_any_moment_leaves_one_of_the_two_records_and_the_next_vote_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = ("link", "replace", "rename", "fsync")
    for crash in range(8):
        home = tmp_path / str(crash)
        home.mkdir()
        ballot, count = Ballot(home / "vote.json"), iter(range(100))
        ballot.save(SaveVote(1, None, None))
        ballot.save(SaveVote(2, None, None))
        with monkeypatch.context() as patched:
            for name in calls:
                patched.setattr(os, name, _crashing(getattr(os, name), count, crash))
            with suppress(_Crash):
                ballot.save(SaveVote(3, None, None))
        found = Ballot(home / "vote.json").load()
        assert found in {SaveVote(2, None, None), SaveVote(3, None, None)}
        for term in (4, 5):
            again = Ballot(home / "vote.json")
            again.save(SaveVote(term, None, None))
            assert again.load() == SaveVote(term, None, None)
        assert (home / "vote.spare").stat().st_nlink == (home / "vote.json").stat().st_nlink == 1


class _Crash(BaseException):
    """The process is gone."""


def _crashing(call, count, crash: int):
    def tried(*arguments, **options):
        if next(count) == crash:
            raise _Crash
        return call(*arguments, **options)

    return tried
