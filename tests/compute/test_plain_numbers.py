"""Numbers survive JSON with every bit and every kind of container."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.compute.plain_numbers import plain, restored
from edged.errors import JobError

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.sampled_from(["tuple", "pairs"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_there_and_back(value: object) -> None:
    assert restored(json.loads(json.dumps(plain(value)))) == value


def test_functions_are_left_out_of_a_dict_unless_strict() -> None:
    assert plain({"a": 1, "f": print}) == {"a": 1}
    with pytest.raises(JobError):
        plain({"a": 1, "f": print}, strict=True)
    with pytest.raises(JobError):
        plain([print])


def test_counters_become_pairs() -> None:
    assert plain(Counter([30, 30])) == {"pairs": [[30, 2]]}
