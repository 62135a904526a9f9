"""The view as it stands, once: as text, or as an SVG picture."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

from rich.console import Console

from edged.tui.view import frame, render

HEIGHT = 48
"""Lines at most where there is no terminal."""

LEAST_HEIGHT = 20
SVG_SIZE = (120, 36)
SVG_FONTS = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"


def print_once(status: Mapping[str, Any]) -> None:
    """Draw one status on standard output; signs that its encoding does not have become question marks."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    height = console.height - 1 if console.is_terminal else HEIGHT
    console.print(render(status, console.width, max(height, LEAST_HEIGHT)))


def write_svg(status: Mapping[str, Any], path: Path) -> None:
    """Draw one status as an SVG picture. Raises ``OSError`` if the file cannot be written."""
    width, height = SVG_SIZE
    drawn_height = len(frame(status, width, height))
    console = Console(record=True, width=width, height=drawn_height, file=StringIO(), force_terminal=True)
    console.print(render(status, width, height))
    drawn = console.export_svg(title=f"edged · {status.get('cluster', '')}", unique_id="edged")
    drawn = re.sub(
        r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL
    )  # the reader's own fonts: no web font is fetched
    path.write_text(drawn.replace("Fira Code, monospace", SVG_FONTS), encoding="utf-8")
