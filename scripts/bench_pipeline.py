"""Two edged nodes against torch.distributed.pipelining (gloo, 1F1B): MobileNetV2 at 32x32, batch 64, 8 micro-batches.

One thread each, the same optimizer. torch's stages are cut at the block border nearest to edged's cut, and at its two
neighbours; the fastest of the three counts.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from bench_model import BATCH_SIZE, MICRO_BATCHES, blocks, images
from benchmarking import SCRIPTS, arguments, cluster, compare, report, run_script, step_seconds
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F  # noqa: N812 - the usual name

STEPS = 25
GOAL = 1.0


def stage_process(rank: int, store: str, cut: int, steps: int, result: str) -> None:
    """One of torch's two stages; the second writes the median seconds of a step."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    whole = blocks()
    module = whole[:cut] if rank == 0 else whole[cut:]
    data = images(BATCH_SIZE)
    pictures, labels = data.tensors
    with torch.no_grad():
        crossing = whole[:cut].eval()(pictures[: BATCH_SIZE // MICRO_BATCHES])
        whole.train()
    example = pictures[: BATCH_SIZE // MICRO_BATCHES] if rank == 0 else crossing
    stage = PipelineStage(module, rank, 2, torch.device("cpu"), input_args=(example,))
    schedule = Schedule1F1B(stage, MICRO_BATCHES, loss_fn=F.cross_entropy)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, foreach=False)
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        schedule.step(pictures) if rank == 0 else schedule.step(target=labels)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    if rank == 1:
        Path(result).write_text(json.dumps(statistics.median(times[5:])), encoding="utf-8")
    dist.destroy_process_group()


def torch_pipeline(cut: int, steps: int) -> float:
    """Median seconds of a step of torch's pipeline with ``cut`` blocks on the first stage."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        result = str(Path(folder) / "result")
        spawn(_spawned, (str(Path(folder) / "store"), cut, steps, result), nprocs=2)  # type: ignore[no-untyped-call]
        seconds: float = json.loads(Path(result).read_text(encoding="utf-8"))
        return seconds


def _spawned(rank: int, store: str, cut: int, steps: int, result: str) -> None:
    stage_process(rank, store, cut, steps, result)


def nearest_block(plan: dict[str, Any], layers: int) -> int:
    """The number of blocks whose share of the layers is nearest to that of edged's first stage."""
    share = (plan["routes"][0]["hops"][0]["last_layer"] + 1) / layers
    whole = blocks()
    weighty = [
        sum(1 for part in block.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.BatchNorm2d))
        for block in whole
    ]
    return min(range(1, len(weighty)), key=lambda cut: abs(sum(weighty[:cut]) / sum(weighty) - share))


def main() -> None:
    """Compare, or (with --torch CUT STEPS) be the other side."""
    if "--torch" in sys.argv:
        cut, steps = map(int, sys.argv[-2:])
        print(json.dumps({"seconds": torch_pipeline(cut, steps)}))
        return
    options = arguments(__doc__ or "", rounds=5)
    with cluster([1.0, 1.0]) as nodes:
        _, plan = step_seconds(nodes[0], SCRIPTS / "bench_model.py", ["steps=8"])
        nearest = nearest_block(plan, plan["routes"][0]["hops"][-1]["last_layer"] + 1)
        tried = {
            cut: run_script(["bench_pipeline.py", "--torch", str(cut), "25"])["seconds"]
            for cut in (nearest - 1, nearest, nearest + 1)
        }
        best = min(tried, key=lambda cut: tried[cut])
        print(f"edged cuts at {plan['routes'][0]['hops']}; torch by cut: {tried}", file=sys.stderr)
        comparison = compare(
            "two nodes / torch.distributed.pipelining",
            ours=lambda: (
                1 / statistics.median(step_seconds(nodes[0], SCRIPTS / "bench_model.py", [f"steps={STEPS}"])[0])
            ),
            theirs=lambda: 1 / run_script(["bench_pipeline.py", "--torch", str(best), str(STEPS)])["seconds"],
            rounds=options.rounds,
            goal=GOAL,
            unit="steps/s",
        )
    report([comparison], as_json=options.json)


if __name__ == "__main__":
    main()
