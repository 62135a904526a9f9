"""Commands about jobs: ``train``, ``jobs``, ``attach``, ``stop``, ``export``."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli import completion
from edged.cli.options import HomeOption, JsonOption, home, print_json, threads_here
from edged.cli.outputs import deliver, model_folder, try_folder, weights_file
from edged.cli.recording import Record, TensorBoardOption, recording
from edged.client import Client
from edged.compute.job_reference import check_there, parse_overrides, split
from edged.compute.loading import collector_paused
from edged.errors import ConfigError, JobError, JobFailedError, UserError

_ACTIVE = {"queued", "preparing", "running", "waiting"}

_WHERE = "Where the weights go; default: in the home; with --local: nowhere."
_SET = "Change an argument of the function, a field, or a number of the optimizer (optimizer.lr=0.01); repeatable."

JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A job's id, its beginning, or name (see `edged jobs`).", autocompletion=completion.jobs
    ),
]


def train(
    job_file: Annotated[str, typer.Argument(metavar="JOB.py[:function]", help="The file with the job.")],
    home_flag: HomeOption = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE.safetensors", help=_WHERE)] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET)] = None,
    as_json: JsonOption = False,
    detach: Annotated[bool, typer.Option("--detach", help="Hand the job over, print its id and leave.")] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Train here, without a node: the reference, and the way to debug.")
    ] = False,
    threads: Annotated[
        str | None, typer.Option(metavar="N", help="With --local: compute threads; 0: as a node chooses.")
    ] = None,
    tensorboard: TensorBoardOption = None,
) -> None:
    """Train a job: this device's node becomes its source."""
    target = None if output is None else weights_file(output)
    if target is not None:
        try_folder(f"--output {output}", target.parent)
    if detach and tensorboard is not None:
        raise ConfigError("--tensorboard follows the job: leave --detach out, or `edged attach JOB --tensorboard DIR`")
    if local:
        count = threads_here(home(home_flag), threads)
        with recording(tensorboard) as record, _told(as_json=as_json):
            _train_local(job_file, changes or [], target, count, record, as_json=as_json)
        return
    if threads is not None:
        raise ConfigError("--threads goes with --local; a node's threads are chosen by `edged join --threads N`")
    client = Client(home(home_flag))
    node = client.ask("status")["node"]  # no node: say so before torch is loaded
    with recording(tensorboard) as record:
        with _told(as_json=as_json):
            job = _hand_over(client, node, job_file, changes or [], target, as_json=as_json)
        if detach:
            _name(job, as_json=as_json)
            return
        written = _follow(client, job, record, as_json=as_json)
    if target is not None and written != str(target):
        deliver(written, target)
        written = str(target)
    if not as_json:
        print(written)


def _hand_over(
    client: Client, node: str, job_file: str, changes: list[str], target: Path | None, *, as_json: bool
) -> str:
    """Load, capture, check and submit the job; returns its id."""
    overrides = parse_overrides(changes)
    path, function = split(job_file)
    check_there(path)
    _say("reading the job, capturing the model and checking it bit for bit …", as_json=as_json)
    job_id = secrets.token_hex(6)
    feeder = {"path": str(path), "function": function, "set": overrides}
    with _announced(client, job_id, feeder):
        with collector_paused():
            from edged.compute.job_file import load
            from edged.compute.submission import submit
            from edged.strategies import PLANNERS

        job = load(job_file, overrides)
        spec = submit(job, client.home, feeder, target, source=node, strategies=PLANNERS, job_id=job_id)
        client.ask("submit", job=spec.job)
    before = [other for other in client.ask("jobs")["jobs"] if other["job"] != spec.job and other["state"] in _ACTIVE]
    if before:
        names = ", ".join(f"{other['name']} ({other['job']}, {other['state']})" for other in before)
        _say(f"one job runs at a time; this one waits for {names}", as_json=as_json)
    return spec.job


@contextmanager
def _announced(client: Client, job: str, feeder: Mapping[str, Any]) -> Iterator[None]:
    """Let the node start the process that will draw the samples, while this one is busy with the model.

    The node ends that process if the connection closes before the job has been submitted.
    """
    request = {"command": "announce", "job": job, "feeder": feeder}
    with client.connect() as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        yield


@contextmanager
def _told(*, as_json: bool) -> Iterator[None]:
    """With --json a job that is refused or fails ends with its ``failed`` object, as a followed one does."""
    try:
        yield
    except (JobError, JobFailedError, ConfigError) as error:
        if as_json:
            print_json({"event": "failed", "reason": str(error)})
        raise


def list_jobs(home_flag: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the cluster's jobs, newest last."""
    found = Client(home(home_flag)).ask("jobs")
    if as_json:
        print_json(found)
        return
    for job in found["jobs"]:
        reason = f"  ({job['reason']})" if job["reason"] else ""
        print(f"{job['job']}  {job['name']:<20} {job['state']:<9} step {job['step']}/{job['steps']}{reason}")
    if not found["jobs"]:
        print("no jobs yet: edged train JOB.py", file=sys.stderr)


def attach(
    job: JobArgument,
    home_flag: HomeOption = None,
    as_json: JsonOption = False,
    tensorboard: TensorBoardOption = None,
) -> None:
    """Follow a job as `train` does, from any device."""
    client = Client(home(home_flag))
    with recording(tensorboard) as record:
        written = _follow(client, job, record, as_json=as_json)
    if not as_json:
        print(_seen_from_here(client, job, written))


def stop(
    job: JobArgument,
    home_flag: HomeOption = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    as_json: JsonOption = False,
) -> None:
    """End a job."""
    found = Client(home(home_flag)).ask("stop", job=job, reason=reason)
    if as_json:
        print_json(found)
    else:
        print(f"edged: {found['job']} {found['state']}", file=sys.stderr)


def export(
    job: JobArgument,
    output: Annotated[
        Path,
        typer.Option(metavar="FILE.safetensors", help="Where the weights go; with --pretrained, a folder."),
    ],
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Write a folder for Hugging Face's from_pretrained.")
    ] = False,
    home_flag: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a job's newest complete weights, also while it runs."""
    target = model_folder(output) if pretrained else weights_file(output)
    found = Client(home(home_flag)).ask("export", job=job, output=str(target), pretrained=pretrained)
    if as_json:
        print_json(found)
    else:
        print(found["output"])


def _name(job: str, *, as_json: bool) -> None:
    """Tell the id of a job that was handed over."""
    if as_json:
        print_json({"job": job})
    else:
        print(job)


def _follow(client: Client, job: str, record: Record, *, as_json: bool) -> str:
    """Show a job until it ends, and record it; returns where its weights were written."""
    stream = _recorded(client.stream("attach", job=job), record)
    try:
        last = _print_json(stream) if as_json else _show(stream)
    except KeyboardInterrupt:
        if not as_json and sys.stdin.isatty() and _wants_stop():
            client.ask("stop", job=job)
            print(f"edged: job {job} is stopped", file=sys.stderr)
        else:
            print(f"edged: detached, the job goes on; follow it with `edged attach {job}`", file=sys.stderr)
        raise
    if last.get("event") == "failed":
        raise JobFailedError(_why(client, job, last))
    if last.get("event") != "finished":
        raise JobFailedError(f"the node went away before job {job} ended; when it is back: `edged attach {job}`")
    return str(last["output"])


def _why(client: Client, job: str, failed: Mapping[str, Any]) -> str:
    """Why a job ended early, in one line; with --debug the traceback of the user's own code goes before it."""
    if _was_stopped(client, job):
        reason = str(failed["reason"])
        return f"job {job} was {reason}" if reason.startswith("stopped ") else f"job {job} was stopped: {reason}"
    detail = failed.get("detail")
    if detail and os.environ.get("EDGED_DEBUG"):
        print(detail, file=sys.stderr)
    hint = "" if not detail or os.environ.get("EDGED_DEBUG") else f"; `edged --debug attach {job}` shows the traceback"
    return f"job {job} failed: {failed['reason']}{hint}"


def _was_stopped(client: Client, job: str) -> bool:
    """Whether a job that is over was stopped: its events tell the reason only."""
    return bool(_listed(client, job).get("state") == "stopped")


def _seen_from_here(client: Client, job: str, written: str) -> str:
    """Where the weights are, with the name of the job's source if that is another device than the one asked."""
    source = _listed(client, job).get("source")
    with suppress(UserError):
        view = client.ask("status")
        if written and source not in {None, view["node"]}:
            names = {member["node"]: member["name"] for member in view["members"]}
            return f"on {names.get(source, source)}: {written}"
    return written


def _listed(client: Client, job: str) -> Mapping[str, Any]:
    """The newest job of this id, name or beginning of an id, as the node lists it; empty if it does not answer."""
    with suppress(UserError):
        listed = client.ask("jobs")["jobs"]
        meant = [other for other in listed if other["job"] == job]
        meant = meant or [other for other in listed if other["name"] == job or other["job"].startswith(job)]
        if meant:
            found: Mapping[str, Any] = meant[-1]
            return found
    return {}


def _recorded(stream: Iterable[Mapping[str, Any]], record: Record) -> Iterator[Mapping[str, Any]]:
    for event in stream:
        record(event)
        yield event


def _print_json(stream: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    last: Mapping[str, Any] = {}
    for last in stream:
        print_json(last)
    return last


def _show(stream: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    from edged.cli.progress import following

    last: Mapping[str, Any] = {}
    with following() as follower:
        for last in stream:
            if last["event"] != "failed":
                follower.show(last)
    return last


def _wants_stop() -> bool:
    """Ask. A second Ctrl-C, the end of the input and an empty line leave the job alone."""
    try:  # around the question too: the second Ctrl-C may come as soon as it can be read
        print("[d]etach (the job goes on) or [s]top it? ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower().startswith("s")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return False


def _train_local(
    job_file: str, changes: list[str], output: Path | None, threads: int, record: Record, *, as_json: bool
) -> None:
    check_there(split(job_file)[0])
    overrides = parse_overrides(changes)
    from edged.cli.progress import following

    with collector_paused():
        from edged.compute.job_file import load
        from edged.compute.local import train_local

    def run(show: Record) -> Path | None:
        def tell(event: Mapping[str, Any]) -> None:
            record(event)
            show(event)

        return train_local(job, output=output, on_event=tell, threads=threads).output

    job = load(job_file, overrides)
    if as_json:
        run(print_json)
        return
    with following("preparing") as follower:
        written = run(follower.show)
    if written:
        print(written)


def _say(text: str, *, as_json: bool) -> None:
    if not as_json:
        print(text, file=sys.stderr, flush=True)
