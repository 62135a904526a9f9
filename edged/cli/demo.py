"""``edged demo``: several nodes of different speed on this machine train one network together, for real.

Separate processes, encrypted ZeroMQ on loopback, the shipped digits. On the way one node is killed and a new one joins.
It ends with the test accuracy, the proof that no step was lost (the weights equal those of an undisturbed run on one
device), and the path of the weights. Exit status 1 if not.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.demo_faults import Mishaps
from edged.cli.demo_nodes import DemoNode, add_node, ending, finish, lines_of, run_edged, start_nodes, wait_until_known
from edged.cli.options import JsonOption, can_draw, print_json
from edged.cli.outputs import try_folder
from edged.client import Client
from edged.errors import ConfigError, JobFailedError
from edged.tui.words import duration

LEAST_ACCURACY = 0.96
SLOWDOWNS = (1.0, 1.5, 2.0, 3.0)
JOB_FILE = Path(__file__).parents[1] / "data" / "digits_job.py"
EPOCHS, MOST_EPOCHS = 20, 80
LONG_ENOUGH = 1.0
"""On a device of this slowness the shipped job takes long enough as it is for a new node to join in its middle."""


def demo(
    nodes: Annotated[int, typer.Option(metavar="N", help="How many nodes.", min=1, max=16)] = 4,
    job: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Another job file; job() is called.", show_default="the shipped digits"),
    ] = JOB_FILE,
    no_kill: Annotated[bool, typer.Option("--no-kill", help="Leave all nodes alive.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train digits on several nodes here, kill one; prove the result."""
    if not job.is_file():
        raise ConfigError(f"--job {job}: there is no such file")
    output = Path.cwd() / "edged-demo.safetensors"
    try_folder(f"the weights go to {output}", output.parent)
    began = time.monotonic()
    with _stage(output) as (stack, folder):
        _tell(f"starting {nodes} nodes on this machine, some seconds …", as_json=as_json)
        cluster = start_nodes(stack, folder, [SLOWDOWNS[index % len(SLOWDOWNS)] for index in range(nodes)])
        wait_until_known(cluster)
        _tell(f"{nodes} nodes found each other over encrypted ZeroMQ; now they get a job …", as_json=as_json)
        newcomer = partial(add_node, stack, folder, cluster[0], nodes, SLOWDOWNS[0])
        mishaps = None if no_kill else Mishaps(cluster, newcomer)
        arguments = ["train", str(job), "--json"]
        arguments += _longer(cluster[0]) if mishaps and job == JOB_FILE else []
        events = _events(stack, [*arguments, "--output", str(output), "--home", str(cluster[0].home)])
        together = _shown(cluster[0], mishaps.follow(events) if mishaps else events, as_json=as_json)
        for process in (*(node.process for node in cluster), *(mishaps.newcomers if mishaps else ())):
            finish(process)
        _tell("the same job on one device, undisturbed, to compare …", as_json=as_json)
        events = _events(stack, [*arguments, "--local", "--output", str(folder / "alone.safetensors")])
        alone = _last(events if as_json else _paced(events))
    _verdict(together, alone, mishaps, time.monotonic() - began, as_json=as_json)


@contextmanager
def _stage(output: Path) -> Iterator[tuple[ExitStack, Path]]:
    """What ends all processes, and the folder of their homes. Who presses Ctrl-C is told what is left then."""
    before = _moment(output)
    try:
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="edged-demo-"))
            stack.callback(_clear, folder)
            yield stack, folder
    except KeyboardInterrupt:
        left = [f"the weights in {output}"] if _moment(output) != before else []
        left += [f"the logs in {folder}"] if folder.exists() else []
        print(f"edged: interrupted: all nodes are ended; left behind: {', '.join(left) or 'nothing'}", file=sys.stderr)
        raise


def _moment(file: Path) -> int | None:
    """When a file was last written, if it is there."""
    return file.stat().st_mtime_ns if file.exists() else None


def _events(stack: ExitStack, arguments: list[str]) -> Iterator[Mapping[str, Any]]:
    """What a command prints; it runs in a process of its own, which ``stack`` ends."""
    process = run_edged(arguments)
    stack.push(ending(process))
    return lines_of(process)


def _longer(node: DemoNode) -> list[str]:
    """What lets the shipped job take about as long on a fast device as on a slow one."""
    status = Client(node.home).ask("status")
    slowness = next(member["slowness"] for member in status["members"] if member["node"] == node.node)
    epochs = min(MOST_EPOCHS, max(EPOCHS, round(EPOCHS * LONG_ENOUGH / slowness)))
    return ["--set", f"epochs={epochs}"]


def _shown(node: DemoNode, events: Iterator[Mapping[str, Any]], *, as_json: bool) -> Mapping[str, Any]:
    """The job's closing event, after all of it was shown."""
    if as_json:
        return _last(_echo(events))
    if can_draw():
        return _watch(node, events)
    return _last(_spoken(events))


def _paced(events: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Pass the events on, and show how far the job is: nothing else of it is news."""
    from edged.cli.progress import following

    with following("preparing") as follower:
        for event in events:
            if event["event"] in {"started", "step"}:
                follower.show(event)
            yield event


def _watch(node: DemoNode, events: Iterator[Mapping[str, Any]]) -> Mapping[str, Any]:
    from edged.tui import live

    with live.beside_node(node.home):
        return _last(events)


def _echo(events: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for event in events:
        print_json(event)
        yield event


def _spoken(events: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    from edged.cli.progress import in_words

    for event in events:
        if event["event"] != "step":
            print(in_words(event).removesuffix("; the weights:"), flush=True)  # the verdict tells where they are
        yield event


def _last(events: Iterator[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The closing event, with the last evaluation's metrics put beside it."""
    closing: Mapping[str, Any] = {"event": "failed", "reason": "the training command ended without a word"}
    metrics: Mapping[str, Any] = {}
    for closing in events:
        if closing["event"] == "eval":
            metrics = closing["metrics"]
    if closing["event"] != "finished":
        raise JobFailedError(f"the demo's job failed: {closing.get('reason', closing)}")
    return {**closing, "metrics": metrics}


def _verdict(
    together: Mapping[str, Any], alone: Mapping[str, Any], mishaps: Mishaps | None, seconds: float, *, as_json: bool
) -> None:
    equal = together["state_sha256"] == alone["state_sha256"]
    accuracy = together["metrics"].get("accuracy")
    if as_json:
        summary = {
            "event": "demo",
            "accuracy": accuracy,
            "equal": equal,
            "killed": mishaps.killed if mishaps else None,
            "joined": mishaps.joined if mishaps else None,
            "state_sha256": together["state_sha256"],
            "output": together["output"],
            "seconds": round(seconds, 2),
        }
        print_json(summary)
    else:
        _tell_mishaps(mishaps)
        verdict = "equal bit for bit" if equal else "NOT equal"
        lost = "no step was lost: " if equal and mishaps and mishaps.killed else ""
        if accuracy is not None:
            print(f"test accuracy {accuracy:.2%}")
        print(f"{lost}weights {verdict} to the undisturbed run on one device (sha256 {together['state_sha256'][:16]}…)")
        print(f"trained in {duration(together['seconds'])} (alone {duration(alone['seconds'])}); all of it took "
              f"{duration(seconds)}")  # fmt: skip
        print(f"weights: {together['output']}")
    if not equal:
        raise JobFailedError("the weights differ from the single device's: please report this with both files")
    if accuracy is not None and accuracy < LEAST_ACCURACY:
        raise JobFailedError(f"the accuracy is below {LEAST_ACCURACY:.0%}")


def _tell_mishaps(mishaps: Mishaps | None) -> None:
    if mishaps is None or mishaps.killed is None:
        return
    new = f"{mishaps.joined} joined" if mishaps.joined else "the new node came too late to be given layers"
    print(f"{mishaps.killed} was killed (SIGKILL) after step {mishaps.killed_at}; {new}")
    for recovery in mishaps.recoveries:
        print(f"  {recovery['text']}")


def _tell(text: str, *, as_json: bool) -> None:
    print(text, file=sys.stderr if as_json else sys.stdout, flush=True)


def _clear(folder: Path) -> None:
    if not os.environ.get("EDGED_DEBUG"):
        shutil.rmtree(folder, ignore_errors=True)
