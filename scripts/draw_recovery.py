"""Draws docs/pictures/recovery.svg: three real nodes train, one is killed (SIGKILL), the others go on.

    python scripts/draw_recovery.py                        # run and draw
    python scripts/draw_recovery.py --keep FOLDER          # keep the nodes' homes, journals included
    python scripts/draw_recovery.py --draw FOLDER          # draw again what a kept folder tells

The picture shows one run as its journals tell it; nothing in it is made up or averaged.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from recovery_picture import draw
from recovery_timeline import read_timeline
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from edged import Job
from edged.cli.demo_nodes import DemoNode, lines_of, run_edged, start_nodes, wait_until_known
from edged.client import Client

NODES = 3
KILL_AFTER = 40
"""Nobody is killed before this step ..."""

STEPS_AFTER = 12
"""... and so many after it are enough to see."""

WIDTH, BLOCKS = 512, 14
OUTPUT = Path(__file__).parents[1] / "docs" / "pictures" / "recovery.svg"


def job() -> Job:
    """A network of 15 MB in 14 equal blocks; each step is 128 samples in four micro-batches."""
    torch.manual_seed(0)
    block = partial(nn.Linear, WIDTH, WIDTH)
    layers = [part for _ in range(BLOCKS) for part in (block(), nn.LayerNorm(WIDTH), nn.ReLU())]
    samples = torch.randn(2048, WIDTH)
    return Job(
        name="recovery",
        model=nn.Sequential(*layers, nn.Linear(WIDTH, 10)),
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=TensorDataset(samples, samples[:, :10].argmax(1)),
        optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
        batch_size=128,
        micro_batches=4,
        epochs=1000,
    )


def main() -> None:
    """Run, or read what a run has left; then draw."""
    parser = argparse.ArgumentParser(description="Draw one real recovery.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the picture")
    parser.add_argument("--keep", type=Path, help="a folder to make, where the nodes' homes stay")
    parser.add_argument("--draw", type=Path, help="such a folder; nothing is run")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.draw or options.keep or Path(tempfile.mkdtemp(prefix="edged-recovery-"))
        if options.draw is None:
            folder.mkdir(parents=True, exist_ok=True)
            if options.keep is None:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            run(folder)
        told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
        homes = {name: folder / name for name in told["ids"]}
        timeline = read_timeline(homes, told["ids"], told["victim"], told["killed_at"])
    options.output.write_text(draw(timeline), encoding="utf-8")
    print(f"{timeline.report['text']}\n{options.output}")


def run(folder: Path) -> None:
    """Let nodes train until one was killed and the others have gone on; write what is needed to read their journals."""
    with ExitStack() as stack:
        cluster = start_nodes(stack, folder, [1.0] * NODES)
        wait_until_known(cluster)
        train = ["train", f"{__file__}:job", "--json", "--home", str(cluster[0].home)]
        hops: Sequence[Mapping[str, Any]] = ()
        victim, killed_at, left = "", 0.0, STEPS_AFTER
        for event in lines_of(run_edged(train)):
            match event["event"]:
                case "plan":
                    hops = event["routes"][0]["hops"]
                case "failed" if left > 0:
                    raise SystemExit(f"the job failed: {event['reason']}")
                case "step" if victim:
                    left -= 1
                case "step" if event["step"] >= KILL_AFTER and _protected(cluster[0]):
                    last = next(node for node in cluster if node.node == hops[-1]["node"])
                    victim, killed_at = last.home.name, _kill(last)
                case _:
                    pass
            if left == 0:
                Client(cluster[0].home).ask("stop", job="recovery", reason="drawn")
                left = -1
    told = {"victim": victim, "killed_at": killed_at, "ids": {node.home.name: node.node for node in cluster}}
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


def _protected(node: DemoNode) -> bool:
    return bool((Client(node.home).ask("status").get("protection") or {}).get("protected"))


def _kill(node: DemoNode) -> float:
    """Kill the node just after it has written its journal, so that little of it is missing; when that was."""
    folder = node.home / "journal"
    before = _size(folder)
    while _size(folder) == before:
        time.sleep(0.001)
    node.process.kill()
    killed_at = time.monotonic()
    node.process.wait()
    return killed_at


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    main()
