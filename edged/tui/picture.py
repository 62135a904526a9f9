"""The view as it stands, once: as text, or as an SVG picture."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from rich.console import Console

from edged.tui.lines_svg import picture
from edged.tui.view import frame, render

HEIGHT = 48
"""Lines at most where there is no terminal."""

LEAST_HEIGHT = 20
SVG_SIZE = (120, 42)


def print_once(status: Mapping[str, Any]) -> None:
    """Draw one status on standard output; signs that its encoding does not have become question marks."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    height = console.height - 1 if console.is_terminal else HEIGHT
    console.print(render(status, console.width, max(height, LEAST_HEIGHT)))


def write_svg(status: Mapping[str, Any], path: Path) -> None:
    """Draw one status as an SVG picture. Raises ``OSError`` if the file cannot be written."""
    columns, rows = SVG_SIZE
    drawn = picture(frame(status, columns, rows), columns, f"edged watch · {status.get('cluster', '')}")
    path.write_text(drawn, encoding="utf-8")
