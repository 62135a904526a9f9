"""What the keys of the live view mean. Pure: keys go in, wishes come out; what is being typed is all that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from edged.tui.lines import Line, Tone, line, wrapped

CONFIRMATION = "leave"
"""Typed out in full: nothing that a cat, a sleeve or a pasted line does takes a node out."""

ENTER, ESCAPE, ERASE = ("\r", "\n"), "\x1b", ("\x7f", "\b")
ROOMY = 60
"""From this width on the help line says more."""

STEERED = {"queued", "preparing", "running", "waiting"}
"""States in which a job can be told to stand."""

LEGEND = (
    ("marks", "★ leads, ● alive, ? suspect, ✗ dead or expelled, ○ left"),
    ("boxes", "layers; share of the time in which the node computes; time of one micro-batch, both ways;"),
    ("", "memory of its process; v: steps that its weights have made"),
    ("arrows", "activations go right, gradients left; what the link carries now"),
    ("nodes", "holds: layers of others of which it keeps replicas; slowness: more is slower;"),
    ("", "free: memory that training may use"),
    ("links", "what is sent now, how long a small message takes, and what was measured to fit"),
    ("replicas", "the version to which the job goes back if a node dies, and how old it is;"),
    ("", "unprotected: the plan that runs has not committed a version yet"),
)

Status = Mapping[str, Any]


class Wish(Enum):
    """What the person in front of the terminal wants."""

    PAUSE = auto()
    RESUME = auto()
    LEAVE = auto()
    QUIT = auto()
    REDRAW = auto()


class Keyboard:
    """Turns keys into wishes, and says at the foot of the screen which keys there are."""

    def __init__(self, *, quits: bool) -> None:
        """``quits``: whether the view can end while the node goes on."""
        self.helps = False
        self._quits = quits
        self._typed: str | None = None

    @property
    def asks(self) -> bool:
        """Whether a question is open."""
        return self._typed is not None

    def press(self, key: str, status: Status) -> Wish | None:
        """Take one key; returns what is wanted now, if anything is."""
        if self._typed is not None:
            return self._confirm(key)
        match key.lower():
            case "p":
                return Wish.RESUME if _state(status) == "paused" else Wish.PAUSE
            case "l":
                self._typed = ""
            case "q" if self._quits:
                return Wish.QUIT
            case "?" | "h":
                self.helps = not self.helps
            case "\x1b":  # Escape
                self.helps = False
            case "\x0c":  # Ctrl-L
                return Wish.REDRAW
            case _:
                pass
        return None

    def foot(self, status: Status, width: int) -> Line:
        """The help line, or the question that is open. What is typed stands first: it must be seen on any screen."""
        if self._typed is not None:
            name = str(status.get("name", "this node"))
            asked = f"   type {CONFIRMATION} and Enter: {name} leaves, its layers move first; Esc: it stays"
            return line(("› ", Tone.WARN), (f"{self._typed}_", Tone.STRONG), (asked, Tone.WARN)).fitted(width)
        steers = {*STEERED, "paused"}
        keys = [("p", "resume" if _state(status) == "paused" else "pause")] if _state(status) in steers else []
        keys += [("l", "let this node leave" if width >= ROOMY else "leave"), ("?", "back" if self.helps else "help")]
        keys += [("q", "quit")] if self._quits else [("Ctrl-C", "leave")]
        gap = "   " if width >= ROOMY else "  "
        parts = (line((key, Tone.STRONG), (f" {what}{gap}", Tone.QUIET)) for key, what in keys)
        return line(*parts).fitted(width)

    def legend(self, width: int) -> list[Line]:
        """What keys and signs mean."""
        end = ("q", "end this view; the node goes on") if self._quits else ("Ctrl-C", "leave; twice: at once")
        told = (
            ("p", "pause the job after the step it is in, or let it go on: edged pause, edged resume"),
            ("l", "let this node leave, once you have typed that out; its layers move first: edged leave"),
            end,
            ("?", "this page, and back"),
            *LEGEND,
        )
        margin = max(len(name) for name, _ in told) + 2
        lines = []
        for name, text in told:
            rows = wrapped(text, max(width - margin, 1))
            lines += [
                line((f"{name if index == 0 else '':<{margin}}", Tone.STRONG), row) for index, row in enumerate(rows)
            ]
        return lines

    def _confirm(self, key: str) -> Wish | None:
        typed = self._typed or ""
        if key in ENTER:
            self._typed = None
            return Wish.LEAVE if typed == CONFIRMATION else None
        if key == ESCAPE:
            self._typed = None
        elif key in ERASE:
            self._typed = typed[:-1]
        elif key.isprintable() and len(key) == 1:
            self._typed = (typed + key)[: len(CONFIRMATION) + 1]
        return None


def _state(status: Status) -> str:
    return str((status.get("job") or {}).get("state", ""))
