"""The terminal: what is written to it, what is read, and that it is given back as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from edged.tui import screen as module
from edged.tui.lines import Tone, line
from edged.tui.screen import ENTER, LEAVE, Screen

PATIENCE_SECONDS = 200.0
Opened = Callable[..., Screen]


class Pair:
    """A terminal's two ends: the program's is standard input and output, ours is what a person sees and types."""

    def __init__(self, columns: int = 20, rows: int = 4) -> None:
        self.ours, self.theirs = pty.openpty()
        self.raw = b""
        self.resize(columns, rows)
        self.emulator = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.emulator)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self) -> bytes:
        """All that was written since."""
        found = b""
        while select.select([self.ours], [], [], 0)[0]:
            found += os.read(self.ours, 65536)
        self.raw += found
        self.stream.feed(found)
        return found

    def shown(self) -> list[str]:
        self.read()
        return [each.rstrip() for each in self.emulator.display]

    def modes(self) -> list:
        return termios.tcgetattr(self.theirs)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    with os.fdopen(os.dup(pair.theirs), "w") as out, os.fdopen(os.dup(pair.theirs)) as into:
        pair.streams = {"stdout": out, "stdin": into}
        yield pair
    os.close(pair.ours)
    os.close(pair.theirs)


@pytest.fixture
def opened(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Screen]:
    """Opens a screen on the pair, with these variables."""

    def begin(**environment: str) -> Screen:
        for name, stream in pair.streams.items():
            monkeypatch.setattr(sys, name, stream)
        screen = Screen(reads=True, environment={"TERM": "xterm", **environment})
        screen.open()
        return screen

    return begin


def test_it_takes_the_terminal_and_gives_it_back_as_it_was(pair: Pair, opened: Opened) -> None:
    before = pair.modes()
    screen = opened()
    assert pair.read() == ENTER.encode()
    assert not pair.modes()[3] & (termios.ECHO | termios.ICANON)
    assert pair.modes()[3] & termios.ISIG  # Ctrl-C stays what it is
    screen.draw([line("hello")])
    screen.close()
    assert pair.read().endswith(LEAVE.encode())
    assert pair.modes() == before
    screen.close()
    screen.draw([line("too late")])
    assert pair.read() == b""


def test_only_what_has_changed_is_written(pair: Pair, opened: Opened) -> None:
    screen = opened()
    screen.draw([line("one"), line("two"), line("three")])
    assert pair.shown() == ["one", "two", "three", ""]
    screen.draw([line("one"), line("2"), line("three")])
    written = pair.read().decode()
    assert "2" in written
    assert "one" not in written
    assert "three" not in written
    screen.draw([line("one"), line("2"), line("three")])
    assert pair.read() == b""
    assert pair.shown() == ["one", "2", "three", ""]
    screen.forget()
    screen.draw([line("one")])
    assert pair.shown() == ["one", "", "", ""]
    screen.close()


def test_all_is_written_again_after_a_while(pair: Pair, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPAINT_SECONDS", 0.0)
    screen = opened()
    screen.draw([line("one")])
    pair.read()
    os.write(pair.theirs, b"\x1b[1;1Hstray")
    assert pair.shown()[0] == "stray"
    screen.draw([line("one")])
    assert pair.shown()[0] == "one"
    screen.close()


def test_a_line_is_cut_at_the_edge_and_fills_the_last_column(pair: Pair, opened: Opened) -> None:
    screen = opened()
    screen.draw([line("x" * 20), line("y" * 30), line("書" * 12), line("end")])
    assert pair.shown() == ["x" * 20, "y" * 19 + "…", "書" * 9 + " …", "end"]
    screen.close()


def test_it_follows_the_size(pair: Pair, opened: Opened) -> None:
    screen = opened()
    assert screen.size() == (20, 4)
    screen.draw([line(str(number)) for number in range(4)])
    pair.read()
    pair.resize(10, 2)
    assert screen.size() == (10, 2)
    screen.draw([line("0"), line("x" * 20), line("below")])
    written = pair.read().decode()
    assert "\x1b[1;1H\x1b[2K0" in written  # after a change of size nothing is taken for granted
    assert "x" * 9 + "…" in written
    assert "below" not in written
    screen.close()


@pytest.mark.parametrize("none", ["", "1"])
def test_no_colour_is_sent_to_whom_wants_none(pair: Pair, opened: Opened, none: str) -> None:
    screen = opened(**({"NO_COLOR": none} if none else {}))
    pair.read()
    screen.draw([line(("bad", Tone.BAD), ("good", Tone.GOOD), ("strong", Tone.STRONG))])
    written = pair.read().decode()
    assert ("\x1b[31m" in written, "\x1b[32m" in written) == (not none, not none)
    assert "\x1b[1mstrong" in written
    assert pair.shown()[0] == "badgoodstrong"
    screen.close()


def test_keys_come_one_by_one_and_arrows_are_no_escape(pair: Pair, opened: Opened) -> None:
    screen = opened()
    assert screen.keys(0.0) == []
    os.write(pair.ours, "p\x1b[A\x1bOP\x1b[1;5Cé\x1b".encode())
    assert screen.keys(PATIENCE_SECONDS) == ["p", "\x1b[A", "\x1bOP", "\x1b[1;5C", "é", "\x1b"]
    screen.close()
    assert screen.keys(0.0) == []


def test_a_standard_input_that_is_no_terminal_has_no_keys(pair: Pair, opened: Opened) -> None:
    with Path(os.devnull).open() as nothing:
        pair.streams["stdin"] = nothing
        screen = opened()
        assert not screen.reads
        began = time.monotonic()
        assert screen.keys(0.05) == []
        assert time.monotonic() - began >= 0.05
        screen.close()


def test_signs_that_the_terminal_s_encoding_lacks_do_no_harm(pair: Pair, opened: Opened) -> None:
    with os.fdopen(os.dup(pair.theirs), "w", encoding="ascii") as out:
        pair.streams["stdout"] = out
        screen = opened()
        screen.draw([line("─▶ desk")])
        assert pair.shown()[0] == "?? desk"
        screen.close()


def test_a_terminal_that_has_gone_raises_nothing(pair: Pair, opened: Opened) -> None:
    screen = opened()
    spare = os.open(os.devnull, os.O_RDONLY)
    os.dup2(spare, pair.ours)  # the other end is closed
    screen.draw([line("anybody?")])
    assert screen.keys(0.0) == []
    screen.close()
    os.close(spare)
