"""What ``edged simulate`` and ``edged plan`` show to people: tables, and the timeline below."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from edged.core.plan import Plan
from edged.simulation.cluster import SimulatedCluster
from edged.simulation.foresight import Foresight, Prospect
from edged.simulation.report import rows, sentences
from edged.strategies.rehearsal import Rehearsal
from edged.tui.timeline import legend, timeline


def print_simulation(run: SimulatedCluster, seed: int, took_seconds: float) -> None:
    """The figures of a run."""
    console = Console(highlight=False, soft_wrap=True)
    cluster = run.cluster
    faults = ", ".join(f"{count} {kind}" for kind, count in run.log.faults.items()) or "none"
    console.print(
        f"{cluster.path}: {_counted(len(cluster.devices), 'device')}, {run.seconds:g} s, seed {seed}; faults: {faults}"
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("count", "median", "worst"):
        table.add_column(heading, justify="right")
    for row in rows(run):
        table.add_row(*row)
    console.print(table)
    for sentence in sentences(run):
        console.print(sentence, markup=False)
    for at, report in run.log.recoveries[:20]:
        console.print(f"  {at:7.2f} s  {report.text}", markup=False)
    console.print(f"(simulated in {took_seconds:.1f} s)", markup=False)


def print_plans(seen: Foresight, shown: Prospect) -> None:
    """A table of all strategies, then one step of the plan that is shown."""
    console = Console(highlight=False, soft_wrap=True)
    spec = seen.situation.spec
    cut = "each micro-batch is a step" if spec.asynchronous else f"{_counted(spec.micro_batches, 'micro-batch')} a step"
    console.print(
        f"{spec.name}: {_counted(len(spec.layers), 'layer')}, {cut}; "
        f"{seen.fastest} alone needs {seen.alone_seconds:.3g} s for a step",
        markup=False,
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading, justify in (("strategy", "left"), ("nodes", "right"), ("step", "right"), ("samples/s", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    table.add_column("speed-up", justify="right")
    for prospect in seen.prospects:
        table.add_row(*_cells(seen, prospect))
    console.print(table)
    for prospect in seen.prospects:
        text = prospect.problem if prospect.plan is None else prospect.plan.reason
        console.print(f"{prospect.strategy}: {text}", markup=False)
    if shown.plan is not None and shown.rehearsal is not None:
        _print_timeline(console, seen, shown.plan, shown.rehearsal, shown.strategy)


def _counted(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("ch") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"


def _cells(seen: Foresight, prospect: Prospect) -> tuple[str, ...]:
    if prospect.plan is None:
        return (prospect.strategy, "", "", "", "impossible")
    return (
        prospect.strategy,
        str(len(prospect.plan.nodes())),
        f"{prospect.step_seconds:.3g} s",
        f"{seen.samples_per_second(prospect):.4g}",
        f"{seen.alone_seconds / prospect.step_seconds:.2f}",
    )


def _print_timeline(console: Console, seen: Foresight, plan: Plan, rehearsal: Rehearsal, strategy: str) -> None:
    console.print(f"\none step of {strategy}:", markup=False)
    for line in timeline(plan, rehearsal, seen.names()):
        console.print(line, markup=False)
    console.print(legend(plan.micro_batches), markup=False)
