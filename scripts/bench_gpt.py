"""A GPT of 42 equal blocks, random tokens, and the job that the benchmarks train: even cuts exist for 1:1:10."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.utils.data import TensorDataset

from edged import Job

BLOCKS, WIDTH, HEADS, LENGTH, WORDS = 42, 64, 4, 64, 64
MICRO_BATCH = 8


class Attention(nn.Module):
    """Causal self-attention of ``HEADS`` heads."""

    def __init__(self) -> None:
        """One matrix for queries, keys and values, one for the output."""
        super().__init__()
        self.inputs = nn.Linear(WIDTH, 3 * WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(n, LENGTH, WIDTH) -> the same."""
        queries, keys, values = (
            part.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2) for part in self.inputs(x).chunk(3, -1)
        )
        seen = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        y: Tensor = self.output(seen.transpose(1, 2).flatten(-2))
        return y


class Block(nn.Module):
    """Attention and a wide layer, each behind a norm and beside a skip."""

    def __init__(self) -> None:
        """Build the block."""
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(WIDTH), Attention())
        self.widen = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, LENGTH, WIDTH) -> the same."""
        x = x + self.attend(x)
        y: Tensor = x + self.widen(x)
        return y


class GPT(nn.Module):
    """Embedding, blocks, head; no dropout."""

    def __init__(self) -> None:
        """The same weights every time."""
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, LENGTH) numbers of words -> (n, LENGTH, WORDS)."""
        y: Tensor = self.head(self.blocks(self.words(tokens) + self.places))
        return y


def texts(samples: int) -> TensorDataset:
    """Random tokens, and those that follow them."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(WORDS, (samples, LENGTH + 1), generator=generator)
    return TensorDataset(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())


def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
    """Mean cross entropy of the next token."""
    mean: Tensor = F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())
    return mean


def job(steps: int = 45, micro_batches: int = 8, mode: str = "sync") -> Job:
    """The job: micro-batches of 8 texts, plain SGD, no evaluation."""
    return Job(
        name="bench-gpt",
        model=GPT(),
        objective=loss,
        data=texts(1024),
        optimizer=partial(torch.optim.SGD, lr=0.01),
        batch_size=micro_batches * MICRO_BATCH,
        micro_batches=micro_batches,
        epochs=1_000_000,
        max_steps=steps,
        mode=mode,
    )
