"""The wire's tables: a number for every kind of message, and the bounds of every field that has narrower ones.

A number is never given to another kind. A new kind takes the next free one; a changed kind means a new
``PROTOCOL_VERSION``.
"""

from __future__ import annotations

import re
from typing import Final

from edged.core import messages as m
from edged.core.job import JobSpec, LayerProfile, Work
from edged.core.plan import Hop, Plan, Route
from edged.core.training_messages import CURVE_POINTS

KINDS: Final[dict[int, type]] = {
    1: m.Ping,
    2: m.PingRequest,
    3: m.Ack,
    4: m.Gossip,
    5: m.Exchange,
    6: m.Nack,
    7: m.Accusation,
    8: m.Testimony,
    9: m.Unreachable,
    10: m.VoteRequest,
    11: m.VoteReply,
    12: m.Heartbeat,
    13: m.HeartbeatReply,
    20: m.Submit,
    21: m.Jobs,
    22: m.StopRequest,
    23: m.Prepare,
    24: m.Prepared,
    25: m.Start,
    26: m.End,
    27: m.PlanChosen,
    28: m.WantProgram,
    29: m.WantState,
    30: m.Refused,
    40: m.Taken,
    41: m.Result,
    42: m.Updated,
    43: m.GradientNorms,
    44: m.WorkFailed,
    45: m.JobDone,
    46: m.WantProgress,
    47: m.Unwritten,
    48: m.Boundary,
    50: m.StepReport,
    51: m.EvalReport,
    52: m.FinishedReport,
    53: m.NodeReport,
    54: m.WantCurve,
    55: m.Curve,
    60: m.Inputs,
    61: m.Activation,
    62: m.Gradient,
    63: m.StateParcel,
    64: m.ProgramParcel,
    65: m.DataParcel,
    66: m.SoundingParcel,
    70: m.Halt,
    71: m.Inventory,
    72: m.WantSnapshot,
    73: m.Drain,
    74: m.Drained,
    75: m.Held,
    76: m.Committed,
    77: m.DataHeld,
    78: m.Stuck,
    79: m.PauseRequest,
    80: m.ResumeRequest,
    81: m.LeaveRequest,
    82: m.LeaveGranted,
    83: m.LeaveOrder,
    84: m.RecoveryReport,
    85: m.DataWanted,
    86: m.Learn,
    87: m.Learned,
    88: m.Stored,
    89: m.Decided,
    90: m.ExpelOrder,
    91: m.RotateRequest,
    92: m.NewKey,
    93: m.KeyTaken,
}

FRAME_BYTES: Final = 1 << 20
"""Most bytes of one encoded message."""

TEXT_BYTES: Final = 1 << 16
ITEMS: Final = 1 << 16
"""Most characters of a text, most entries of one sequence."""

BLOB_BYTES: Final = FRAME_BYTES
PARCEL_BYTES: Final = 1 << 40

INTEGERS: Final = (-(1 << 63), (1 << 64) - 1)
COUNT: Final = (0, (1 << 63) - 1)
FEW: Final = (1, 1 << 16)
PORT: Final = (0, 65535)

BOUNDS: Final[dict[tuple[type, str], tuple[int, int]]] = {
    (m.MemberRecord, "control_port"): PORT,
    (m.MemberRecord, "bulk_port"): PORT,
    (m.MemberRecord, "door_port"): PORT,
    (m.MemberRecord, "protocol"): PORT,
    (m.MemberRecord, "boot"): COUNT,
    (m.MemberRecord, "incarnation"): COUNT,
    (m.MemberRecord, "memory_bytes"): COUNT,
    (m.Held, "boot"): COUNT,
    (m.Ancestor, "term"): COUNT,
    (m.Ancestor, "number"): COUNT,
    (m.Electorate, "term"): COUNT,
    (m.Electorate, "number"): COUNT,
    (m.VoteRequest, "term"): COUNT,
    (m.VoteReply, "term"): COUNT,
    (m.Heartbeat, "term"): COUNT,
    (m.Heartbeat, "progress"): COUNT,
    (m.HeartbeatReply, "term"): COUNT,
    (m.NewKey, "term"): COUNT,
    (m.NewKey, "number"): COUNT,
    (m.KeyTaken, "term"): COUNT,
    (m.KeyTaken, "number"): COUNT,
    (m.TensorSpec, "size_bytes"): (0, PARCEL_BYTES),
    (m.TensorSpec, "shape"): (0, PARCEL_BYTES),
    (m.TensorSpec, "strides"): (0, PARCEL_BYTES),
    (m.TensorSpec, "offset"): (0, 63),
    (m.ProgramParcel, "size_bytes"): (0, 1 << 30),
    (m.SoundingParcel, "size_bytes"): (1, 1 << 20),
    (Plan, "layers"): FEW,
    (Plan, "micro_batches"): FEW,
    (Route, "micro_batches"): (0, 1 << 16),
    (Hop, "first_layer"): (0, 1 << 16),
    (Hop, "last_layer"): (0, 1 << 16),
    (Hop, "window"): FEW,
    (Work, "version"): COUNT,
    (Work, "micro_batch"): (0, 1 << 40),
    (JobSpec, "parameters"): COUNT,
    (JobSpec, "inputs"): (0, 1 << 16),
    (JobSpec, "samples"): (0, 1 << 40),
    (JobSpec, "eval_samples"): (0, 1 << 40),
    (JobSpec, "batch_size"): (1, 1 << 31),
    (JobSpec, "micro_batches"): FEW,
    (JobSpec, "epochs"): (0, 1 << 40),
    (JobSpec, "steps"): COUNT,
    (JobSpec, "optimizer_copies"): (0, 64),
    (JobSpec, "replicate_every"): COUNT,
    (m.DataParcel, "first_row"): (0, 1 << 40),
    (m.DataParcel, "rows"): (1, 1 << 31),
    (m.DataWanted, "first_row"): (0, 1 << 40),
    (m.Boundary, "version"): COUNT,
    (m.WantCurve, "before_step"): COUNT,
    (m.Curve, "points"): COUNT,
    (m.Committed, "version"): (-1, (1 << 63) - 1),
    (m.Committed, "every"): COUNT,
    (m.Committed, "storing"): (-1, (1 << 63) - 1),
    (m.Committed, "stored"): (-1, (1 << 63) - 1),
    (m.Start, "every"): COUNT,
    (LayerProfile, "parameter_bytes"): COUNT,
    (LayerProfile, "state_bytes"): COUNT,
    (LayerProfile, "activation_bytes"): COUNT,
    (LayerProfile, "crossing_bytes"): COUNT,
    (LayerProfile, "inputs"): (0, 1 << 16),
}
"""Inclusive bounds of integers, also of those in a field's sequence. All others lie within ``INTEGERS``."""

LENGTHS: Final[dict[tuple[type, str], int]] = {
    (m.MemberRecord, "name"): 256,
    (m.MemberRecord, "public_key"): 40,
    (m.MemberRecord, "addresses"): 32,
    (m.MemberRecord, "device"): 256,
    (m.TensorSpec, "name"): 1024,
    (m.TensorSpec, "dtype"): 32,
    (m.TensorSpec, "shape"): 64,
    (m.TensorSpec, "strides"): 64,
    (m.Ancestor, "lineage"): 256,
    (m.Ancestor, "voters"): 64,
    (m.Electorate, "ancestors"): 16,
    (m.Electorate, "lineage"): 256,
    (m.Electorate, "voters"): 64,
    (m.Curve, "points"): CURVE_POINTS,
    (JobSpec, "training"): 1 << 19,
}
"""Most characters of a text (or entries of a sequence) in fields with less than the general bound."""

NOT_FINITE: Final[frozenset[tuple[type, str]]] = frozenset(
    {
        (m.Result, "loss"),
        (m.Result, "metrics"),
        (m.GradientNorms, "norms"),
        (m.StepReport, "loss"),
        (m.StepReport, "samples_per_second"),
        (m.StepReport, "learning_rate"),
        (m.Curve, "points"),
        (m.EvalReport, "loss"),
        (m.EvalReport, "metrics"),
        (m.FinishedReport, "loss"),
        (m.RecoveryReport, "pause_seconds"),
        (m.NodeReport, "busy"),
        (m.NodeReport, "micro_batch_seconds"),
    }
)
"""Fields whose floats may be infinite or not a number: a diverged loss is a fact, and shows are only shown."""

NODE_ID: Final = re.compile(r"(?:[0-9a-f]{16})?")
JOB_ID: Final = re.compile(r"(?:[0-9a-f]{12})?")
"""An id, or nothing where there is none."""
