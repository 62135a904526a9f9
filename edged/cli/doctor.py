"""``edged doctor``: looks at this device and its network, says what is wrong and what mends it."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edged.cli.options import HomeOption, JsonOption, hide_key, home, print_json

if TYPE_CHECKING:
    from edged.doctor.examine import Report
    from edged.doctor.finding import Finding

LEVEL_WIDTH = 8
INDENT = " " * (2 + LEVEL_WIDTH + 1)


def doctor(
    home_flag: HomeOption = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Ask about this address; default: the home's.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the cluster to join.")] = None,
    key: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Try the doors of others with this key; default: the home's.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file that holds the token.")] = None,
    seed: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="A node whose door is tried; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this device and its network.

    Each finding says what is, why it matters, and the command that mends it. Status 1 if one is a problem. Where no
    node runs, it tries the doors of others, with the options of `edged join`, and joins nobody.
    """
    from edged.doctor.examine import examine
    from edged.doctor.finding import Level

    if key:
        hide_key(key)
    flags = {"listen": listen, "cluster": cluster, "key": key, "key-file": key_file, "seed": seed or None}
    report = examine(home(home_flag), flags, os.environ)
    if as_json:
        print_json(_document(report))
    else:
        print("\n".join(_lines(report, min(shutil.get_terminal_size((100, 30)).columns, 120))))
    if report.level is Level.PROBLEM:
        raise typer.Exit(1)


def _document(report: Report) -> dict[str, object]:
    from edged import __version__

    return {
        "edged": __version__,
        "home": str(report.home),
        "level": report.level.name.lower(),
        "seconds": round(report.seconds, 3),
        "findings": [
            {
                "id": finding.id,
                "level": finding.level.name.lower(),
                "what": finding.what,
                "why": finding.why,
                "remedy": finding.remedy,
            }
            for finding in report.findings
        ],
    }


def _lines(report: Report, width: int) -> list[str]:
    """A paragraph for each finding, under the name of its part; what is in order takes no more than its own words."""
    from edged.doctor.catalogue import PARTS
    from edged.doctor.finding import Level

    lines: list[str] = []
    for part, known in PARTS.items():
        lines.append(part)
        for finding in (each for each in report.findings if each.id in known):
            lines += _paragraph(finding, width)
    counts = {level: sum(each.level is level for each in report.findings) for level in Level}
    bad = ", ".join(
        f"{counts[level]} {level.name.lower()}{'s' * (counts[level] != 1)}"
        for level in (Level.PROBLEM, Level.WARNING, Level.NOTE)
        if counts[level]
    )
    return [*lines, "", f"{bad or 'everything is in order'}  ({report.seconds:.1f} s)"]


def _paragraph(finding: Finding, width: int) -> list[str]:
    from edged.doctor.finding import Level

    first = f"  {finding.level.name.lower():<{LEVEL_WIDTH}} {finding.id}: "
    lines = _wrapped(finding.what, width, first)
    if finding.level >= Level.WARNING:
        lines += _wrapped(finding.why, width, f"{INDENT}why: ")
    if finding.remedy:
        lines += _wrapped(finding.remedy, width, f"{INDENT}do:  ")
    return lines


def _wrapped(text: str, width: int, first: str) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=INDENT + "  ",
        break_on_hyphens=False,
        break_long_words=False,
    )
