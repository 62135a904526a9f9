"""Commands that need no network: ``simulate`` and ``plan``, for clusters that a file describes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from edged.cli import completion
from edged.cli.options import JsonOption, home, print_json, threads_here
from edged.compute.job_reference import parse_overrides
from edged.compute.loading import collector_paused
from edged.errors import ConfigError, JobFailedError

ClusterOption = Annotated[Path, typer.Option("--cluster", metavar="FILE.toml", help="The cluster's description.")]


def simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The cluster's description.")],
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Where all chance begins, instead of the file's seed.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, metavar="N", help="Seconds of virtual time, instead of the file's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a described cluster under a virtual clock, with its faults."""
    with collector_paused():
        from edged.simulation.cluster import SimulatedCluster
        from edged.simulation.reading import read_cluster
        from edged.simulation.report import figures

        cluster = read_cluster(file)
        chosen = cluster.seed if seed is None else seed
        began = time.perf_counter()
        run = SimulatedCluster(cluster, chosen, cluster.seconds if seconds is None else seconds)
        run.run()
    took = time.perf_counter() - began
    if as_json:
        print_json({**figures(run, chosen), "took_seconds": took})
    else:
        from edged.tui.foresight import print_simulation

        print_simulation(run, chosen, took)
    if run.has_failed():
        raise JobFailedError(f"the simulated job ended: {run.job_state()}; `--json` tells what had happened before")


def plan(
    job_file: Annotated[str, typer.Argument(metavar="JOB.py[:function]", help="The file with the job.")],
    cluster: ClusterOption,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Show this strategy's plan, not the best.", autocompletion=completion.strategies
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for `edged train`.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the picture as SVG, too.")] = None,
    threads: Annotated[
        str | None, typer.Option(metavar="N", help="Compute threads; default: as a node here chooses.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Foresee each strategy's plan for a job on a described cluster."""
    from edged.simulation.foresight import foresee, known_strategies
    from edged.simulation.reading import read_cluster

    if strategy is not None and strategy not in known_strategies():
        raise ConfigError(f"--strategy {strategy}: write one of {', '.join(known_strategies())}")
    if svg is not None and not svg.expanduser().absolute().parent.is_dir():
        raise ConfigError(f"--svg {svg}: the folder {svg.expanduser().absolute().parent} does not exist; make it first")
    described, count = read_cluster(cluster), threads_here(home(None), threads)
    with collector_paused():
        from edged.compute.job_file import load
        from edged.compute.submission import measure_job
    spec = measure_job(load(job_file, parse_overrides(changes or [])), count)
    seen = foresee(described, spec)
    shown = seen.chosen(strategy)
    if svg is not None and shown.plan is not None and shown.rehearsal is not None:
        from edged.tui.timeline_svg import timeline_svg

        title = f"{spec.name} on {described.path}: one step of {shown.strategy}"
        picture = timeline_svg(shown.plan, shown.rehearsal, seen.names(), title, shown.plan.reason)
        svg.expanduser().write_text(picture, encoding="utf-8")
    if as_json:
        print_json(seen.as_object())
    else:
        from edged.tui.foresight import print_plans

        print_plans(seen, shown)
    if shown.plan is None:
        raise JobFailedError(f"{shown.strategy}: {shown.problem}" if strategy else shown.problem)
    if svg is not None and not as_json:
        print(f"edged: the timeline is in {svg}", file=sys.stderr)
