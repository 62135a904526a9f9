"""The six kinds of model that edged promises to train, small, each with its objective, metrics and batches.

``CASES`` maps a name to a ``Case``. Weights come from a fixed seed, batches from the caller's: equal calls give equal
bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

CLASSES = 10


@dataclass(frozen=True)
class Case:
    """``build`` makes the module (in training mode), ``batch(size, seed)`` a batch as ``default_collate`` would."""

    build: Callable[[], nn.Module]
    objective: Callable[[nn.Module, Any], Tensor]
    metrics: Callable[[nn.Module, Any], dict[str, Tensor]]
    batch: Callable[[int, int], Any]


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; a skip where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        """``stride`` is that of the depthwise convolution."""
        super().__init__()
        hidden = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        return x + self.body(x) if self.skips else self.body(x)


class MobileNet(nn.Module):
    """A MobileNetV2 for 32x32 pictures, with dropout of probability ``dropout`` before the head."""

    def __init__(self, dropout: float = 0.0) -> None:
        """No dropout by default, so that the plain loop is a reference for bits."""
        super().__init__()
        blocks = [(8, 8, 1, 1), (8, 12, 2, 6), (12, 12, 1, 6), (12, 16, 2, 6), (16, 16, 1, 6)]
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
        self.blocks = nn.Sequential(*(InvertedResidual(*block) for block in blocks))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 32, 32) -> (n, classes)."""
        x = self.blocks(self.stem(x))
        return self.head(self.dropout(x.mean((2, 3))))


class ResidualBlock(nn.Module):
    """Two convolutions and a sum in place, as ResNet has them."""

    def __init__(self, channels: int) -> None:
        """Keeps the number of channels."""
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same."""
        out = self.second(self.relu(self.norm(self.first(x))))
        out += x
        return self.relu(out)


class ResidualNet(nn.Module):
    """A small residual CNN for 16x16 pictures."""

    def __init__(self) -> None:
        """Three blocks, pooling between."""
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(8) for _ in range(3))
        self.head = nn.Linear(8 * 4 * 4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 16, 16) -> (n, classes)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(functional.adaptive_avg_pool2d(x, 4).flatten(1))


class UNet(nn.Module):
    """Skip connections that cross the whole net; one output value per pixel."""

    def __init__(self) -> None:
        """Two levels down, two up."""
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.down2 = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.up2 = nn.Sequential(nn.ConvTranspose2d(8, 8, 2, stride=2), nn.GroupNorm(2, 8), nn.SiLU(inplace=True))
        self.merge2 = nn.Conv2d(16, 4, 3, padding=1)
        self.up1 = nn.Upsample(scale_factor=2)
        self.merge1 = nn.Conv2d(8, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, 16, 16) -> the same."""
        first = self.down1(x)
        second = self.down2(functional.max_pool2d(first, 2))
        x = self.middle(functional.max_pool2d(second, 2))
        x = functional.relu(self.merge2(torch.cat((self.up2(x), second), 1)))
        x = functional.relu(self.merge1(torch.cat((self.up1(x), first), 1)))
        return self.head(x)


class Classifier(nn.Module):
    """An LSTM over embedded words, classified by its last state."""

    def __init__(self, dropout: float = 0.0) -> None:
        """``dropout`` is that between the two layers of the LSTM."""
        super().__init__()
        self.embedding = nn.Embedding(40, 12)
        self.lstm = nn.LSTM(12, 16, num_layers=2, batch_first=True, dropout=dropout)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        """(n, length) of word numbers -> (n, classes)."""
        states, _ = self.lstm(self.embedding(words))
        return self.head(states[:, -1])


def gpt2(dropout: float = 0.0, layers: int = 3) -> nn.Module:
    """GPT-2 as transformers builds it: the head's weight is the embedding's."""
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=layers, n_embd=32, n_head=2, vocab_size=50, n_positions=16, bos_token_id=0, eos_token_id=0,
            resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout, loss_type="ForCausalLM", use_cache=False,
        )
    ).train()  # fmt: skip


def bert(dropout: float = 0.0) -> nn.Module:
    """BERT with a classifier on top."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=16, num_labels=CLASSES, hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    ).train()  # fmt: skip


def _seeded(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return build()

    return make


def _classify(model: nn.Module, batch: Any) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def _accuracy(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


def _language(model: nn.Module, batch: Any) -> Tensor:
    return model(input_ids=batch, labels=batch).loss


def _perplexity(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    return {"perplexity": model(input_ids=batch, labels=batch).loss.exp()}


def _pair(model: nn.Module, batch: Any) -> Tensor:
    return model(input_ids=batch["words"], attention_mask=batch["mask"], labels=batch["label"]).loss


def _pair_accuracy(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    logits = model(input_ids=batch["words"], attention_mask=batch["mask"], labels=batch["label"]).logits
    return {"accuracy": (logits.argmax(1) == batch["label"]).float().mean()}


def _pixels(model: nn.Module, batch: Any) -> Tensor:
    return functional.mse_loss(model(batch[0]), batch[1])


def _error(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    return {"error": (model(batch[0]) - batch[1]).abs().mean()}


def _pictures(*shape: int) -> Callable[[int, int], Any]:
    def make(size: int, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(size, *shape, generator=generator)
        return [images, torch.randint(0, CLASSES, (size,), generator=generator)]

    return make


def _fields(size: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 1, 16, 16, generator=generator), torch.randn(size, 1, 16, 16, generator=generator)]


def _tokens(size: int, seed: int) -> Any:
    return torch.randint(0, 50, (size, 12), generator=torch.Generator().manual_seed(seed))


def _masked(size: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, 13, (size, 1), generator=generator)
    return {
        "words": torch.randint(0, 50, (size, 12), generator=generator),
        "mask": (torch.arange(12) < lengths).long(),
        "label": torch.randint(0, CLASSES, (size,), generator=generator),
    }


def _sentences(size: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 40, (size, 9), generator=generator)
    return [words, torch.randint(0, CLASSES, (size,), generator=generator)]


CASES: Mapping[str, Case] = {
    "mobilenet": Case(_seeded(MobileNet), _classify, _accuracy, _pictures(3, 32, 32)),
    "residual": Case(_seeded(ResidualNet), _classify, _accuracy, _pictures(3, 16, 16)),
    "unet": Case(_seeded(UNet), _pixels, _error, _fields),
    "gpt2": Case(_seeded(gpt2), _language, _perplexity, _tokens),
    "bert": Case(_seeded(bert), _pair, _pair_accuracy, _masked),
    "lstm": Case(_seeded(Classifier), _classify, _accuracy, _sentences),
}

DROPOUT_CASES: Mapping[str, Case] = {
    "mobilenet": Case(_seeded(lambda: MobileNet(0.2)), _classify, _accuracy, _pictures(3, 32, 32)),
    "gpt2": Case(_seeded(lambda: gpt2(0.1)), _language, _perplexity, _tokens),
    "bert": Case(_seeded(lambda: bert(0.1)), _pair, _pair_accuracy, _masked),
    "lstm": Case(_seeded(lambda: Classifier(0.3)), _classify, _accuracy, _sentences),
}
