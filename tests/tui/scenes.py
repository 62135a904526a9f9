"""What a person may find when looking: status objects of clusters in good and in bad days."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tui.sample import status

Status = dict[str, Any]

WHY_ALONE = (
    "192.168.1.20:7077 answers with another cluster key: compare `edged key show` on both devices, then start this one "
    "with `edged join --key TOKEN`"
)


def training() -> Status:
    """A good day, with all that can be known: measured links, an evaluation, a reason, a decision."""
    found = status(4)
    for member in found["members"]:
        member["device"] = "cpu"
        for link in member["links"].values():
            link |= {"latency_seconds": 0.002, "bandwidth_bytes_per_second": 1.25e7}
    found["members"][0]["roles"] = ["source", "worker"]
    found["plan"] |= {
        "reason": "4 of 5 devices; attic is left out: with it a step would take 12 % longer",
        "decision": {"text": "kept: pi-4 works 1.3 times slower than planned, moving layers gains less than 5 %",
                     "age_seconds": 12.0},
    }  # fmt: skip
    found["view"]["evaluation"] = {"event": "eval", "epoch": 2, "loss": 0.1092, "metrics": {"accuracy": 0.9667}}
    found["view"]["events"] = [
        {"time": "12:00:01", "text": "laptop joined"},
        {"time": "12:00:02", "text": "laptop leads (term 3)"},
        {"time": "12:00:09", "text": "job digits: 4 of 5 devices; attic is left out: with it a step would take longer"},
        {"time": "12:01:40", "text": "shelf died: its port refuses"},
        {"time": "12:01:41", "text": "shelf died; its layers 9–11 came back from laptop in 0.8 s; no step lost"},
    ]
    return found


def recorded() -> Status:
    """A real run, kept by ``scripts/picture.py --keep``: one of four was killed, one has joined."""
    return json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))


def alone() -> Status:
    """A first start, on a network where somebody has another key."""
    found = status(1, job=False)
    found["invitation"] = "alone; `edged key join-command` prints the line to type on the next device"
    found["unmet"] = [{"reason": "key", "address": "192.168.1.20:7077", "text": WHY_ALONE}]
    found["view"]["events"] = found["view"]["events"][:1]
    return found


def idle() -> Status:
    """Nobody has handed in a job."""
    found = status(3, job=False)
    for member in found["members"]:
        member["links"] = {}
        member["busy"] = 0.0
    return found


def recovering() -> Status:
    """One has died, its layers move."""
    found = status(4)
    found["members"][3] |= {"state": "dead", "layers": None, "replicas": []}
    found["job"]["state"] = "preparing"
    found["plan"]["routes"][0]["hops"] = found["plan"]["routes"][0]["hops"][:3]
    found["plan"]["routes"][0]["hops"][2] |= {"last_layer": 11}
    found["members"][2]["layers"] = [6, 11]
    found["protection"] |= {"protected": False}
    found["view"]["events"].append({"time": "12:02:00", "text": "pi-4 died: its port refuses"})
    return found


def halted() -> Status:
    """Layers are nowhere: the job waits for a node."""
    found = status(3)
    found["members"][2] |= {"state": "dead", "layers": None}
    found["job"] |= {"state": "waiting", "reason": "layers 6–8 were lost"}
    found["view"]["waiting"] = "layers 6–8 were lost with node pi-5; the job goes on when it is back"
    return found


def paused() -> Status:
    """Its user wanted it to stand."""
    found = status(3)
    found["job"]["state"] = "paused"
    found["view"]["waiting"] = "job digits is paused at step 120: `edged resume 00aa11bb22cc` lets it go on"
    return found


def asynchronous() -> Status:
    """Each stage at a version of its own."""
    found = status(3)
    found["view"]["asynchronous"] = True
    for index, member in enumerate(found["members"]):
        member["weight_version"] = 122 - index
    return found


def failed() -> Status:
    """Over, with a reason too long for one line."""
    found = status(2)
    found["job"] |= {
        "state": "failed",
        "reason": "the loss of step 121 is not finite (nan): lower the learning rate, clip_norm=1.0, or on_nan='skip'; "
        "the weights of step 112 are in /home/me/digits.safetensors",
    }
    found["protection"] = None
    return found


def fork() -> Status:
    """Cut off from the majority, and nobody leads yet."""
    found = {**status(2), "leader": None}
    found["tentative"] = "a fork: its results are tentative until a majority is back (missing: pi-5)"
    found["view"]["waiting"] = "1 of 3 voters agree; laptop does not answer; goes on as a fork after 15 s"
    return found


def silent() -> Status:
    """The node stands still; the picture is its last."""
    return {**status(2), "silent_seconds": 42.0}


def foreign() -> Status:
    """Names as long as they may be, of wide characters, and one that would move the cursor."""
    found = status(4)
    names = ["書斎の机の上の計算機" * 4, "laptop-" + "x" * 56, "pi\x1b[2J\n5", "küche"]
    for member, hop, name in zip(found["members"], found["plan"]["routes"][0]["hops"], names, strict=True):
        member["name"] = hop["name"] = name
    found["view"]["events"].append({"time": "12:02:00", "text": f"{names[0]} does not answer: {names[1]} says so"})
    return found


def ten() -> Status:
    """A shelf."""
    return status(10)


def hundred() -> Status:
    """A classroom."""
    return status(100)


SCENES: dict[str, Callable[[], Status]] = {
    scene.__name__: scene
    for scene in (
        training, recorded, alone, idle, recovering, halted, paused, asynchronous, failed, fork, silent, foreign, ten,
        hundred,
    )
}  # fmt: skip
