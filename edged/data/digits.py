"""The UCI optical digits as scikit-learn ships them: 1,797 images of 8x8, each with its label."""

from __future__ import annotations

import gzip
from importlib.resources import files

PIXELS = 64
"""Per image: 8 rows of 8, row by row."""

LARGEST_PIXEL = 16


def read_digits() -> tuple[bytes, bytes]:
    """Return (images, labels): 1,797 x 64 pixels of 0..16, one byte each, and 1,797 labels of 0..9."""
    text = gzip.decompress(files("edged.data").joinpath("digits.csv.gz").read_bytes()).decode("ascii")
    images, labels = bytearray(), bytearray()
    for line in text.splitlines():
        *pixels, label = map(int, line.split(","))
        images += bytes(pixels)
        labels.append(label)
    return bytes(images), bytes(labels)
