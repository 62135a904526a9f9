"""What the tests of the roles share: small jobs, and a spool folder as ``edged train`` writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec, LayerProfile
from edged.core.messages import MemberRecord, MemberState

LAYER = LayerProfile(0.001, 0.002, 100, 120, 300, 40, (0,))


def spec_of(job: str = "aabbccddeeff", **changes: object) -> JobSpec:
    """A job of two layers and four steps."""
    spec = JobSpec(
        job=JobId(job),
        name="tiny",
        source=NodeId("a" * 16),
        strategy="auto",
        mode="sync",
        program="00",
        layers=(LAYER, LAYER),
        parameters=25,
        inputs=2,
        samples=16,
        batch_size=8,
        micro_batches=2,
        drop_last=True,
        epochs=2,
        steps=4,
        eval_samples=0,
        seed=0,
        clips=False,
        optimizer_copies=1,
        keep_inputs_home="",
        shuffle=True,
        replicate_every=0,
        on_nan="stop",
        source_slowness=1.0,
        training="{}",
    )
    return replace(spec, **changes)


def record_of(node: str, name: str, state: MemberState = MemberState.ALIVE) -> MemberRecord:
    """A member on loopback."""
    return MemberRecord(
        NodeId(node), name, "k" * 40, ("127.0.0.1",), 7001, 7002, 7003, 1, 1, 0, state, 1.0, 10**9, "cpu"
    )


@pytest.fixture
def write_spool(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``tmp_path/jobs/<id>/job.json`` and returns the folder."""

    def write(spec: JobSpec, feeder: dict | None = None, output: Path | None = None) -> Path:
        folder = tmp_path / "jobs" / spec.job
        folder.mkdir(parents=True)
        document = {"spec": asdict(spec), "feeder": feeder, "output": str(output) if output else None, "inputs": []}
        (folder / "job.json").write_text(json.dumps(document))
        (folder / "program.msgpack").write_bytes(b"program")
        (folder / "state.safetensors").write_bytes(b"state")
        return folder

    return write
