"""CIFAR-10 from its original files, the binary version: folder cifar-10-batches-bin, or cifar-10-binary.tar.gz itself.

EDGED_CIFAR10=FOLDER edged train examples/cifar10/job.py
edged train examples/cifar10/job.py --set data=cifar-10-binary.tar.gz

(The Python version of the same images comes as pickles. Reading a pickle runs what is in it, so they are not read.)
"""

import os
import tarfile
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from edged import Job
from edged.errors import JobError

CLASSES = 10
SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE
"""One label, then the red, the green and the blue pixels, row by row."""

TRAINING = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
DEVIATION = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)
"""Of the training images, per colour, pixels between 0 and 1."""


class Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images (3, 32, 32) of mean 0 and deviation 1, and labels; kept as bytes, since floats take four times as much."""

    def __init__(self, records: torch.Tensor) -> None:
        """``records``: bytes of shape (n, 3073)."""
        self.labels = records[:, 0].long()
        self.pixels = records[:, 1:].view(-1, 3, SIDE, SIDE)

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One image and its label."""
        return (self.pixels[index].float().div_(255) - MEAN) / DEVIATION, self.labels[index]


class Moved(Images):
    """The same, shifted and mirrored by chance: better for accuracy, and new in each epoch.

    What is made by chance is not copied to other devices: if the one that has the data dies, the job waits for it.
    """

    def __init__(self, records: torch.Tensor, pixels: int) -> None:
        """Shift by at most so many ``pixels``."""
        super().__init__(records)
        self.most = pixels

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One image, moved, and its label; edged has seeded torch's generator from (seed, epoch, index)."""
        image, label = super().__getitem__(index)
        down, right = torch.randint(2 * self.most + 1, (2,)).tolist()
        image = functional.pad(image, (self.most,) * 4)[:, down : down + SIDE, right : right + SIDE]
        return (image.flip(2) if torch.randint(2, ()) else image), label


class Block(nn.Module):
    """Two convolutions beside a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """``stride`` is that of the first convolution."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.around = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        return functional.relu(self.body(x) + self.around(x))


def network(width: int, blocks: int) -> nn.Module:
    """A residual network: three sizes of ``blocks`` blocks each; an image -> ten scores."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for size in range(3):
        for number in range(blocks):
            outputs = width * 2**size
            layers.append(Block(channels, outputs, stride=2 if size and not number else 1))
            channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def read(source: Path, names: tuple[str, ...]) -> torch.Tensor:
    """The records of these files, one after the other, of shape (n, 3073)."""
    contents = unpacked(source, names) if source.is_file() else {name: unfolded(source, name) for name in names}
    records = []
    for name in names:
        content = contents[name]
        if not content or len(content) % RECORD_BYTES:
            raise JobError(
                f"data: {name} in {source} has {len(content)} bytes, no multiple of {RECORD_BYTES}: is it cut off?"
            )
        records.append(torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, RECORD_BYTES))
    found = torch.cat(records)
    if int(found[:, 0].max()) >= CLASSES:
        raise JobError(f"data: {source} has a label above {CLASSES - 1}: are these the files of CIFAR-10?")
    return found


def unfolded(folder: Path, name: str) -> bytes:
    """A file of a folder."""
    if (folder / name).is_file():
        return (folder / name).read_bytes()
    if (folder / Path(name).stem).is_file():
        raise JobError(f"data: {folder} is the Python version, pickles that could run code: take the binary version")
    raise JobError(f"data: {folder} holds no {name}: is it the folder cifar-10-batches-bin?")


def unpacked(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Files of the archive, which is read and not unpacked to the disk."""
    found = {}
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                name = Path(member.name).name
                if name in names and (file := packed.extractfile(member)) is not None:
                    found[name] = file.read()
    except (OSError, tarfile.TarError) as error:
        raise JobError(f"data: {archive} cannot be read: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise JobError(f"data: {archive} holds no {missing[0]}: is it cifar-10-binary.tar.gz?")
    return found


def accuracy(model: nn.Module, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Share of the images whose highest score is the right one."""
    return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


def job(
    data: str = "",
    width: int = 16,
    blocks: int = 2,
    move: int = 0,
    batch_size: int = 128,
    epochs: int = 10,
    seed: int = 0,
) -> Job:
    """``data``: folder or archive (default: EDGED_CIFAR10); ``move``: mirror images, shift them by so many pixels."""
    source = data or os.environ.get("EDGED_CIFAR10", "")
    if not source:
        raise JobError("data: say where CIFAR-10 is: --set data=FOLDER, or EDGED_CIFAR10=FOLDER")
    records = read(Path(source), TRAINING)
    training = Moved(records, move) if move else Images(records)
    torch.manual_seed(seed)
    steps = epochs * (len(training) // batch_size)
    return Job(
        name="cifar10",
        model=network(width, blocks),
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=training,
        eval_data=Images(read(Path(source), TEST)),
        metrics=accuracy,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-4),
        scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=max(steps, 1)),
        batch_size=batch_size,
        micro_batches=4,
        epochs=epochs,
        seed=seed,
    )
