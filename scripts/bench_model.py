"""MobileNetV2 at 32x32 as a flat sequence of blocks, random images, and the job that the benchmarks train."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.utils.data import TensorDataset

from edged import Job

BATCH_SIZE, MICRO_BATCHES, CLASSES = 64, 8, 10
SETTINGS = (  # expansion, channels, blocks, stride of the first (Sandler et al., table 2; strides as usual for 32x32)
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; with a skip where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        """Build the block."""
        super().__init__()
        hidden = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        expand = [convolution(inputs, hidden, 1)] if expansion != 1 else []
        self.body = nn.Sequential(
            *expand,
            convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.skips else y


def blocks() -> nn.Sequential:
    """The whole network as a sequence of blocks, the same every time."""
    torch.manual_seed(0)
    parts: list[nn.Module] = [convolution(3, 32, 3)]
    channels = 32
    for expansion, outputs, number, stride in SETTINGS:
        for index in range(number):
            parts.append(InvertedResidual(channels, outputs, stride if index == 0 else 1, expansion))
            channels = outputs
    parts += [convolution(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, CLASSES)]
    return nn.Sequential(*parts)


def images(samples: int) -> TensorDataset:
    """Random images and labels."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(samples, 3, 32, 32, generator=generator)
    return TensorDataset(pictures, torch.randint(CLASSES, (samples,), generator=generator))


def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
    """Mean cross entropy of a micro-batch."""
    mean: Tensor = F.cross_entropy(model(batch[0]), batch[1])
    return mean


def job(steps: int = 45, micro_batches: int = MICRO_BATCHES) -> Job:
    """The job: micro-batches of 8 images, SGD with momentum, no evaluation."""
    return Job(
        name="bench-mobilenet",
        model=blocks(),
        objective=loss,
        data=images(1024),
        optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
        batch_size=micro_batches * BATCH_SIZE // MICRO_BATCHES,
        micro_batches=micro_batches,
        epochs=1_000_000,
        max_steps=steps,
    )
