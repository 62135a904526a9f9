"""How a followed job looks to a person."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from edged.cli.progress import _Bar, following, in_words

STARTED = {"event": "started", "job": "00aa", "name": "digits", "layers": 7, "parameters": 25_500, "steps": 440}
HOPS = [{"node": "a", "name": "desk", "first_layer": 0, "last_layer": 3},
        {"node": "b", "name": "pi-4", "first_layer": 4, "last_layer": 4}]  # fmt: skip
PLAN = {"event": "plan", "term": 1, "version": 2, "strategy": "pipeline", "reason": "by speed",
        "predicted_step_seconds": 0.1, "routes": [{"hops": HOPS, "micro_batches": [0]}]}  # fmt: skip
STEP = {"event": "step", "step": 3, "epoch": 0, "loss": 1.25, "samples_per_second": 1234.0, "learning_rate": 0.1}
RECOVERY = {"event": "recovery", "cause": "died", "nodes": ["b"], "rolled_back_to": 2, "pause_seconds": 0.8,
            "moved_bytes": 1, "text": "pi-4 died; its layer 4 came back in 0.8 s; no step lost"}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (STARTED, "digits: 7 layers, 25.5 k parameters, 440 steps (job 00aa)"),
        (PLAN, "plan 1.2 (pipeline): desk 0–3 ─▶ pi-4 4. by speed"),
        ({"event": "eval", "epoch": 1, "loss": 0.5, "metrics": {"accuracy": 0.9}},
         "epoch 2: evaluation loss 0.5000  accuracy 0.9000"),
        ({"event": "finished", "steps": 4, "seconds": 83.0, "loss": 0.5, "output": "/x"},
         "finished 4 steps in 1 min 23 s, loss 0.5000; the weights:"),
        ({"event": "finished", "steps": 4, "seconds": None, "loss": None, "output": "on pi-4"},
         "finished 4 steps in –; the weights:"),
        ({"event": "finished", "steps": 4, "seconds": 1.0, "loss": None, "output": ""},
         "finished 4 steps in 1 s; the weights were not kept, `--output FILE.safetensors` keeps them"),
        ({"event": "failed", "reason": "desk died"}, "failed: desk died"),
        ({"event": "waiting", "reason": "layers 3–5 were lost"}, "layers 3–5 were lost"),
        (RECOVERY, "pi-4 died; its layer 4 came back in 0.8 s; no step lost"),
        ({"event": "news", "of": "later"}, "news: of later"),
    ],
)  # fmt: skip
def test_every_event_has_its_words(event: dict, text: str) -> None:
    assert in_words(event) == text


def test_without_a_terminal_steps_are_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with following() as follower:
        for event in (STARTED, PLAN, STEP, {**STEP, "step": 4}, {**STEP, "step": 5}):
            follower.show(event)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split()[0] for line in shown.err.splitlines()] == ["digits:", "plan", "step"]
    assert "step 3  loss 1.2500  1.23 k samples/s" in shown.err


def test_that_a_plan_was_looked_at_and_kept_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    kept = {"event": "decision", "changes": False, "text": "kept: it is still the best plan"}
    changed = {"event": "decision", "changes": True, "text": "changed: pi-4 is to take part"}
    with following() as follower:
        follower.show(kept)
        follower.show(changed)
    with Progress(TextColumn("{task.description}"), console=Console(width=200, stderr=True)) as progress:
        bar = _Bar(progress, "preparing")
        bar.show(kept)
        bar.show(changed)
    shown = capsys.readouterr().err
    assert "kept" not in shown
    assert shown.count("changed: pi-4 is to take part") == 2


def test_the_bar_says_that_it_waits_and_why_and_goes_back_with_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(TextColumn("{task.description}"), console=Console(width=200)) as progress:
        bar = _Bar(progress, "preparing")
        task = progress.tasks[0]
        for event in (STARTED, PLAN, STEP, {**STEP, "step": 4}):
            bar.show(event)
        bar.show({"event": "waiting", "reason": "layers 3–5 were lost with node pi-4; the job goes on when it is back"})
        assert (task.description, task.fields["pace"]) == ("waiting", "layers 3–5 were lost with node pi-4; th…")
        for event in (PLAN, STEP, RECOVERY):
            bar.show(event)
        assert (task.description, task.completed, task.total) == ("epoch 1", 3, 440)
        assert task.fields["pace"].startswith("loss 1.2500")
    shown = capsys.readouterr().out
    assert "the job goes on when it is back" in shown
    assert "no step lost" in shown
