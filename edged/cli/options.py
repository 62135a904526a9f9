"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edged.config import home_of

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The node's folder (variable EDGED_HOME; default: the platform's data directory)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def home(flag: Path | None) -> Path:
    """The home that a command works with."""
    return home_of(flag, os.environ)
