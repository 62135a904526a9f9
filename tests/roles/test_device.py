"""What a device can give."""

from edged.roles.device import Device


def test_memory_is_what_the_user_says_else_a_share_of_what_is_free() -> None:
    assert Device("cpu", 0, 1.0, 2 * 10**9).free_memory(lambda: 10**9) == 2 * 10**9
    assert Device("cpu", 0, 1.0, 0).free_memory(lambda: 10**9) == 8 * 10**8
    assert Device("cpu", 0, 1.0, 0).free_memory() > 0


def test_threads_are_what_the_user_says_else_all_cores() -> None:
    assert Device("cpu", 3, 1.0, 0).cores == 3
    assert Device("cpu", 0, 1.0, 0).cores >= 1


def test_an_emulated_slower_device_measures_slower() -> None:
    fast, slow = Device("cpu", 1, 1.0, 0), Device("cpu", 1, 50.0, 0)
    slowness, name = fast.measure(fast.executor())
    assert name == "cpu"
    assert slow.measure(slow.executor())[0] > slowness > 0
