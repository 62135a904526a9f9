"""What a cluster says of itself, word by word, when a zombie returns, a partition heals, a link is cut one way.

The transcripts lie in ``tests/golden``; each ends with one lineage, and whoever gave up another says so. A wanted
change is taken over with ``EDGED_GOLDEN=write pytest tests/simulation/test_transcripts.py``, and read before it is
committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from edged.core.effects import Effect, Log, TellLeader, TellLineage, TellMember
from edged.core.ids import NodeId
from edged.core.messages import MemberState
from tests.core.records import node_id
from tests.simulation.cluster import Cluster

GOLDEN = Path(__file__).parents[1] / "golden"


class Transcript:
    """A cluster that has settled, and what its nodes say from then on."""

    def __init__(self, seed: int, size: int, **options) -> None:
        self.cluster = Cluster(seed, size, **options)
        self.cluster.simulation.run_for(8.0)
        self.names = {pair.election.electorate.lineage: "A" for pair in self.cluster.running()}
        (leader,) = self.cluster.leading()
        self.leader = leader
        self.lines = [f"== {size} nodes, {self._name(leader)} leads"]
        self.began = self.cluster.simulation.now
        self.cluster.observe = self._hear

    def do(self, what: str, seconds: float, act: Callable[..., None], *args) -> None:
        """Something is done to the cluster, which then has so many seconds."""
        self.lines.append(f"{self._moment()} == {what}")
        act(*args)
        self.cluster.simulation.run_for(seconds)

    def _moment(self) -> str:
        """Virtual seconds since the cluster had settled."""
        return f"{self.cluster.simulation.now - self.began:6.2f}"

    def part(self, *groups: Iterable[int]) -> None:
        self.cluster.simulation.partition(*({node_id(i) for i in group} for group in groups))

    def refuse(self, *groups: Iterable[int]) -> None:
        self.cluster.simulation.partition(*({node_id(i) for i in group} for group in groups), resets=True)

    def deafen(self, node: NodeId) -> None:
        for other in self.cluster.nodes:
            if other != node:
                self.cluster.simulation.cut(other, node)

    def progress(self, steps: int, *group: int) -> None:
        for i in group:
            self.cluster.pair(node_id(i)).steps += steps

    def ends_as(self, name: str) -> list[str]:
        """Who leads and who follows at the end; compared with the golden transcript; its lines."""
        pairs = self.cluster.running()
        leaders = {self._name(pair.election.leader) for pair in pairs}
        lineages = {self._letter(pair.election.electorate.lineage) for pair in pairs}
        self.lines.append(
            f"{self._moment()} == in the end {' and '.join(sorted(leaders))} leads lineage {' and '.join(lineages)}"
        )
        text = "\n".join(self.lines) + "\n"
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("EDGED_GOLDEN") == "write":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), text
        assert (len(leaders), len(lineages)) == (1, 1)
        return self.lines

    def _hear(self, node: NodeId, effect: Effect) -> None:
        match effect:
            case Log(level, topic, text) if topic in {"election", "lineage", "membership"} and not text.startswith(
                "waiting"
            ):
                said = f"{level}: {text}" if level != "info" else text
            case Log(_, "election", text):
                said = text
            case TellLeader(None, _):
                said = "no leader"
            case TellLeader(leader, _):
                said = f"follows {self._name(leader)}" if leader != node else "leads"
            case TellLineage(lineage, tentative, _):
                said = f"is of lineage {lineage}" + (f", {tentative}" if tentative else "")
            case TellMember(record, before, _) if record.node != node and record.state is not before:
                if record.state is MemberState.SUSPECT:
                    return
                said = f"{record.name} is {record.state.name.lower()}"
            case _:
                return
        self.lines.append(f"{self._moment()} {self._name(node)}: {self._plain(said)}")

    def _plain(self, text: str) -> str:
        words = text.split(" ")
        for index, word in enumerate(words[:-1]):
            if word in {"lineage", "fork"} and len(bare := words[index + 1].strip(",:;")) == 12:
                words[index + 1] = words[index + 1].replace(bare, self._letter(bare))
        return " ".join(words)

    def _letter(self, lineage: str) -> str:
        return self.names.setdefault(lineage, chr(ord("A") + len(self.names)))

    def _name(self, node: NodeId | None) -> str:
        return "nobody" if node is None else f"n{int(node, 16)}"


def test_a_zombie_that_led_finds_that_the_others_have_gone_on() -> None:
    told = Transcript(11, 3)
    simulation, zombie = told.cluster.simulation, told.leader
    told.do("the leader is stopped (SIGSTOP)", 20.0, simulation.pause, zombie)
    assert len(told.cluster.leading()) == 1
    told.do("it goes on (SIGCONT)", 15.0, simulation.go_on, zombie)
    lines = told.ends_as("returning_zombie")
    assert any("steps down" in line for line in lines)


def test_the_smaller_side_of_a_partition_gives_way_whatever_it_has_done() -> None:
    told = Transcript(12, 5)
    told.do("cut: n0 n1 | n2 n3 n4", 30.0, told.part, (0, 1), (2, 3, 4))
    told.progress(900, 0, 1)
    told.progress(3, 2, 3, 4)
    told.do("healed; n0 and n1 have done more steps", 20.0, told.cluster.simulation.heal)
    lines = told.ends_as("healed_partition_2_3")
    assert sum("it has the majority" in line for line in lines) == 2


def test_of_the_halves_of_four_the_one_with_most_voters_survives() -> None:
    told = Transcript(13, 4)
    told.do("cut: n0 n1 | n2 n3", 30.0, told.part, (0, 1), (2, 3))
    told.do("healed", 20.0, told.cluster.simulation.heal)
    lines = told.ends_as("healed_partition_2_2")
    assert any("goes on as fork" in line for line in lines)


def test_of_two_forks_the_one_that_has_done_more_survives() -> None:
    told = Transcript(14, 2)
    told.do("cut: n0 | n1", 30.0, told.part, (0,), (1,))
    told.progress(3, 0)
    told.progress(70, 1)
    told.do("healed; n0 has done 3 steps, n1 70", 20.0, told.cluster.simulation.heal)
    lines = told.ends_as("healed_partition_1_1")
    assert any("it has done 70 steps, this one 3" in line for line in lines)


def test_a_cut_that_refuses_connects_makes_two_lineages_at_once_and_one_again() -> None:
    told = Transcript(17, 4)
    told.do("refused, as by a firewall: n0 n1 | n2 n3", 20.0, told.refuse, (0, 1), (2, 3))
    assert len(told.cluster.leading()) == 2
    told.do("healed", 30.0, told.cluster.simulation.heal)
    lines = told.ends_as("refused_cut")
    assert any("all voters not proven dead agree" in line for line in lines)


def test_a_minority_that_is_told_to_wait_takes_up_where_the_others_are() -> None:
    told = Transcript(15, 2, waiting=frozenset({0, 1}))
    told.do("cut: n0 | n1, both with --minority wait", 40.0, told.part, (0,), (1,))
    assert told.cluster.leading() == []
    told.do("healed", 20.0, told.cluster.simulation.heal)
    lines = told.ends_as("waiting_minority")
    assert not any("fork" in line for line in lines)


def test_a_leader_that_is_heard_and_hears_nothing_makes_room() -> None:
    told = Transcript(16, 3)
    deaf = told.leader
    told.do("the leader hears nobody, and is heard", 30.0, told.deafen, deaf)
    told.do("healed", 20.0, told.cluster.simulation.heal)
    lines = told.ends_as("asymmetric_cut")
    assert any("steps down" in line for line in lines)
