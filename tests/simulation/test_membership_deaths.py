"""Small clusters that have seen members hang: a death is known to all as soon as in a fresh one."""

from __future__ import annotations

import random

import pytest

from edged.core.effects import Effect, TellMember
from edged.core.events import LinkLost, LoopWasLate
from edged.core.ids import NodeId
from edged.core.membership import Membership, MembershipOptions
from edged.core.messages import MemberState
from edged.core.simulate import Simulation
from tests.core.records import member, node_id

VICTIM = node_id(0)
PROVEN_SECONDS = 1.5
SILENT_SECONDS = 8.0


class Few:
    """A settled cluster that notes when each node heard of the victim's last death."""

    def __init__(self, seed: int, size: int) -> None:
        self.died: dict[NodeId, float] = {}
        self.simulation = Simulation(seed, perform=self._perform, checks=True)
        records = [member(i) for i in range(size)]
        for i, record in enumerate(records):
            machine = Membership(record, MembershipOptions(), random.Random(seed * 1009 + i), records)
            self.simulation.add(record.node, machine)
        self.simulation.run_for(3.0)

    def _perform(self, node: NodeId, effect: Effect) -> None:
        if isinstance(effect, TellMember) and effect.record.node == VICTIM:
            if effect.record.state is MemberState.DEAD:
                self.died[node] = self.simulation.now
            else:
                self.died.pop(node, None)

    def hang(self, node: NodeId, seconds: float) -> None:
        """Stop a process and let it go on."""
        self.simulation.pause(node)
        self.simulation.run_for(seconds)
        self.simulation.go_on(node)
        self.simulation.run_for(2.0)

    def kill_slowly(self, seconds: float) -> None:
        """The system ends the process: its sessions first, its listening port ``seconds`` later, as Linux does."""
        simulation, host = self.simulation, self.simulation.hosts[VICTIM]
        simulation.pause(VICTIM)
        for node in simulation.hosts:
            if node != VICTIM:
                simulation.post(node, LinkLost(VICTIM), 0.001)

        def close_port() -> None:
            simulation.silence(VICTIM)
            host.gone = True

        simulation.at(simulation.now + seconds, close_port)

    def seconds_until_all_know(self) -> float:
        """How long it takes from now until every other node holds the victim for dead."""
        since = self.simulation.now
        self.simulation.run_for(20.0)
        assert len(self.died) == len(self.simulation.hosts) - 1, "somebody never heard of it"
        return max(self.died.values()) - since


@pytest.mark.parametrize("seed", range(5))
def test_a_returned_member_that_is_killed_is_known_dead_as_soon_as_any_other(seed: int) -> None:
    cluster = Few(seed, 3)
    cluster.hang(VICTIM, 6.0)
    cluster.simulation.kill(VICTIM)
    assert cluster.seconds_until_all_know() <= PROVEN_SECONDS


@pytest.mark.parametrize("port_seconds", [0.003, 0.02, 0.09])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_port_that_closes_later_than_the_sessions_does_not_hide_a_death(size: int, port_seconds: float) -> None:
    for seed in range(5):
        cluster = Few(seed, size)
        cluster.hang(VICTIM, 6.0)
        cluster.kill_slowly(port_seconds)
        assert cluster.seconds_until_all_know() <= PROVEN_SECONDS, f"seed {seed}"


def test_nodes_that_are_late_themselves_do_not_lose_the_proof() -> None:
    for seed in range(5):
        cluster = Few(seed, 3)
        cluster.simulation.kill(VICTIM)
        for node in cluster.simulation.hosts:
            cluster.simulation.post(node, LoopWasLate(0.3), 0.1)
        assert cluster.seconds_until_all_know() <= PROVEN_SECONDS, f"seed {seed}"


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("hung", [1.2, 4.0, 7.0])
def test_a_member_that_once_hung_is_missed_as_soon_as_any_other(size: int, hung: float) -> None:
    for seed in range(5):
        cluster = Few(seed, size)
        cluster.hang(VICTIM, hung)
        cluster.simulation.silence(VICTIM)
        assert cluster.seconds_until_all_know() <= SILENT_SECONDS, f"seed {seed}"


def test_members_that_are_dead_already_do_not_slow_the_search_for_the_next() -> None:
    for seed in range(5):
        cluster = Few(seed, 5)
        cluster.simulation.pause(node_id(3))
        cluster.simulation.pause(node_id(4))
        cluster.simulation.run_for(12.0)
        healths = [host.machine._awareness.score for host in cluster.simulation.hosts.values() if not host.paused_at]
        assert max(healths) == 0, f"seed {seed}"
        cluster.simulation.silence(VICTIM)
        since = cluster.simulation.now
        cluster.simulation.run_for(12.0)
        assert set(cluster.died) >= {node_id(1), node_id(2)}, f"seed {seed}"
        assert max(cluster.died[node_id(i)] for i in (1, 2)) - since <= SILENT_SECONDS, f"seed {seed}"
