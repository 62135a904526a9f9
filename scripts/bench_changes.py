"""What happens when devices change in mid-run: one slows down, one joins, all are noisy. MobileNetV2, steps of 32.

Equal nodes in network namespaces (root) with links of 1 Gbit/s. Each gets half of a core, by SIGSTOP and SIGCONT in
short turns (scripts/testbed_throttle.py), so that they hardly disturb each other; what changes is that share. Steps are
small, since a plan changes between steps: what a slow node is in the middle of is finished first.

- slowed: one of three nodes gets a fifth of its share. Seconds until the first of three steps in a row is done that
  reach 90 % of the new optimum: the throughput of the same cluster with that node slowed from the start.
- joiner: a third node joins two at work. Seconds from its ready line to the plan that gives it layers.
- noise: three nodes for five minutes, each with 0.8 to 1.0 of its share, drawn anew each second from a seed. How often
  layers are placed otherwise.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarking import (
    SCRIPTS,
    Limit,
    add_device,
    arguments,
    each_case,
    need_network,
    report_limits,
    say,
)
from job_run import (
    WARM_SECONDS,
    JobRun,
    NotSeenError,
    Told,
    back_after,
    described,
    in_plan,
    plans,
    repartitions,
    stages,
    steady_steps,
)
from testbed import Testbed, ended_by_signals
from testbed_throttle import Throttle

JOB = SCRIPTS / "bench_model.py"
CHANGES: Mapping[str, object] = {"micro_batches": 4, "steps": 1_000_000, "strategy": "auto"}
EQUAL = ("n0", "n1", "n2")
SHARE = 1 / 2
"""Of one core, for each node."""

GIGABIT = 1000.0
TIMES_SLOWER = 5.0
GOAL_SECONDS = 20.0
GIVE_UP_SECONDS = 240.0
"""So long a change is waited for; if it does not come, it counts as having taken that."""

NOISE_SECONDS, NOISE_LEAST, SEED = 300.0, 0.8, 1
DRAW_SECONDS = 1.0
BEGIN_SECONDS = 400.0


def slowed(options: argparse.Namespace) -> Limit:
    """One of three becomes five times slower."""
    steps = 3 if options.quick else 10
    seconds = []
    for number in range(options.rounds):
        optimum = new_optimum(steps)
        seconds.append(until_back(optimum))
        say(f"round {number + 1}/{options.rounds}: back after {seconds[-1]:.1f} s (optimum: {optimum:.2f} s a step)")
    return Limit("a node 5 times slower: seconds to 90 % of the new optimum", "s", seconds, GOAL_SECONDS)


def new_optimum(steps: int) -> float:
    """Median seconds of a step where one of the three has been slow from the start."""
    say("the new optimum: n2 slowed before it starts ...")
    with rationed(EQUAL, n2=SHARE / TIMES_SLOWER) as (bed, _):
        return steady_steps(bed["n0"].home, JOB, CHANGES, steps=steps, warm_seconds=WARM_SECONDS).median


def until_back(optimum: float) -> float:
    """Seconds from slowing a node in mid-run until throughput is back at 90 % of the optimum."""
    say("n2 slowed in mid-run ...")
    with rationed(EQUAL) as (bed, throttles), JobRun(bed["n0"].home, JOB, CHANGES) as run:
        run.wait(calm(), "the plan to stand", BEGIN_SECONDS)
        since = time.monotonic()
        throttles["n2"].share = SHARE / TIMES_SLOWER
        seconds = in_time(run, lambda told: back_after(told, since, optimum), "throughput is back")
        tell_plans(run.told(), since)
        return seconds


def joiner(options: argparse.Namespace) -> Limit:
    """A third node joins two."""
    seconds = []
    for number in range(options.rounds):
        with rationed(EQUAL[:2]) as (bed, _), JobRun(bed["n0"].home, JOB, CHANGES) as run:
            run.wait(calm(), "the plan to stand", BEGIN_SECONDS)
            with ExitStack() as stack:
                device = bed[add_device(bed, 1.0, GIGABIT)]
                started(stack, bed, [device.name], {})
                since = time.monotonic()
                seconds.append(in_time(run, partial(used_after, device.id, since), "it has layers"))
                tell_plans(run.told(), since)
        say(f"round {number + 1}/{options.rounds}: used after {seconds[-1]:.1f} s")
    return Limit("a joiner: seconds from ready to a plan that uses it", "s", seconds, GOAL_SECONDS)


def noise(options: argparse.Namespace) -> Limit:
    """All are noisy for minutes."""
    seconds = 20.0 if options.quick else NOISE_SECONDS
    with rationed(EQUAL) as (bed, throttles), JobRun(bed["n0"].home, JOB, CHANGES) as run:
        run.wait(calm(), "the plan to stand", BEGIN_SECONDS)
        say(f"noise on all nodes for {seconds:.0f} s ...")
        since, rng = time.monotonic(), random.Random(SEED)
        while time.monotonic() < since + seconds:
            for throttle in throttles.values():
                throttle.share = SHARE * rng.uniform(NOISE_LEAST, 1.0)
            time.sleep(DRAW_SECONDS)
        changed = repartitions(run.told(), since)
        tell_plans(run.told(), since)
    return Limit(f"{seconds:.0f} s of 20 % noise: re-partitions", "", [float(len(changed))], 1.0)


def in_time(run: JobRun, found: Callable[[Sequence[Told]], float | None], what: str) -> float:
    """The seconds that something took, or ``GIVE_UP_SECONDS``."""
    try:
        return run.wait(found, what, GIVE_UP_SECONDS)
    except NotSeenError as error:
        say(f"  {error}")
        return GIVE_UP_SECONDS


def used_after(node: str, since: float, told: Sequence[Told]) -> float | None:
    """Seconds from a moment until a plan is told in which a node has layers."""
    given = (now for now, line in told if line["event"] == "plan" and node in {each for each, _, _ in stages(line)})
    return next((now - since for now in given), None)


def calm() -> Callable[[Sequence[Told]], bool | None]:
    """Asks whether a plan has done steps for a while."""

    def asked(told: Sequence[Told]) -> bool | None:
        moments = in_plan(told)
        return True if moments and moments[-1] - moments[0] >= WARM_SECONDS else None

    return asked


@contextmanager
def rationed(names: Sequence[str], **shares: float) -> Iterator[tuple[Testbed, dict[str, Throttle]]]:
    """Nodes that know and have measured each other, with their throttles; ``shares`` of those that do not get SHARE."""
    with ExitStack() as stack:
        bed = Testbed(stack, network=True)
        for _ in names:
            add_device(bed, 1.0, GIGABIT)
        throttles = started(stack, bed, names, shares)
        bed.settle()
        yield bed, throttles


def started(stack: ExitStack, bed: Testbed, names: Sequence[str], shares: Mapping[str, float]) -> dict[str, Throttle]:
    """Start nodes that are rationed from the beginning, so that they calibrate as they will work; all are ready."""
    throttles = {}
    for name in names:
        bed[name].start([each.address for each in bed.devices.values()])
        throttles[name] = stack.enter_context(Throttle(bed[name].process.pid, shares.get(name, SHARE)))
    for name in names:
        bed[name].ready()
    return throttles


def tell_plans(told: Sequence[Told], since: float) -> None:
    """Say which plans and decisions came after a moment, and why."""
    for now, line in told:
        if now > since and line["event"] in {"plan", "recovery", "decision"}:
            what = described(line) + f": {line['reason']}" if line["event"] == "plan" else line["text"]
            say(f"  after {now - since:.1f} s: {what}")
    say(f"  at the end: {described(plans(told)[-1])}")


CASES: Mapping[str, Callable[[argparse.Namespace], Limit]] = {"slowed": slowed, "joiner": joiner, "noise": noise}


def main() -> None:
    """Measure the cases; exit status 1 if a goal was missed."""
    options = arguments(__doc__ or "", rounds=3, cases=tuple(CASES))
    need_network(as_json=options.json)
    with ended_by_signals():
        limits, complete = each_case(options.case, lambda name: [CASES[name](options)])
    report_limits(limits, {}, as_json=options.json, complete=complete)


if __name__ == "__main__":
    main()
