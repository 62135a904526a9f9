"""Draws docs/pictures/live-view.svg: four real nodes train the shipped digits; one is killed on the way, one joins.

    python scripts/picture.py                        # run and draw
    python scripts/picture.py --keep status.json     # keep what was drawn
    python scripts/picture.py --draw status.json     # draw it again

The picture is what `edged watch --svg` writes at that moment; nothing in it is made up.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from edged.cli.demo import JOB_FILE
from edged.cli.demo_faults import Mishaps
from edged.cli.demo_nodes import add_node, lines_of, run_edged, start_nodes, wait_until_known
from edged.client import Client
from edged.tui.picture import write_svg
from edged.tui.safety import is_safe

SLOWDOWNS = (1.0, 1.2, 1.5, 2.0)
"""As fast as a desk, a laptop and two Pis are to each other."""

STEPS_AFTER = 30
"""So many steps after the newcomer was given layers all has been measured, ..."""

LOOK_STEPS = 5
"""... and from then on every so many steps are looked at, until all is safe again."""

CHANGES = ["strategy=spread", "epochs=25", "optimizer.lr=0.002"]
"""Every node takes part, and the loss takes its time."""

OUTPUT = Path(__file__).parents[1] / "docs" / "pictures" / "live-view.svg"


def main() -> None:
    """Run, or read what a run has left; then draw."""
    parser = argparse.ArgumentParser(description="Draw the live view of a real run.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the picture")
    parser.add_argument("--keep", type=Path, help="a file for the status that is drawn")
    parser.add_argument("--draw", type=Path, help="such a file; nothing is run")
    options = parser.parse_args()
    status = json.loads(options.draw.read_text(encoding="utf-8")) if options.draw else run()
    if options.keep:
        options.keep.write_text(json.dumps(status, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    write_svg(status, options.output)
    print(options.output)


def run() -> Mapping[str, Any]:
    """Train until one node was killed, one has joined, and all is safe again; what the source then tells."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edged-picture-")))
        cluster = start_nodes(stack, folder, SLOWDOWNS)
        wait_until_known(cluster)
        mishaps = Mishaps(cluster, partial(add_node, stack, folder, cluster[0], len(cluster), SLOWDOWNS[0]))
        changes = [argument for change in CHANGES for argument in ("--set", change)]
        training = run_edged(["train", str(JOB_FILE), "--json", *changes, "--home", str(cluster[0].home),
                              "--output", str(folder / "picture.safetensors")])  # fmt: skip
        joined_at, found = 0, None
        for event in mishaps.follow(lines_of(training)):
            if event["event"] == "failed" and found is None:
                raise SystemExit(f"the job failed: {event['reason']}")
            if event["event"] != "step" or mishaps.joined is None or found is not None:
                continue
            joined_at = joined_at or event["step"]
            if event["step"] >= joined_at + STEPS_AFTER and event["step"] % LOOK_STEPS == 0:
                status = Client(cluster[0].home).ask("status")
                if len(status["plan"]["routes"][0]["hops"]) == len(SLOWDOWNS) and is_safe(status):
                    Client(cluster[0].home).ask("stop", job=status["job"]["job"], reason="drawn")
                    found = status
        if found is not None:
            return found
    raise SystemExit("the job ended before there was a good moment: run it again, or with more epochs")


if __name__ == "__main__":
    main()
