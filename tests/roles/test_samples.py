"""What a feeder hands over is looked at before anybody else has to."""

import pytest

from edged.core.job import Phase, Work
from edged.core.messages import TensorSpec
from edged.roles.samples import Kind, trouble
from tests.roles.conftest import spec_of

SPEC = spec_of()
WORK = Work(0, Phase.TRAIN, 0)
SIZE = SPEC.sizes(0, Phase.TRAIN)[0]
KINDS = (Kind("batch[0]", "float32", (3,)), Kind("batch[1]", "int64", ()))
IMAGE = TensorSpec("batch[0]", "float32", (SIZE, 3), (3, 1), 12 * SIZE)
LABEL = TensorSpec("batch[1]", "int64", (SIZE,), (1,), 8 * SIZE)


def test_what_is_like_the_first_micro_batch_is_used():
    assert trouble(SPEC, KINDS, WORK, (IMAGE, LABEL)) == ""
    assert trouble(SPEC, (), WORK, (IMAGE, LABEL)) == ""


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ((), "it holds nothing where the first micro-batch held batch[0], batch[1]"),
        ((LABEL, IMAGE), "it holds batch[1], batch[0] where"),
        ((IMAGE, TensorSpec("batch[1]", "int32", (SIZE,), (1,), 4 * SIZE)), "batch[1] is int32"),
        ((TensorSpec("batch[0]", "float32", (SIZE, 5), (5, 1), 20 * SIZE), LABEL), f"is float32 ({SIZE}, 5) where"),
        ((TensorSpec("batch[0]", "float32", (SIZE + 1, 3), (3, 1), 12), LABEL), "make all samples alike"),
        ((TensorSpec("batch[0]", "float32", (SIZE, 3), (1,), 12 * SIZE), LABEL), "and the strides (1,)"),
        ((TensorSpec("batch[0]", "float32", (SIZE, 3), (1 << 62, 1), 12 * SIZE), LABEL), "and the strides"),
    ],
)
def test_what_is_not_is_named(tensors, words):
    said = trouble(SPEC, KINDS, WORK, tensors)
    assert said.startswith("data, step 1, micro-batch 0: ")
    assert words in said
