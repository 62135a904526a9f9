"""Everything that one node tells another: a closed set of frozen dataclasses.

*Control messages* are small and travel on the control sockets. *Parcel headers* travel on the bulk sockets, each
followed by raw buffers (one per ``TensorSpec``, or exactly one where ``size_bytes`` says so). Field types are limited
to what ``transport/codec.py`` can check: int, float, str, bytes, bool, enums, optional values, tuples of these, and
nested dataclasses of these.
"""

from __future__ import annotations

from edged.core.job_messages import (
    End,
    JobRecord,
    Jobs,
    JobState,
    PlanChosen,
    Prepare,
    Prepared,
    Refused,
    Start,
    StopRequest,
    Submit,
    Transfer,
    WantProgram,
    WantState,
)
from edged.core.member_messages import (
    Accusation,
    Ack,
    Ancestor,
    Electorate,
    Exchange,
    ExpelOrder,
    Gossip,
    Heartbeat,
    HeartbeatReply,
    KeyTaken,
    MemberRecord,
    MemberState,
    Nack,
    NewKey,
    Ping,
    PingRequest,
    RotateRequest,
    Testimony,
    Unreachable,
    VoteReply,
    VoteRequest,
)
from edged.core.parcels import (
    Activation,
    DataParcel,
    Gradient,
    Inputs,
    ProgramParcel,
    SoundingParcel,
    StateParcel,
    TensorSpec,
)
from edged.core.recovery_messages import (
    Committed,
    DataHeld,
    DataWanted,
    Decided,
    Drain,
    Drained,
    Halt,
    Held,
    Holding,
    HoldingKind,
    Inventory,
    Learn,
    Learned,
    LeaveGranted,
    LeaveOrder,
    LeaveRequest,
    Lying,
    PauseRequest,
    RecoveryReport,
    ResumeRequest,
    Stored,
    Stuck,
    WantSnapshot,
)
from edged.core.training_messages import (
    TRIED_AGAIN,
    Boundary,
    Curve,
    EvalReport,
    FinishedReport,
    GradientNorms,
    JobDone,
    LinkReport,
    NodeReport,
    Result,
    StepReport,
    Taken,
    Unwritten,
    Updated,
    WantCurve,
    WantProgress,
    WorkFailed,
)

__all__ = [
    "TRIED_AGAIN",
    "Accusation",
    "Ack",
    "Activation",
    "Ancestor",
    "Boundary",
    "Committed",
    "Curve",
    "DataHeld",
    "DataParcel",
    "DataWanted",
    "Decided",
    "Drain",
    "Drained",
    "Electorate",
    "End",
    "EvalReport",
    "Exchange",
    "ExpelOrder",
    "FinishedReport",
    "Gossip",
    "Gradient",
    "GradientNorms",
    "Halt",
    "Heartbeat",
    "HeartbeatReply",
    "Held",
    "Holding",
    "HoldingKind",
    "Inputs",
    "Inventory",
    "JobDone",
    "JobRecord",
    "JobState",
    "Jobs",
    "KeyTaken",
    "Learn",
    "Learned",
    "LeaveGranted",
    "LeaveOrder",
    "LeaveRequest",
    "LinkReport",
    "Lying",
    "MemberRecord",
    "MemberState",
    "Message",
    "Nack",
    "NewKey",
    "NodeReport",
    "Parcel",
    "PauseRequest",
    "Ping",
    "PingRequest",
    "PlanChosen",
    "Prepare",
    "Prepared",
    "ProgramParcel",
    "RecoveryReport",
    "Refused",
    "Result",
    "ResumeRequest",
    "RotateRequest",
    "SoundingParcel",
    "Start",
    "StateParcel",
    "StepReport",
    "StopRequest",
    "Stored",
    "Stuck",
    "Submit",
    "Taken",
    "TensorSpec",
    "Testimony",
    "Transfer",
    "Unreachable",
    "Unwritten",
    "Updated",
    "VoteReply",
    "VoteRequest",
    "WantCurve",
    "WantProgram",
    "WantProgress",
    "WantSnapshot",
    "WantState",
    "WorkFailed",
]

Message = (
    Ping
    | PingRequest
    | Ack
    | Nack
    | Accusation
    | Testimony
    | Gossip
    | Exchange
    | Unreachable
    | VoteRequest
    | VoteReply
    | Heartbeat
    | HeartbeatReply
    | ExpelOrder
    | RotateRequest
    | NewKey
    | KeyTaken
    | Submit
    | Jobs
    | StopRequest
    | Prepare
    | Prepared
    | Start
    | End
    | PlanChosen
    | WantProgram
    | WantState
    | Refused
    | Committed
    | DataHeld
    | DataWanted
    | Drain
    | Drained
    | Halt
    | Held
    | Inventory
    | Learn
    | Learned
    | LeaveGranted
    | LeaveOrder
    | LeaveRequest
    | PauseRequest
    | RecoveryReport
    | Decided
    | ResumeRequest
    | Stuck
    | WantSnapshot
    | Taken
    | Result
    | Updated
    | WantProgress
    | Boundary
    | GradientNorms
    | WorkFailed
    | JobDone
    | Unwritten
    | StepReport
    | Stored
    | EvalReport
    | FinishedReport
    | NodeReport
    | WantCurve
    | Curve
)
"""Any control message."""

Parcel = Inputs | Activation | Gradient | StateParcel | ProgramParcel | DataParcel | SoundingParcel
"""Any parcel header."""
