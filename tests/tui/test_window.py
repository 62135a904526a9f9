"""The live view at work, over a sheet of paper in place of a terminal."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from edged.telemetry.paths import local_socket_path
from edged.tui.keys import Keyboard
from edged.tui.window import Window
from tests.tui.sample import status

PATIENCE_SECONDS = 200.0


class Sheet:
    """Takes drawings; gives the keys that the test presses."""

    def __init__(self) -> None:
        self.drawings: list[list[str]] = []
        self.handled = 0
        """Keys that the window has done with."""

        self._pressed: SimpleQueue[list[str]] = SimpleQueue()
        self._given = 0
        self.measures = (100, 30)
        self.closed = self.forgotten = 0

    def size(self) -> tuple[int, int]:
        return self.measures

    def keys(self, seconds: float) -> list[str]:
        self.handled = self._given
        time.sleep(seconds / 20)
        try:
            pressed = self._pressed.get_nowait()
        except Empty:
            return []
        self._given += len(pressed)
        return pressed

    def press(self, *keys: str) -> None:
        self._pressed.put(list(keys))

    def draw(self, lines: list) -> None:
        self.drawings.append([line.plain for line in lines])

    def forget(self) -> None:
        self.forgotten += 1

    def close(self) -> None:
        self.closed += 1


class Desk:
    """A window that runs in a thread."""

    def __init__(self, home: Path, keyboard: Keyboard | None) -> None:
        self.sheet = Sheet()
        self.window = Window(home, self.sheet, keyboard)
        self.thread = threading.Thread(target=self.window.run)
        self.thread.start()

    def shows(self, text: str, line: int | None = None) -> None:
        def found() -> bool:
            drawn = self.sheet.drawings[-1:] or [[]]
            return text in ("\n".join(drawn[0]) if line is None else (drawn[0] or [""])[line])

        self.wait(found, text)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, (what, self.sheet.drawings[-1:])
            time.sleep(0.01)

    def end(self) -> None:
        self.window.ended.set()
        self.thread.join(PATIENCE_SECONDS)


class Answers(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        self.server.asked.append(request)
        self.wfile.write(json.dumps(self.server.answer).encode() + b"\n")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    """The socket of a node that gives one answer to everything."""
    path = local_socket_path(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with socketserver.ThreadingUnixStreamServer(str(path), Answers) as server:
        server.asked, server.answer = [], {"job": "00aa11bb22cc", "state": "paused", "step": 121}
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown for a while only stays until it was looked at."""
    for name in ("window.SILENT_SECONDS", "head.SILENT_SECONDS", "window.NOTICE_SECONDS"):
        monkeypatch.setattr(f"edged.tui.{name}", PATIENCE_SECONDS)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, Keyboard(quits=True))
    yield desk
    desk.end()
    assert desk.sheet.closed == 1


def test_it_says_that_it_starts_then_draws_what_it_is_told_and_the_keys_below(desk: Desk) -> None:
    desk.shows("starting …")
    desk.window.tell(status(2))
    desk.shows("2 of 2 nodes alive")
    desk.shows("? help", -1)
    assert {len(drawn) for drawn in desk.sheet.drawings if drawn != ["starting …"]} == {30}


def test_it_follows_the_terminal_s_size(desk: Desk) -> None:
    desk.window.tell(status(2))
    desk.shows("2 of 2 nodes alive")
    desk.sheet.measures = (160, 50)
    desk.wait(lambda: len(desk.sheet.drawings[-1]) == 50, "50 lines")


def test_p_asks_the_node_to_pause_and_says_what_came_of_it(desk: Desk, node: Any) -> None:
    desk.window.tell(status(2))
    desk.sheet.press("p")
    desk.shows("the job is paused at step 121", -1)
    assert node.asked == [{"command": "pause", "job": "00aa11bb22cc"}]


def test_p_lets_a_paused_job_go_on(desk: Desk, node: Any) -> None:
    found = status(2)
    found["job"]["state"] = "paused"
    node.answer = {"job": "00aa11bb22cc", "state": "queued", "step": 121}
    desk.window.tell(found)
    desk.sheet.press("p")
    desk.shows("the job is queued at step 121", -1)
    assert node.asked == [{"command": "resume", "job": "00aa11bb22cc"}]


def test_a_refusal_is_shown_in_its_own_words(desk: Desk, node: Any) -> None:
    node.answer = {"error": "job digits is finished: it can be neither paused nor resumed", "status": 1}
    desk.window.tell(status(2))
    desk.sheet.press("p")
    desk.shows("it can be neither paused nor resumed", -1)


def test_a_node_that_cannot_be_asked_is_told(desk: Desk) -> None:
    desk.window.tell(status(2))
    desk.sheet.press("p")
    desk.shows("no node is running in", -1)


def test_without_a_job_there_is_nothing_to_pause(desk: Desk, node: Any) -> None:
    desk.window.tell(status(2, job=False))
    desk.sheet.press("p")
    desk.shows("nothing to pause", -1)
    assert node.asked == []


def test_leaving_is_asked_for_once_it_is_typed_out(desk: Desk, node: Any) -> None:
    node.answer = {"node": "1" * 16, "name": "desk"}
    desk.window.tell(status(2))
    desk.sheet.press(*"lleav")
    desk.shows("› leav_", -1)
    assert not desk.window.leaves
    desk.sheet.press("e", "\r")
    desk.wait(lambda: node.asked == [{"command": "leave"}], "the node is asked")
    assert desk.window.leaves
    desk.shows("desk leaves as soon as its layers have moved", -1)


def test_the_help_covers_the_picture_and_leaves_the_keys(desk: Desk) -> None:
    desk.window.tell(status(2))
    desk.sheet.press("?")
    desk.shows("holds: layers of others")
    desk.shows("? back", -1)


def test_control_l_draws_all_of_it_again(desk: Desk) -> None:
    desk.window.tell(status(2))
    desk.sheet.press("\x0c")
    desk.wait(lambda: desk.sheet.forgotten == 1, "forgotten")


def test_q_ends_it(desk: Desk) -> None:
    desk.window.tell(status(2))
    desk.sheet.press("q")
    desk.thread.join(PATIENCE_SECONDS)
    assert desk.window.ended.is_set()


def test_keys_before_anything_is_known_do_nothing(desk: Desk) -> None:
    desk.sheet.press("q", "p", "l")
    desk.wait(lambda: desk.sheet.handled == 3, "the keys are done with")
    desk.window.tell(status(2))
    desk.shows("? help", -1)
    assert not desk.window.ended.is_set()


def test_a_node_that_falls_silent_is_said_to_be(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.tui.window.SILENT_SECONDS", 0.05)
    monkeypatch.setattr("edged.tui.head.SILENT_SECONDS", 0.05)
    monkeypatch.setattr("edged.tui.window.REDRAW_SECONDS", 0.02)
    desk.window.tell(status(2))
    desk.shows("this node has told nothing for")


def test_without_keys_there_is_no_foot(tmp_path: Path) -> None:
    desk = Desk(tmp_path, None)
    desk.window.tell(status(2))
    desk.shows("2 of 2 nodes alive")
    assert "help" not in "\n".join(desk.sheet.drawings[-1])
    desk.end()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_in_the_drawing_gives_the_terminal_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path, None)
    desk.window.tell({"members": [{}]})  # no status at all
    desk.thread.join(PATIENCE_SECONDS)
    assert desk.sheet.closed == 1
