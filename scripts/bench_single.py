"""One edged node against the plain loop, in steps per second: MobileNetV2 at 32x32, batch 64 in 8 micro-batches."""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch
from bench_model import BATCH_SIZE, MICRO_BATCHES, blocks, images, loss
from benchmarking import SCRIPTS, arguments, cluster, compare, report, run_script, step_seconds

STEPS = 25
GOAL = 0.97


def plain_loop(steps: int) -> float:
    """Median seconds of a step of the loop that defines the result (training.md), data ready in memory."""
    torch.set_num_threads(1)
    model, data = blocks(), images(1024)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=False)
    size = BATCH_SIZE // MICRO_BATCHES
    times = []
    for step in range(steps):
        began = time.perf_counter()
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(step // 16))
        mine = order[step % 16 * BATCH_SIZE :][:BATCH_SIZE].tolist()
        for start in range(0, BATCH_SIZE, size):
            batch = torch.utils.data.default_collate([data[i] for i in mine[start : start + size]])
            (loss(model, batch) * (size / BATCH_SIZE)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return statistics.median(times[5:])


def main() -> None:
    """Compare, or (with --plain) be the other side."""
    if "--plain" in sys.argv:
        print(json.dumps({"seconds": plain_loop(STEPS)}))
        return
    options = arguments(__doc__ or "", rounds=5)
    with cluster([1.0]) as nodes:
        comparison = compare(
            "one node / plain loop",
            ours=lambda: (
                1 / statistics.median(step_seconds(nodes[0], SCRIPTS / "bench_model.py", [f"steps={STEPS}"])[0])
            ),
            theirs=lambda: 1 / run_script(["bench_single.py", "--plain"])["seconds"],
            rounds=options.rounds,
            goal=GOAL,
            unit="steps/s",
        )
    report([comparison], as_json=options.json)


if __name__ == "__main__":
    main()
