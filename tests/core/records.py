"""Member records for tests."""

from __future__ import annotations

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, MemberState


def node_id(number: int) -> NodeId:
    return NodeId(f"{number:016x}")


def member(number: int, **fields: object) -> MemberRecord:
    values: dict[str, object] = {
        "node": node_id(number),
        "name": f"n{number}",
        "public_key": "k" * 40,
        "addresses": ("127.0.0.1",),
        "control_port": 1,
        "bulk_port": 2,
        "door_port": 3,
        "protocol": 1,
        "boot": 1,
        "incarnation": 0,
        "state": MemberState.ALIVE,
        "slowness": 1.0,
        "memory_bytes": 1 << 30,
        "device": "cpu",
    }
    return MemberRecord(**{**values, **fields})  # type: ignore[arg-type]
