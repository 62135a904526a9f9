"""Members, a job and plans for the tests of the job machines."""

from dataclasses import replace

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, LayerProfile
from edged.core.messages import MemberRecord, MemberState
from edged.core.plan import Hop, Plan, Route

A, B, C, D = (NodeId(letter * 16) for letter in "abcd")
JOB = JobId("0" * 12)
OTHER_JOB = JobId("1" * 12)


def member(node, state=MemberState.ALIVE, boot=1, slowness=1.0):
    return MemberRecord(
        node=node,
        name=f"pi-{node[0]}",
        public_key="k" * 40,
        addresses=("127.0.0.1",),
        control_port=1,
        bulk_port=2,
        door_port=3,
        protocol=1,
        boot=boot,
        incarnation=0,
        state=state,
        slowness=slowness,
        memory_bytes=10**9,
        device="cpu",
    )


def spec(job=JOB, source=A, layers=4, steps=3, clips=False):
    profile = LayerProfile(0.01, 0.02, 1000, 1200, 400, 400, ())
    ends = {0: replace(profile, inputs=(0,)), layers - 1: replace(profile, inputs=(1,))}
    return JobSpec(
        job=job,
        name=f"job-{job[0]}",
        source=source,
        strategy="spread",
        mode="sync",
        program="0" * 64,
        layers=tuple(ends.get(index, profile) for index in range(layers)),
        parameters=100,
        inputs=2,
        samples=steps * 8,
        batch_size=8,
        micro_batches=4,
        drop_last=True,
        epochs=1,
        steps=steps,
        eval_samples=4,
        seed=0,
        clips=clips,
        optimizer_copies=1,
        keep_inputs_home="",
        shuffle=False,
        replicate_every=0,
        on_nan="stop",
        source_slowness=1.0,
        training="{}",
    )


def plan(stamp, nodes, layers=4, micro_batches=4):
    """One route that deals the layers out evenly, in order."""
    cuts = [layers * index // len(nodes) for index in range(len(nodes) + 1)]
    hops = tuple(
        Hop(node, first, after - 1, len(nodes) - index)
        for index, (node, first, after) in enumerate(zip(nodes, cuts, cuts[1:], strict=False))
    )
    route = Route(hops, tuple(range(micro_batches)))
    return Plan(stamp, "auto", "evenly", layers, micro_batches, (route,), 0.0)


def stamp(term=1, version=1, job=JOB):
    return Stamp(job, term, version)
