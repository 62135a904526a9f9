"""train, jobs, attach, stop, export: with real nodes."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edged.cli import jobs
from tests.cli.shell import JOBS, Outcome, edged, wait_until

PROMISED = {
    "started": {"event", "job", "name", "layers", "parameters", "steps"},
    "plan": {"event", "term", "version", "strategy", "reason", "predicted_step_seconds", "routes"},
    "step": {"event", "step", "epoch", "loss", "samples_per_second", "learning_rate"},
    "eval": {"event", "epoch", "loss", "metrics"},
    "finished": {"event", "steps", "loss", "seconds", "output", "state_sha256"},
}


def state_of(home: Path, job: str) -> str:
    return next(found["state"] for found in edged("jobs", "--json", home=home).object["jobs"] if found["job"] == job)


OF_THE_MOMENT = {"waiting", "decision"}
"""What a machine that has much else to do may bring, on one device sooner than on another."""


def detached(home: Path, function: str, *more: object) -> str:
    outcome = edged("train", f"{JOBS}:{function}", "--detach", "--json", *more, home=home)
    assert outcome.status == 0, outcome.err
    assert set(outcome.object) == {"job"}
    return outcome.object["job"]


def test_train_prints_exactly_the_promised_objects(trained: Outcome, weights: Path) -> None:
    events = trained.objects
    assert [event["event"] for event in events[:2]] == ["started", "plan"]
    assert {event["event"] for event in events} - OF_THE_MOMENT == set(PROMISED) - OF_THE_MOMENT
    assert all(set(event) == PROMISED[event["event"]] for event in events if event["event"] in PROMISED)
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 17))
    assert [event["epoch"] for event in events if event["event"] == "eval"] == [0, 1]
    assert all(set(event["metrics"]) == {"accuracy"} for event in events if event["event"] == "eval")
    assert (events[-1]["steps"], events[-1]["output"]) == (16, str(weights))
    for route in events[1]["routes"]:
        assert set(route) == {"hops", "micro_batches"}
        assert all(set(hop) == {"node", "name", "first_layer", "last_layer"} for hop in route["hops"])


def test_the_digest_is_that_of_the_written_weights(trained: Outcome, weights: Path) -> None:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(weights).items()):
        for part in (name, str(tensor.dtype), str(tuple(tensor.shape))):
            digest.update(part.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    assert trained.objects[-1]["state_sha256"] == digest.hexdigest()


def test_one_device_gives_the_same_weights_and_the_same_objects(trained: Outcome, tmp_path: Path) -> None:
    outcome = edged("train", JOBS, "--local", "--json", "--output", tmp_path / "alone.safetensors")
    assert outcome.status == 0
    assert outcome.objects[-1]["state_sha256"] == trained.objects[-1]["state_sha256"]
    assert all(set(event) == PROMISED[event["event"]] for event in outcome.objects)


def test_one_device_says_whether_it_keeps_the_weights(tmp_path: Path) -> None:
    short, alone = [JOBS, "--local", "--set", "max_steps=1"], tmp_path / "alone.safetensors"
    lost = edged("train", *short)
    assert (lost.status, lost.out) == (0, "")
    assert "; the weights were not kept, `--output FILE.safetensors` keeps them" in lost.err
    kept = edged("train", *short, "--output", alone)
    assert (kept.out, alone.is_file()) == (f"{alone}\n", True)
    assert "; the weights:\n" in kept.err


def test_threads_are_chosen_where_it_is_computed(tmp_path: Path) -> None:
    outcome = edged("train", JOBS, "--local", "--json", "--threads", "2", "--set", "epochs=1", home=tmp_path)
    assert outcome.status == 0
    assert edged("train", JOBS, "--local", "--threads", "two", home=tmp_path).refuses(2, "--threads is 'two'")
    assert edged("train", JOBS, "--threads", "2", home=tmp_path).refuses(2, "goes with --local", "edged join --threads")


def test_attaching_from_another_device_tells_the_same_story(trained: Outcome, laptop: Path) -> None:
    outcome = edged("attach", trained.objects[0]["job"], "--json", home=laptop)
    assert outcome.status == 0
    stories = [
        [each for each in told if each["event"] not in OF_THE_MOMENT] for told in (outcome.objects, trained.objects)
    ]
    assert stories[0] == stories[1]


def test_a_person_is_told_the_end_and_gets_the_path(trained: Outcome, desk: Path, weights: Path) -> None:
    outcome = edged("attach", trained.objects[0]["job"], home=desk)
    assert outcome.out == f"{weights}\n"
    assert "plan" in outcome.err
    assert "epoch 2: evaluation loss" in outcome.err
    assert "finished 16 steps" in outcome.err


def test_another_device_is_told_on_which_one_the_weights_are(trained: Outcome, laptop: Path, weights: Path) -> None:
    outcome = edged("attach", trained.objects[0]["job"][:8], home=laptop)
    assert (outcome.status, outcome.out) == (0, f"on desk: {weights}\n")


def test_a_finished_job_can_be_exported_on_its_source_only(
    trained: Outcome, desk: Path, laptop: Path, weights: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.safetensors"
    outcome = edged("export", "small", "--output", copy, "--json", home=desk)
    assert set(outcome.object) == {"job", "output", "step", "state_sha256"}
    assert copy.read_bytes() == weights.read_bytes()
    assert edged("export", "small", "--output", copy, home=laptop).refuses(1, "desk is the source of job small now")


def test_only_a_hugging_face_model_is_exported_as_a_folder(trained: Outcome, desk: Path, tmp_path: Path) -> None:
    folder = edged("export", "small", "--output", tmp_path / "folder", "--pretrained", home=desk)
    assert folder.refuses(1, "the model of job small is none of Hugging Face's", "leave --pretrained out")
    file = edged("export", "small", "--output", tmp_path / "x.safetensors", "--pretrained", home=desk)
    assert file.refuses(2, "--pretrained writes a folder")
    missing = edged("export", "small", "--output", tmp_path / "no" / "folder", "--pretrained", home=desk)
    assert missing.refuses(2, "make it first")
    assert list(tmp_path.iterdir()) == []


def test_stopping_a_finished_job_changes_nothing(trained: Outcome, desk: Path) -> None:
    outcome = edged("stop", "small", home=desk)
    assert (outcome.status, outcome.out) == (0, "")
    assert "finished" in outcome.err
    told = edged("stop", "small", "--json", home=desk)
    assert (told.object["state"], told.err) == ("finished", "")
    assert set(told.object) == {"job", "state"}


@pytest.mark.parametrize("command", [["attach"], ["stop"], ["export", "--output", "x.safetensors"]])
def test_an_unknown_job_is_told_with_those_that_are_known(trained: Outcome, desk: Path, command: list[str]) -> None:
    assert edged(command[0], "nothing", *command[1:], home=desk).refuses(1, "'nothing'", "known jobs", "(small)")


def test_jobs_queue_and_one_runs_at_a_time(desk: Path, laptop: Path, tmp_path: Path) -> None:
    first = detached(desk, "slow")
    wait_until(lambda: state_of(laptop, first) == "running")
    said = edged("train", f"{JOBS}:slow", "--set", "name=next", "--detach", home=laptop)
    second = said.out.strip()
    assert f"waits for slow ({first}, running)" in said.err
    wait_until(lambda: state_of(desk, second) == "queued")
    assert edged("export", "next", "--output", tmp_path / "no.safetensors", home=laptop).refuses(1, "queued")

    listed = edged("jobs", home=desk).out
    assert f"{second}  next" in listed
    assert set(edged("jobs", "--json", home=desk).object["jobs"][0]) >= {"job", "name", "source", "state", "step",
                                                                         "steps", "reason"}  # fmt: skip

    wait_until(lambda: edged("status", "--json", home=desk).object["job"]["step"])
    exported = edged("export", first, "--output", tmp_path / "now.safetensors", "--json", home=desk).object
    assert exported["step"] > 0
    assert load_file(tmp_path / "now.safetensors")

    assert edged("stop", first, home=laptop).status == 0
    wait_until(lambda: state_of(desk, second) == "running")
    assert edged("attach", first, home=desk).refuses(1, f"edged: job {first} was stopped by its user")
    assert edged("stop", "next", "--reason", "enough", home=desk).status == 0
    assert edged("attach", "next", home=desk).refuses(1, "edged: job next was stopped: enough")
    failed = edged("attach", "next", "--json", home=laptop)
    assert failed.status == 1
    assert failed.objects[-1] == {"event": "failed", "reason": "enough"}


def test_a_result_that_cannot_be_written_is_waited_for_and_costs_nothing(
    desk: Path, laptop: Path, tmp_path: Path
) -> None:
    ahead, job = detached(desk, "slow"), detached(desk, "job", "--set", "epochs=1")
    result = desk / "jobs" / job / "result.safetensors"
    (result / "in the way").mkdir(parents=True)
    edged("stop", ahead, home=desk)
    wait_until(lambda: "the result cannot be written" in edged("status", home=laptop).out)
    stands = edged("status", "--json", home=laptop).object["job"]
    assert (stands["state"], stands["step"]) == ("running", stands["steps"])
    assert str(result) in stands["reason"]
    exported = edged("export", job, "--output", tmp_path / "beside.safetensors", "--json", home=desk).object
    shutil.rmtree(result)
    followed = edged("attach", job, "--json", home=laptop)
    assert followed.status == 0
    assert followed.objects[-1]["state_sha256"] == exported["state_sha256"]
    assert result.read_bytes() == (tmp_path / "beside.safetensors").read_bytes()


def test_a_name_that_two_jobs_have_means_the_newest(trained: Outcome, desk: Path) -> None:
    newest = edged("train", JOBS, "--set", "epochs=1", "--json", home=desk).objects[0]["job"]
    assert edged("attach", "small", "--json", home=desk).objects[0]["job"] == newest
    assert newest != trained.objects[0]["job"]


@pytest.mark.parametrize("where", ["cluster", "local"])
def test_a_sample_that_raises_ends_the_job_and_not_the_node(desk: Path, where: str) -> None:
    more = ["--local"] if where == "local" else ["--home", str(desk)]
    outcome = edged("train", f"{JOBS}:broken_sample", "--json", *more)
    assert outcome.refuses(1, "data[1000]: RuntimeError: sample 1000 is broken", "sample_jobs.py, line")
    assert outcome.objects[-1]["event"] == "failed"
    assert "sample 1000 is broken" in outcome.objects[-1]["reason"]
    assert 0 < len([event for event in outcome.objects if event["event"] == "step"]) < 1000 / 32
    assert edged("status", home=desk).status == 0


def test_the_newest_copies_of_a_job_that_fails_are_kept(desk: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    job = detached(desk, "broken_sample", "--set", f"gate={gate}")

    def copied() -> bool:
        status = edged("status", "--json", home=desk).object
        stands, copies = status["job"] or {}, status["protection"] or {}
        return stands.get("job") == job and (copies.get("version") or 0) > 0

    wait_until(copied)
    gate.unlink()  # from here on samples come up to the broken one
    reason = edged("attach", job, "--json", home=desk).objects[-1]["reason"]
    found = re.search(r"; the weights after step (\d+) are kept on the source in (.+)$", reason)
    assert found, reason
    assert 0 < int(found[1]) < 1000 / 32
    alone = tmp_path / "alone.safetensors"
    sound = ["--set", "broken=-1", "--set", f"steps={found[1]}"]
    assert edged("train", f"{JOBS}:broken_sample", "--local", *sound, "--output", alone).status == 0
    kept, same = load_file(found[2]), load_file(alone)
    assert kept.keys() == same.keys()
    assert all(torch.equal(kept[name], same[name]) for name in same)


def test_the_traceback_of_a_sample_is_shown_when_asked_for(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_DEBUG", "")
    assert edged("train", f"{JOBS}:broken_sample", home=desk).refuses(1, "edged --debug attach")
    shown = edged("--debug", "attach", "broken", home=desk)
    assert 'raise RuntimeError(f"sample {index} is broken")' in shown.err


def test_a_loss_that_is_no_number_ends_the_job(desk: Path) -> None:
    assert edged("train", f"{JOBS}:exploding", home=desk).refuses(1, "loss", "step")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("missing.py", ["there is no job file"]),
        (".", ["is a folder"]),
        (f"{JOBS}:nothing", ["has no function nothing()", "branching"]),
        (f"{JOBS}:number", ["returned a value of type int", "edged.Job"]),
        (f"{JOBS}:raising", ["ValueError: the disk is not mounted", "line"]),
        (f"{JOBS}:uneven", ["batch_size=7", "write batch_size=6"]),
        (f"{JOBS}:branching", ["x.sum() > 0", "torch.where"]),
    ],
)
@pytest.mark.parametrize("where", ["cluster", "local"])
def test_a_mistake_in_the_job_file_is_told_in_one_line(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, reference: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["--local"] if where == "local" else ["--home", str(desk)]
    outcome = edged("train", reference, "--json", *more)
    assert outcome.refuses(2 if reference in {"missing.py", "."} else 1, *words)
    assert len(outcome.err.splitlines()) == 1
    assert outcome.object["event"] == "failed"


@pytest.mark.parametrize(
    ("content", "words"),
    [("def job(:", ["line 1", "SyntaxError"]), ("import nothing_here", ["ModuleNotFoundError", "nothing_here"])],
)
def test_a_file_that_does_not_run_is_told_with_its_line(tmp_path: Path, content: str, words: list[str]) -> None:
    (tmp_path / "job.py").write_text(content)
    assert edged("train", tmp_path / "job.py", "--local").refuses(1, *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("lots", ["key=value"]),
        ("colour=red", ["colour", "optimizer.lr"]),
        ("batch_size=many", ["batch_size", "'many'"]),
    ],
)
def test_a_wrong_change_is_told(change: str, words: list[str]) -> None:
    assert edged("train", JOBS, "--local", "--set", change).refuses(2, *words)


@pytest.mark.parametrize("change", ["lots", "colour=red", "batch_size=many"])
def test_a_wrong_change_ends_with_the_failed_object_for_machines(desk: Path, change: str) -> None:
    told = edged("train", JOBS, "--json", "--set", change, home=desk)
    assert (told.status, told.object["event"]) == (2, "failed")
    assert told.object["reason"] == told.err.strip().removeprefix("edged: ")


def test_nothing_is_said_of_a_file_that_is_not_there(desk: Path, tmp_path: Path) -> None:
    told = edged("train", tmp_path / "missing.py", home=desk)
    assert told.err == f"edged: there is no job file {tmp_path / 'missing.py'}: is the path right?\n"


def test_changes_reach_the_job() -> None:
    outcome = edged("train", JOBS, "--local", "--json", "--set", "epochs=1", "--set", "optimizer.lr=0.25")
    steps = [event for event in outcome.objects if event["event"] == "step"]
    assert (len(steps), steps[0]["learning_rate"]) == (8, 0.25)


@pytest.mark.parametrize(
    ("output", "words"), [("missing/x.safetensors", ["missing", "make it first"]), ("x.pt", ["x.pt.safetensors"])]
)
@pytest.mark.parametrize("command", [["train", str(JOBS)], ["export", "small"]])
def test_a_wrong_output_is_told_before_anything_is_done(
    desk: Path, command: list[str], output: str, words: list[str]
) -> None:
    assert edged(*command, "--output", output, home=desk).refuses(2, "--output", *words)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("/proc/x.safetensors", ["/proc takes no file", "another place"]),
        ("folder.safetensors", ["that is a folder", "folder.safetensors/job.safetensors"]),
    ],
)
@pytest.mark.parametrize("more", [[], ["--local"], ["--detach"]])
def test_a_place_that_takes_no_file_is_told_before_training(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], output: str, words: list[str]
) -> None:
    if not Path(output).parent.is_dir():
        pytest.skip("there is no /proc here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.safetensors").mkdir()
    before = edged("jobs", "--json", home=desk).object
    told = edged("train", JOBS, *more, "--output", output, home=desk)
    assert told.refuses(2, f"--output {output}", *words)
    assert len(told.err.splitlines()) == 1
    assert edged("jobs", "--json", home=desk).object == before


def test_trying_a_place_leaves_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("")
    assert edged("train", tmp_path / "job.py", "--local", "--output", tmp_path / "x.safetensors").status == 1
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"job.py"}


def followed_to(written: str, then: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `train` follow a job whose node says that it wrote the weights there; ``then`` happens before the end."""

    def follow(*_: object, **__: object) -> str:
        then()
        return written

    monkeypatch.setattr(jobs.Client, "ask", lambda *_, **__: {"node": "a" * 16})
    monkeypatch.setattr(jobs, "_hand_over", lambda *_, **__: "aa11")
    monkeypatch.setattr(jobs, "_follow", follow)


def test_weights_that_the_node_could_not_place_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, target = tmp_path / "result.safetensors", tmp_path / "place" / "mine.safetensors"
    target.parent.mkdir()
    followed_to(str(result), lambda: result.write_bytes(b"weights"), monkeypatch)
    told = edged("train", JOBS, "--output", target, home=tmp_path)
    assert (told.status, told.out, told.err) == (0, f"{target}\n", "")
    assert (target.read_bytes(), len(list(target.parent.iterdir()))) == (b"weights", 1)


def test_weights_that_nobody_could_place_are_told_with_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, target = tmp_path / "result.safetensors", tmp_path / "place" / "mine.safetensors"
    target.parent.mkdir()
    result.write_bytes(b"weights")
    followed_to(str(result), target.parent.rmdir, monkeypatch)
    told = edged("train", JOBS, "--output", target, home=tmp_path)
    assert told.refuses(1, f"the weights are not in {target} but in {result}", "No such file or directory")
    assert told.out == ""
    target.parent.mkdir()
    followed_to("on pi-4", lambda: None, monkeypatch)
    told = edged("train", JOBS, "--output", target, home=tmp_path)
    assert told.refuses(1, f"not in {target} but on pi-4", "`edged export")
