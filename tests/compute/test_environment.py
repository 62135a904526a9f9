"""The process-wide state that bits depend on is set, and a change is noticed."""

import threading
from collections.abc import Callable

import pytest
import torch

from edged.compute.environment import environment
from edged.errors import BrokenInvariantError


def on_a_thread(function: Callable[[], None]) -> list[BaseException]:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BrokenInvariantError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return raised


@pytest.fixture(autouse=True)
def _restored():
    yield
    environment(torch.device("cpu"), torch.get_num_threads()).apply()
    torch.use_deterministic_algorithms(False)


def test_what_was_applied_holds() -> None:
    wanted = environment(torch.device("cpu"), 1)
    assert not wanted.deterministic

    def check() -> None:
        wanted.apply()
        wanted.check()

    assert on_a_thread(check) == []


def test_several_threads_need_deterministic_algorithms() -> None:
    assert environment(torch.device("cpu"), 2).deterministic
    assert environment(torch.device("cuda"), 1).deterministic


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda: torch.set_default_dtype(torch.float64), "default dtype"),
        (lambda: torch.use_deterministic_algorithms(True), "deterministic"),
        (lambda: torch.set_float32_matmul_precision("medium"), "matmul"),
        (lambda: torch.set_num_threads(2), "threads"),
    ],
)
def test_a_change_is_noticed(change: Callable[[], None], word: str) -> None:
    wanted = environment(torch.device("cpu"), 1)

    def check() -> None:
        wanted.apply()
        change()
        wanted.check()

    (error,) = on_a_thread(check)
    assert word in str(error)


def test_what_is_held_for_a_while_is_put_back() -> None:
    found: list[object] = []

    def look() -> tuple[object, ...]:
        tiny = torch.tensor([1e-310], dtype=torch.float64)
        return (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.backends.cudnn.benchmark,
            bool((tiny + 0.0) == 0.0),
        )

    def run() -> None:
        torch.set_num_threads(3)
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.set_flush_denormal(True)
        before = look()
        with environment(torch.device("cpu"), 2).held():
            found.append(look())
        found.extend([before, look()])

    assert on_a_thread(run) == []
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert found[0] == (2, torch.float32, "highest", True, False, False, False)
    assert found[1] == found[2] == (3, torch.float64, "medium", False, True, True, True)
