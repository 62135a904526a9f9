"""``edged.train``: what the command does, from Python, with samples drawn in a thread of the caller's process."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from edged.client import Client
from edged.compute.result import Result
from edged.compute.submission import submit
from edged.config import home_of
from edged.errors import JobFailedError, UserError
from edged.feeder import serve
from edged.job import Job
from edged.strategies import PLANNERS

FEEDER_SECONDS = 60.0
"""How long the thread that draws may take to see that its job is over: it shares the caller's random state."""


def train(
    job: Job,
    home: str | Path | None = None,
    output: str | Path | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """Train ``job`` on the cluster of this device's node, which becomes its source, and wait until it is done.

    ``home``: the node's folder (default: ``EDGED_HOME``, else the platform's). ``output``: the safetensors file to
    write (default: in the node's folder). ``on_event`` gets every event as ``edged train --json`` prints it. Samples
    are drawn by a thread here, so nothing has to be importable elsewhere; a job that is left by an exception (Ctrl-C)
    is stopped.

    Raises ``NoNodeError`` if no node runs, ``JobError`` for a job that cannot run, ``JobFailedError`` if it ends early.
    """
    folder = home_of(None if home is None else Path(home), os.environ)
    client = Client(folder)
    node = client.ask("status")["node"]
    spec = submit(job, folder, None, output, source=node, strategies=PLANNERS)
    client.ask("submit", job=spec.job)
    feeding = Thread(target=_feed, args=(client, spec.job, job), name=f"feeder-{spec.job}", daemon=True)
    feeding.start()
    history: list[dict[str, Any]] = []
    try:
        finished = _follow(client, spec.job, history, on_event)
    except BaseException:
        with suppress(UserError):
            client.ask("stop", job=spec.job, reason="its program was interrupted")
        raise
    feeding.join(FEEDER_SECONDS)
    return Result(
        steps=finished["steps"],
        history=history,
        state_sha256=finished["state_sha256"],
        output=Path(finished["output"]),
    )


def _feed(client: Client, job_id: str, job: Job) -> None:
    """Serve as the job's feeder until the node has had enough; a feeder that cannot go on stops the job."""
    try:
        serve(client.connect(), job_id, job)
    except (UserError, OSError) as error:
        with suppress(UserError):
            client.ask("stop", job=job_id, reason=f"its samples cannot be drawn: {error}")


def _follow(
    client: Client,
    job_id: str,
    history: list[dict[str, Any]],
    on_event: Callable[[dict[str, Any]], None] | None,
) -> dict[str, Any]:
    """The job's ``finished`` event; all events are added to ``history``."""
    with closing(client.stream("attach", job=job_id)) as events:
        for event in events:
            history.append(event)
            if on_event is not None:
                on_event(event)
            if event["event"] == "finished":
                return event
            if event["event"] == "failed":
                raise JobFailedError(event["reason"])
    raise JobFailedError(f"the node in {client.home} went away before the job was done")
