"""The simulated network: what each fault does."""

from __future__ import annotations

from edged.core.effects import Dismiss, Effect, Log, ProbePort, SendMessage
from edged.core.events import Event, LinkLost, LoopWasLate, MessageReceived, PortProbed, SelfMeasured, TimerFired
from edged.core.messages import Gossip
from edged.core.simulate import Network, Simulation
from tests.core.records import member, node_id

A, B = node_id(0), node_id(1)
HELLO = Gossip(())


class Diary:
    """A machine that writes down its events and says once what it was built with."""

    def __init__(self, *effects: Effect, wake: float | None = None) -> None:
        self.effects = list(effects)
        self.wake = wake
        self.events: list[tuple[float, Event]] = []

    def handle(self, event: Event, now: float) -> list[Effect]:
        self.events.append((now, event))
        self.wake = None
        effects, self.effects = self.effects, []
        return effects

    def deadline(self) -> float | None:
        return self.wake

    def check(self) -> None:
        pass

    def kinds(self) -> list[type]:
        return [type(event) for _, event in self.events]


def two(*effects: Effect, **network) -> tuple[Simulation, Diary, Diary]:
    simulation = Simulation(1, Network(delay_seconds=(0.001, 0.002), **network))
    one, other = Diary(*effects), Diary()
    simulation.add(A, one)
    simulation.add(B, other)
    return simulation, one, other


def say(simulation: Simulation) -> None:
    simulation.post(A, SelfMeasured(1.0, 1, "cpu"))
    simulation.run_for(1.0)


def test_a_message_arrives_after_the_delay() -> None:
    simulation, _, other = two(SendMessage(B, HELLO))
    say(simulation)
    ((moment, event),) = other.events
    assert event == MessageReceived(A, HELLO)
    assert 1000.001 <= moment <= 1000.002


def test_loss_cuts_and_dismissal_swallow_messages_and_duplication_repeats_them() -> None:
    for expected, network, cut in [(0, {"loss": 1.0}, False), (2, {"duplication": 1.0}, False), (0, {}, True)]:
        simulation, _, other = two(SendMessage(B, HELLO), **network)
        if cut:
            simulation.cut(A, B)
        say(simulation)
        assert len(other.events) == expected
    simulation, _, other = two(Dismiss(B), SendMessage(B, HELLO))
    say(simulation)
    assert other.events == []


def test_a_cut_is_one_way() -> None:
    simulation, _, other = two(SendMessage(B, HELLO))
    simulation.cut(B, A)
    say(simulation)
    assert other.kinds() == [MessageReceived]


def test_a_killed_process_breaks_its_links_and_refuses_connects() -> None:
    simulation, one, other = two(SendMessage(B, HELLO))
    say(simulation)
    other.effects = [ProbePort(member(0))]
    simulation.hosts[A].peers.append(B)
    simulation.kill(A)
    simulation.run_for(1.0)
    assert [event for _, event in other.events[1:]] == [LinkLost(A), PortProbed(A, refused=True)]
    assert one.kinds() == [SelfMeasured]


def test_a_cut_that_resets_ends_sessions_and_refuses_connects_until_it_is_mended() -> None:
    simulation, one, other = two(SendMessage(B, HELLO))
    say(simulation)
    simulation.cut(A, B, resets=True)
    one.effects = [SendMessage(B, HELLO), ProbePort(member(1))]
    other.effects = [ProbePort(member(0))]
    simulation.post(A, SelfMeasured(1.0, 1, "cpu"))
    simulation.run_for(3.0)
    assert PortProbed(B, refused=True) in [event for _, event in one.events]
    assert [event for _, event in other.events[1:]] == [LinkLost(A), PortProbed(A, refused=False)]
    simulation.mend(A, B)
    one.effects = [ProbePort(member(1))]
    say(simulation)
    assert one.events[-1][1] == PortProbed(B, refused=False)


def test_a_silent_device_answers_no_connect() -> None:
    simulation, one, _ = two(ProbePort(member(1)))
    simulation.silence(B)
    say(simulation)
    simulation.run_for(1.0)
    assert one.events[-1][1] == PortProbed(B, refused=False)


def test_a_paused_process_hears_first_how_long_it_was_away() -> None:
    simulation, _, other = two(SendMessage(B, HELLO))
    simulation.pause(B)
    say(simulation)
    assert other.events == []
    simulation.go_on(B)
    assert [event for _, event in other.events] == [LoopWasLate(1.0), MessageReceived(A, HELLO)]


def test_a_machine_is_woken_at_its_deadline_once() -> None:
    simulation = Simulation(1)
    machine = Diary(wake=1005.0)
    simulation.add(A, machine)
    simulation.run_for(10.0)
    assert machine.events == [(1005.0, TimerFired())]


def test_a_slow_device_takes_one_event_after_another() -> None:
    simulation = Simulation(1)
    machine = Diary()
    simulation.add(A, machine, service_seconds=0.5)
    for _ in range(3):
        simulation.post(A, SelfMeasured(1.0, 1, "cpu"))
    simulation.run_for(5.0)
    assert [moment for moment, _ in machine.events] == [1000.0, 1000.5, 1001.0]


def test_other_effects_are_performed_outside_and_equal_seeds_give_equal_runs() -> None:
    runs = []
    for _ in range(2):
        seen: list[tuple[str, Effect]] = []
        simulation = Simulation(3, perform=lambda node, effect, seen=seen: seen.append((node, effect)), checks=True)
        machine = Diary(Log("info", "x", "y"), SendMessage(A, HELLO))
        simulation.add(A, machine)
        say(simulation)
        assert seen == [(A, Log("info", "x", "y"))]
        runs.append(machine.events)
    assert runs[0] == runs[1]


def test_what_is_sent_over_an_ordered_link_arrives_in_that_order() -> None:
    texts = [Gossip((member(number),)) for number in range(20)]
    simulation, _, other = two(*(SendMessage(B, text) for text in texts), ordered=True)
    say(simulation)
    assert [event.message for _, event in other.events if isinstance(event, MessageReceived)] == texts


def test_a_device_that_is_killed_before_an_effect_performs_neither_it_nor_the_rest() -> None:
    performed: list[Effect] = []
    simulation = Simulation(
        1,
        perform=lambda _node, effect: performed.append(effect),
        before=lambda node, effect: simulation.kill(node) if effect == Log("info", "b", "") else None,
    )
    simulation.add(A, Diary(*(Log("info", topic, "") for topic in "abc")))
    say(simulation)
    assert performed == [Log("info", "a", "")]


def test_a_cut_can_be_mended_by_itself() -> None:
    simulation, _, other = two(SendMessage(B, HELLO))
    simulation.cut(A, B)
    simulation.cut(B, A)
    simulation.mend(A, B)
    assert not simulation.is_cut(A, B)
    assert simulation.is_cut(B, A)
    say(simulation)
    assert other.kinds() == [MessageReceived]
