"""Described clusters: faults of each kind are noticed, survived and measured, equally for equal seeds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edged.core.node import Node
from edged.errors import ConfigError
from edged.simulation.cluster import SimulatedCluster
from edged.simulation.faults import all_faults
from edged.simulation.reading import read_cluster
from edged.simulation.report import figures, sentences
from edged.simulation.workload import JOB

EXAMPLES = Path(__file__).parents[2] / "examples" / "clusters"
BASE = """
seconds = 40
[devices.desk]
[devices.laptop]
slowness = 2
[devices.pi]
count = 2
slowness = "5 x desk"
spread = 0.1
[links]
latency_ms = 0.5
bandwidth = "100mbit"
[job]
layers = 12
micro_batch_ms = 120
micro_batches = 4
parameters = "1MB"
crossing = "20kB"
"""


def described(tmp_path: Path, text: str = "", base: str = BASE):
    path = tmp_path / "cluster.toml"
    path.write_text(base + text, encoding="utf-8")
    return read_cluster(path)


def lived(cluster, seed: int = 1, seconds: float | None = None) -> SimulatedCluster:
    run = SimulatedCluster(cluster, seed, seconds or cluster.seconds)
    run.run()
    for host in run.simulation.hosts.values():
        if not host.stopped:
            host.machine.check()
    return run


def steps_after(run: SimulatedCluster, moment: float) -> int:
    return sum(at > moment for at, _ in run.log.steps)


def test_a_quiet_cluster_elects_once_and_trains_on(tmp_path: Path) -> None:
    run = lived(described(tmp_path))
    found = figures(run, 1)
    assert found["election"]["elections"] == 1
    assert found["called_dead_wrongly"] == 0
    assert found["detection"] == {}
    assert found["recovery"] == {}
    assert found["job"] == "running"
    assert found["throughput"]["steps_again"] == 0
    assert [step for _, step in run.log.steps] == list(range(1, found["throughput"]["steps"] + 1))
    assert found["throughput"]["longest_pause_seconds"] < 3.0


def test_equal_seeds_give_equal_figures_and_others_do_not(tmp_path: Path) -> None:
    cluster = described(tmp_path, "[random_faults]\nkills_per_minute = 6\nback_after = 8\nspare_source = true\n")
    first, again, other = (figures(lived(cluster, seed), seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("kind", "name"), [("kill", "killed"), ("unplug", "unplugged")])
def test_a_device_that_goes_is_noticed_by_all_and_the_job_goes_on(tmp_path: Path, kind: str, name: str) -> None:
    run = lived(described(tmp_path, f'[[fault]]\nat = 15\n{kind} = "laptop"\n'))
    found = figures(run, 1)
    noticed = found["detection"][name]
    assert (noticed["count"], noticed["first"]["count"], noticed["all"]["count"]) == (1, 1, 1)
    assert 0.0 < noticed["first"]["median_seconds"] <= noticed["all"]["worst_seconds"] < (3.0 if kind == "kill" else 10)
    assert len(found["events"]) == 1  # of one that fell silent, its neighbours may notice first that the link is dead
    assert found["recovery"].keys() <= {"died", "link"}
    assert steps_after(run, found["events"][0]["at"] + 5) > 3


def test_who_joins_after_a_death_need_not_have_noticed_it(tmp_path: Path) -> None:
    text = '[devices.tower]\n[[fault]]\nat = 12\nkill = "pi-1"\n[[fault]]\nat = 25\njoin = "tower"\n'
    run = lived(described(tmp_path, text))
    tower = next(device.node for device in run.cluster.devices if device.name == "tower")
    assert tower in run.living()
    assert all(tower not in harm.told for harm in run.log.harms)
    assert figures(run, 1)["detection"]["killed"]["all"]["count"] == 1


def test_steps_that_are_kept_are_told_beside_those_computed_again(tmp_path: Path) -> None:
    run = lived(described(tmp_path, '[[fault]]\nat = 15\nkill = "laptop"\n'))
    made = figures(run, 1)["throughput"]
    assert made["steps_again"] > 0
    assert len(run.log.steps) == made["steps"] + made["steps_again"]
    assert sentences(run)[0] == f"job: running; {made['steps']} steps, and {made['steps_again']} computed again"


def test_the_death_of_the_leader_ends_in_another_election(tmp_path: Path) -> None:
    quiet = lived(described(tmp_path), seconds=10)
    leader = next(device.name for device in quiet.cluster.devices if device.node == quiet.log.leader)
    run = lived(described(tmp_path, f'[[fault]]\nat = 15\nkill = "{leader}"\n'))
    found = figures(run, 1)
    assert found["election"]["after_a_loss"]["count"] == 1
    assert found["election"]["after_a_loss"]["worst_seconds"] < 5.0
    assert found["election"]["leader"] != leader


def test_the_job_goes_on_without_its_source_and_with_it_when_it_is_back(tmp_path: Path) -> None:
    text = '[[fault]]\nat = 20\nkill = "desk"\n[[fault]]\nat = 40\njoin = "desk"\n'
    run = lived(described(tmp_path, text), seconds=70)
    assert "died" in figures(run, 1)["recovery"]
    assert any(20 < at < 40 for at, _ in run.log.steps)
    assert steps_after(run, 55) > 3


def test_a_short_stop_is_forgiven_and_a_long_one_is_not(tmp_path: Path) -> None:
    short = lived(described(tmp_path, '[[fault]]\nat = 15\nstop = "pi-1"\nlasts = 1\n'))
    assert figures(short, 1)["detection"]["stopped"]["first"]["count"] == 0
    long = lived(described(tmp_path, '[[fault]]\nat = 15\nstop = "pi-1"\nlasts = 15\n'), seconds=60)
    found = figures(long, 1)
    assert found["detection"]["stopped"]["first"]["count"] == 1
    assert found["called_dead_wrongly"] == 0
    assert steps_after(long, 50) > 3


def test_a_cut_between_two_is_lived_with_and_mended(tmp_path: Path) -> None:
    run = lived(described(tmp_path, '[[fault]]\nat = 12\ncut = ["laptop", "pi"]\nlasts = 20\n'), seconds=60)
    assert steps_after(run, 45) > 3
    assert not run.simulation.is_cut(*(device.node for device in run.cluster.devices[1:3]))


def test_a_slower_device_slows_the_job_for_as_long_as_it_is(tmp_path: Path) -> None:
    run = lived(described(tmp_path, '[[fault]]\nat = 20\nslow = "desk"\nfactor = 6\nlasts = 20\n'), seconds=60)
    rate = {begin: sum(begin < at <= begin + 10 for at, _ in run.log.steps) for begin in (10, 25, 48)}
    assert rate[25] < 0.7 * rate[10]
    assert rate[48] > rate[25]


def test_a_device_that_joins_is_used(tmp_path: Path) -> None:
    text = '[devices.tower]\nslowness = 0.5\n[[fault]]\nat = 15\njoin = "tower"\n'
    run = lived(described(tmp_path, text), seconds=60)
    assert "joined" in figures(run, 1)["recovery"]
    leader = run.simulation.hosts[run.log.leader].machine
    assert isinstance(leader, Node)
    tower = next(device.node for device in run.cluster.devices if device.name == "tower")
    assert tower in leader.board.plans[JOB].plan.nodes()


def test_random_faults_come_as_often_as_told(tmp_path: Path) -> None:
    text = (
        "[random_faults]\nkills_per_minute = 30\ncuts_per_minute = 12\nslows_per_minute = 6\nbegins = 0\nends = 6000\n"
    )
    cluster = described(tmp_path, text)
    faults = all_faults(cluster, random.Random(1), 6000.0)
    count = {kind: sum(fault.kind == kind for fault in faults) for kind in ("kill", "cut", "slow", "join")}
    assert 2800 < count["kill"] < 3200
    assert 1080 < count["cut"] < 1320
    assert 510 < count["slow"] < 690
    assert count["join"] == 0
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)


@pytest.mark.long
@pytest.mark.slow
def test_a_hundred_devices_are_soon_simulated(tmp_path: Path) -> None:
    text = (EXAMPLES / "a_thousand.toml").read_text(encoding="utf-8")
    for many in ("count = 20\n", "count = 180\n", "count = 800\n"):
        text = text.replace(many, many.replace("0\n", "\n"))
    found = figures(lived(described(tmp_path, base=text)), 1)
    assert found["nodes"] == 100
    assert found["called_dead_wrongly"] == 0
    assert found["job"].startswith("running")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_can_be_read(path: Path) -> None:
    assert read_cluster(path).job is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[devices]", ("devices", "[devices.desk]")),
        ("[devices.a]\nslowness = -1", ("[devices.a] slowness = -1", "above 0")),
        ('[devices.a]\nslowness = "3 x b"', ("[devices.a] slowness", '"5 x desk"')),
        ('[devices.a]\nmemory = "lots"', ("[devices.a] memory = 'lots'", "2GB")),
        ("[devices.a]\nspeed = 3", ("[devices.a] speed", "not known", "slowness")),
        ("[devices.a]\ncount = 0", ("[devices.a] count = 0", "at least 1")),
        ('[devices.a]\ncount = 2\n[devices."a-1"]', ("devices", "a-1", "another name")),
        ('[devices.a]\n[links]\nbandwidth = "fast"', ("[links] bandwidth", "100mbit")),
        ('[devices.a]\n[[link]]\nbetween = ["a", "b"]', ("[[link]] number 1 between", "called b")),
        ('source = "b"\n[devices.a]', ("source = 'b'", "called b", "there are a")),
        ('source = "a"\n[devices.a]\ncount = 2', ("source", "a-1")),
        ("[devices.a]\n[[fault]]\nat = 3", ("[[fault]] number 1", "exactly one of", "kill")),
        ('[devices.a]\n[[fault]]\nkill = "a"', ("[[fault]] number 1 at", "missing")),
        ('[devices.a]\n[[fault]]\nat = 1\nslow = "a"', ("[[fault]] number 1 factor", "missing")),
        ('[devices.a]\n[[fault]]\nat = 1\ncut = "a"', ("[[fault]] number 1 cut", "at least 2")),
        ('[devices.a]\n[[fault]]\nat = 1\njoin = "a"', ("source", "there from the start")),
        ("[devices.a]\n[random_faults]\nkills = 3", ("[random_faults] kills", "kills_per_minute")),
        ('[devices.a]\n[job]\nstrategy = "magic"', ("[job] strategy", "auto")),
        ("[devices.a]\n[[job.layer]]\nparameters = 3", ("forward_ms", "missing")),
        ("seconds = 0\n[devices.a]", ("seconds = 0", "above 0")),
        ("surprise = 1\n[devices.a]", ("surprise", "not known")),
        ("devices = 3", ("devices = 3", "[devices.desk]")),
        ("[devices.a", ("not TOML", "examples")),
    ],
)
def test_every_mistake_is_told_with_its_remedy(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as told:
        described(tmp_path, base=text)
    sentence = str(told.value)
    assert "\n" not in sentence
    assert sentence.startswith(str(tmp_path / "cluster.toml"))
    assert all(word in sentence for word in words), sentence


def test_layers_may_be_told_one_by_one(tmp_path: Path) -> None:
    first = 'forward_ms = 2\nparameters = "1MB"\ncrossing = "5kB"'
    text = f"[devices.a]\n[[job.layer]]\n{first}\n[[job.layer]]\nforward_ms = 1\n"
    layers = described(tmp_path, base=text).job.layers
    assert [layer.forward_seconds for layer in layers] == [0.002, 0.001]
    assert [layer.backward_seconds for layer in layers] == [0.004, 0.002]
    assert [layer.inputs for layer in layers] == [(0,), (1,)]
    assert (layers[0].parameter_bytes, layers[0].crossing_bytes) == (10**6, 5000)
