"""How long 1,000 devices take to simulate: ``python scripts/bench_simulate.py [FILE.toml] [SECONDS]``.

Prints processor and wall-clock seconds beside the figures; the bound is 60 s for ``examples/clusters/a_thousand.toml``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from edged.compute.loading import collector_paused
from edged.simulation.cluster import SimulatedCluster
from edged.simulation.reading import read_cluster
from edged.simulation.report import figures

DEFAULT = Path(__file__).resolve().parent.parent / "examples" / "clusters" / "a_thousand.toml"


def main() -> int:
    """Simulate and tell."""
    cluster = read_cluster(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else cluster.seconds  # noqa: PLR2004 - the second argument
    wall, processor = time.perf_counter(), time.process_time()
    with collector_paused():
        run = SimulatedCluster(cluster, cluster.seed, seconds)
        run.run()
    took = {"wall_seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
    print(json.dumps({**took, **figures(run, cluster.seed)}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
