"""A status object of a running job, as a node gives it."""

from __future__ import annotations

import math
from typing import Any

NAMES = ("desk", "laptop", "pi-5", "pi-4", "jetson", "attic")


def name_of(index: int) -> str:
    return NAMES[index] if index < len(NAMES) else f"pi-{index}"


def replicated(index: int, nodes: int) -> list[int]:
    """Layers of the stage before: replicas go to the next node of the ring."""
    before = (index - 1) % nodes
    return [3 * before, 3 * before + 2]


def protection(ids: list[str]) -> dict[str, Any]:
    names = [name_of(index) for index in range(len(ids))]
    return {
        "job": "00aa11bb22cc",
        "protected": True,
        "version": 112,
        "every": 16,
        "age_steps": 8,
        "age_seconds": 2.4,
        "layers": [
            {"text": f"layers {3 * index}–{3 * index + 2}: live on {name}, replica of version 112"
                     f" on {names[(index + 1) % len(ids)]}", "replicas": [ids[(index + 1) % len(ids)]]}
            for index, name in enumerate(names)
        ],
        "samples": {"source": ids[0], "copies": [], "text": "samples: only on desk: if it dies the job waits for it"},
        "if_died": [
            {"node": node, "survives": index > 0, "text": f"if {name} died: 8 steps are done again" if index else
             "if desk died the job would wait for desk, because only desk can draw the samples"}
            for index, (node, name) in enumerate(zip(ids, names, strict=True))
        ],
    }  # fmt: skip


def status(nodes: int = 4, *, job: bool = True) -> dict[str, Any]:
    ids = [f"{index:016x}" for index in range(1, nodes + 1)]
    members = [
        {
            "node": node,
            "name": name_of(index),
            "address": f"tcp://192.168.1.{20 + index}:7077",
            "state": "alive" if index != 4 else "suspect",
            "roles": ["worker"],
            "slowness": 0.2 * (index + 1),
            "memory_bytes": 2 * 10**9,
            "layers": [3 * index, 3 * index + 2] if job else None,
            "weight_version": 120 if job else 0,
            "replicas": [{"layers": replicated(index, nodes), "version": 112, "age_steps": 8, "age_seconds": 2.4}]
            if job and nodes > 1
            else [],
            "links": {ids[(index + 1) % nodes]: {"round_trip_seconds": 0.0004, "bytes_per_second": 3.1e6,
                                                 "latency_seconds": None, "bandwidth_bytes_per_second": None}},
            "busy": max(0.9 - 0.1 * index, 0.05),
            "micro_batch_seconds": 0.012 + 0.001 * index,
            "resident_bytes": 310 * 10**6,
        }
        for index, node in enumerate(ids)
    ]  # fmt: skip
    hops = [
        {"node": node, "name": name_of(index), "first_layer": 3 * index, "last_layer": 3 * index + 2}
        for index, node in enumerate(ids)
    ]
    running = {"job": "00aa11bb22cc", "name": "digits", "state": "running", "step": 120, "steps": 400, "reason": ""}
    return {
        "cluster": "home",
        "node": ids[0],
        "name": "desk",
        "term": 3,
        "leader": ids[1 % nodes],
        "members": members,
        "job": running if job else None,
        "plan": {"term": 3, "version": 1, "strategy": "auto", "reason": "", "routes": [{"hops": hops}]}
        if job
        else None,
        "protection": protection(ids) if job else None,
        "view": {
            "loss": [[step, 2.3 * math.exp(-step / 40) + 0.1] for step in range(1, 121)] if job else [],
            "samples_per_second": 2345.6,
            "seconds_left": 83.0,
            "events": [{"time": "12:00:01", "text": "laptop joined"}, {"time": "12:00:09", "text": "digits started"}],
            "waiting": "",
        },
    }
