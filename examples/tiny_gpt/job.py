"""A small GPT that learns to write, character by character, like the text files it is given.

edged train examples/tiny_gpt/job.py --set text=BOOK.txt
edged train examples/tiny_gpt/job.py --set text=FOLDER --set max_steps=500
"""

import os
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from edged import Job
from edged.errors import JobError


class Windows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Every ``length`` characters of a text, with the character that follows each of them."""

    def __init__(self, characters: torch.Tensor, length: int) -> None:
        """``characters``: numbers, one per character, of shape (n,)."""
        self.characters = characters
        self.length = length

    def __len__(self) -> int:
        """Windows that do not overlap, each with a character behind its end."""
        return (len(self.characters) - 1) // self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(characters, next characters), both of shape (length,)."""
        start = index * self.length
        window = self.characters[start : start + self.length + 1]
        return window[:-1], window[1:]


class Block(nn.Module):
    """Attention to earlier characters, then a small network for each."""

    def __init__(self, width: int, heads: int) -> None:
        """``width`` is a multiple of ``heads``."""
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.network = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) -> the same."""
        batch, length, width = x.shape
        heads = self.attention(self.before_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.join(seen.transpose(1, 2).reshape(batch, length, width))
        result: torch.Tensor = x + self.network(x)
        return result


class TinyGPT(nn.Module):
    """Characters (batch, length) -> scores of the next character (batch, length, kinds)."""

    def __init__(self, kinds: int, length: int, width: int, blocks: int, heads: int) -> None:
        """``kinds``: of characters; ``length``: the longest text that it sees at once."""
        super().__init__()
        self.characters = nn.Embedding(kinds, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.end = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, kinds))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next character at every place."""
        scores: torch.Tensor = self.end(self.blocks(self.characters(x) + self.positions))
        return scores


def read(source: str) -> str:
    """The text of a file, or of all .txt files of a folder in the order of their names."""
    path = Path(source).expanduser()
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    if not text:
        raise JobError(f"text: {path} is neither a text file nor a folder with .txt files in it, or it is empty")
    return text


def objective(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    """Mean surprise at the next character."""
    return functional.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def job(text: str = "", length: int = 64, width: int = 96, blocks: int = 4, epochs: int = 3, seed: int = 0) -> Job:
    """``text`` is a file or a folder of .txt files (default: the variable EDGED_TEXT); a tenth is held out."""
    source = text or os.environ.get("EDGED_TEXT", "")
    if not source:
        raise JobError("text: say what to learn from: --set text=FILE_OR_FOLDER, or EDGED_TEXT=...")
    content = read(source)
    kinds = sorted(set(content))
    characters = torch.tensor([kinds.index(character) for character in content])
    border = len(characters) * 9 // 10
    batch_size = 16
    least = (length + 1) * batch_size * 10 // 9
    if border // length <= batch_size or len(characters) - border <= length:
        raise JobError(f"text: {len(content)} characters are too few; give at least {2 * least}")
    torch.manual_seed(seed)
    return Job(
        name="tiny-gpt",
        model=TinyGPT(len(kinds), length, width, blocks, heads=4),
        objective=objective,
        data=Windows(characters[:border], length),
        eval_data=Windows(characters[border:], length),
        optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01),
        clip_norm=1.0,
        batch_size=batch_size,
        micro_batches=4,
        epochs=epochs,
        seed=seed,
    )
