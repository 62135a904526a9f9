"""The shipped digits are exactly those of scikit-learn."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import pytest

from edged.data.digits import LARGEST_PIXEL, PIXELS, read_digits


def test_there_are_1797_images_and_labels() -> None:
    images, labels = read_digits()
    assert len(labels) == 1797
    assert len(images) == 1797 * PIXELS
    assert max(images) == LARGEST_PIXEL
    assert set(labels) == set(range(10))


def test_the_file_is_the_attributed_one() -> None:
    digest = hashlib.sha256(files("edged.data").joinpath("digits.csv.gz").read_bytes()).hexdigest()
    assert digest in files("edged.data").joinpath("ATTRIBUTION.md").read_text(encoding="utf-8")


def test_they_equal_what_scikit_learn_ships() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    expected = datasets.load_digits()
    images, labels = read_digits()
    assert list(images) == expected.data.astype(int).flatten().tolist()
    assert list(labels) == expected.target.tolist()
