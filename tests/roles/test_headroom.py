"""People are warned before memory runs out: once each time."""

from __future__ import annotations

import logging

import pytest

from edged.roles.headroom import Headroom

GB = 10**9


class Scene:
    """A device of 16 GB of which ``available`` are left, and a node with a budget."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.budget, self.available = 0, 8 * GB
        self.headroom = Headroom(lambda: self.budget, lambda: (16 * GB, self.available))
        self._caplog = caplog
        caplog.set_level(logging.WARNING, logger="edged")

    def look(self, resident: int, *, works: bool = True) -> list[str]:
        self._caplog.clear()
        self.headroom.look(resident, works=works)
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def scene(caplog: pytest.LogCaptureFixture) -> Scene:
    return Scene(caplog)


def test_training_near_its_budget_is_told_once_until_it_has_been_far(scene: Scene) -> None:
    scene.budget = 1000 * 10**6
    assert scene.look(300 * 10**6, works=False) == []
    assert scene.look(1190 * 10**6) == []
    (text,) = scene.look(1210 * 10**6)
    assert text.startswith("training takes 910 MB here, and its budget is 1000 MB: ")
    assert scene.look(1500 * 10**6) == []
    assert scene.look(1150 * 10**6) == []  # near it still
    assert scene.look(1210 * 10**6) == []
    assert scene.look(1000 * 10**6) == []
    assert len(scene.look(1210 * 10**6)) == 1


def test_what_the_process_takes_without_layers_is_no_training(scene: Scene) -> None:
    scene.budget = 1000 * 10**6
    for resident in (300 * 10**6, 2000 * 10**6):
        assert scene.look(resident, works=False) == []
    assert scene.look(2800 * 10**6) == []
    assert len(scene.look(3000 * 10**6)) == 1


def test_before_the_budget_is_known_nothing_is_near_it(scene: Scene) -> None:
    assert scene.look(5 * GB) == []


def test_a_device_with_little_left_is_told_once_until_it_has_much(scene: Scene) -> None:
    scene.available = 490 * 10**6
    (text,) = scene.look(0)
    assert text.startswith("this device has only 490 MB left: ")
    assert scene.look(0) == []
    scene.available = 900 * 10**6
    assert scene.look(0) == []
    scene.available = 490 * 10**6
    assert scene.look(0) == []
    scene.available = 2 * GB
    assert scene.look(0) == []
    scene.available = 490 * 10**6
    assert len(scene.look(0)) == 1


def test_the_real_device_is_asked_what_it_has_left(caplog: pytest.LogCaptureFixture) -> None:
    headroom = Headroom(lambda: 1)
    total, available = headroom._memory()
    assert 10**8 < available <= total < 10**14
    headroom.look(2, works=True)
    assert "its budget is" in caplog.text
