"""A job in numbers: read from a cluster's file, and made into what the cluster is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edged.core.ids import JobId
from edged.core.job import JobSpec, LayerProfile
from edged.simulation.description import DeviceDescription, JobFigures
from edged.simulation.section import Section

JOB = JobId("5" * 12)
"""The id of a simulation's only job."""

BACKWARD = 2.0
"""How many times longer the backward takes than the forward, where a file only says what both take."""

EPOCH_STEPS = 1000
"""So many steps have samples of their own; then they come again."""


def read_job(section: Section, strategies: Mapping[str, object]) -> JobFigures:
    """The job of a file: its layers one by one (``[[job.layer]]``), or some that are all alike."""
    layers = [_layer(each) for each in section.sections("layer")] or _alike(section)
    layers[0] = replace(layers[0], inputs=(0,))
    layers[-1] = replace(layers[-1], inputs=(*layers[-1].inputs, 1))
    found = JobFigures(
        layers=tuple(layers),
        micro_batches=section.whole("micro_batches", 16, 1),
        micro_batch_size=section.whole("micro_batch_size", 8, 1),
        steps=section.whole("steps", 1_000_000, 1),
        optimizer_copies=section.whole("optimizer_copies", 1, 0),
        strategy=section.text("strategy", "auto", strategies),
        data_bytes=section.size("data", 10**7),
    )
    section.end()
    return found


def _alike(section: Section) -> list[LayerProfile]:
    count = section.whole("layers", 24, 1)
    seconds = section.number("micro_batch_ms", 100.0, 0.0, above=True) / 1e3 / count
    parameters = section.size("parameters", 10**7) // count
    crossing = section.size("crossing", 10**5)
    activations = section.size("activations", 2 * crossing * count) // count
    forward = seconds / (1.0 + BACKWARD)
    return [LayerProfile(forward, seconds - forward, parameters, parameters, activations, crossing, ())] * count


def _layer(section: Section) -> LayerProfile:
    forward = section.number("forward_ms", None, 0.0) / 1e3
    parameters = section.size("parameters", 0)
    crossing = section.size("crossing", 0)
    found = LayerProfile(
        forward_seconds=forward,
        backward_seconds=section.number("backward_ms", BACKWARD * 1e3 * forward, 0.0) / 1e3,
        parameter_bytes=parameters,
        state_bytes=parameters,
        activation_bytes=section.size("activations", crossing),
        crossing_bytes=crossing,
        inputs=(),
    )
    section.end()
    return found


def specified(figures: JobFigures, source: DeviceDescription) -> JobSpec:
    """The job as its source would hand it in: seconds are those that the source takes."""
    batch = figures.micro_batches * figures.micro_batch_size
    samples = batch * min(figures.steps, EPOCH_STEPS)
    slow = source.slowness
    return JobSpec(
        job=JOB,
        name="simulated",
        source=source.node,
        strategy=figures.strategy,
        mode="sync",
        program="0" * 64,
        layers=tuple(
            replace(
                layer,
                forward_seconds=slow * layer.forward_seconds,
                backward_seconds=slow * layer.backward_seconds,
            )
            for layer in figures.layers
        ),
        parameters=sum(layer.parameter_bytes for layer in figures.layers) // 4,
        inputs=2,
        samples=samples,
        batch_size=batch,
        micro_batches=figures.micro_batches,
        drop_last=True,
        epochs=-(-figures.steps * batch // samples),
        steps=figures.steps,
        eval_samples=0,
        seed=0,
        clips=False,
        optimizer_copies=figures.optimizer_copies,
        keep_inputs_home="",
        shuffle=False,
        replicate_every=0,
        on_nan="stop",
        source_slowness=slow,
        training="{}",
    )
