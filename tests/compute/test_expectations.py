"""Which sizes of micro-batch can occur."""

from dataclasses import replace

import pytest

from edged.compute.expectations import sizes
from edged.core.job import Phase
from tests.compute.pipeline import Recipe


@pytest.mark.parametrize("samples", [10, 23, 24, 27, 31])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("eval_samples", [0, 3, 4, 9])
@pytest.mark.parametrize("batch_size", [4, 12, 28])
def test_every_size_that_occurs_is_known(samples: int, drop_last: bool, eval_samples: int, batch_size: int) -> None:
    recipe = Recipe(batch_size=batch_size, micro_batches=batch_size // 4, samples=samples, drop_last=drop_last)
    spec = replace(recipe, eval_samples=eval_samples).spec()
    trained = {size for v in range(min(spec.steps, spec.steps_per_epoch)) for size in spec.sizes(v, Phase.TRAIN)}
    evaluated = set(spec.sizes(0, Phase.EVALUATE))
    assert sizes(spec) == {size: size in (trained or {4}) for size in (trained or {4}) | evaluated}
