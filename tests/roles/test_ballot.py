"""The ballot: a vote outlives the process."""

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
    assert [path.name for path in tmp_path.iterdir()] == ["vote.json"]


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
    (tmp_path / "vote.partial").symlink_to("/dev/full")
    with pytest.raises(ConfigError, match="No space left on device; a node must not vote without remembering it"):
        ballot.save(SaveVote(2, NodeId("b"), None))
    assert ballot.load() == old
    assert [path.name for path in tmp_path.iterdir()] == ["vote.json"]
