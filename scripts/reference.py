"""Writes what the code knows into the documents: commands and their options, options of a node, fields of a job.

``docs/commands.md`` and ``docs/jobs.md`` are prose, but for blocks like this one, which stand between two comments::

    <!-- reference: edged train -->

    | option | |
    ...

    <!-- end of reference -->

``python scripts/reference.py`` writes all blocks anew. With ``--check`` it changes nothing, and ends with status 1 if
that would change something.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any

import typer

from edged.cli.main import app
from edged.config import OPTIONS, Option
from edged.job import OPTIMIZERS, SCHEDULERS, Job

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (DOCS / "commands.md", DOCS / "jobs.md")

BLOCK = re.compile(r"^<!-- reference: (.+?) -->\n.*?^<!-- end of reference -->$", re.DOTALL | re.MULTILINE)
EVERYWHERE = {"--home", "--json", "--help"}
"""Options that many commands have; the page says once what they do, and for each command what its JSON is."""

NOTES = {r"\]$": "", r"default: \((.+)\)": r"default: \1", r"(\S+)<=x<=(\S+)": r"\1 to \2", r"x>=(\S+)": r"at least \1"}
"""What typer puts behind the help of an option, and how the documents say it."""

MEBIBYTE = 2**20


def blocks() -> dict[str, Callable[[], str]]:
    """What can stand in a block, by its name."""
    listed = commands()
    tables: dict[str, Callable[[], str]] = {
        name: partial(options_of, command) for name, command in listed.items() if has_options(command)
    }
    return {
        **tables,
        "edged join": partial(options_of_a_node, listed["edged join"]),
        "commands": partial(overview, listed),
        "fields of a job": fields_of_a_job,
        "optimizers": partial(in_a_row, OPTIMIZERS),
        "schedulers": partial(in_a_row, SCHEDULERS),
    }


def written_anew(text: str) -> str:
    """A page with all its blocks as they should be. Raises ``KeyError`` for a block that nobody can write."""
    known = blocks()
    return BLOCK.sub(
        lambda found: f"<!-- reference: {found[1]} -->\n\n{known[found[1]]()}\n\n<!-- end of reference -->", text
    )


def named(text: str) -> list[str]:
    """Names of a page's blocks, in order."""
    return BLOCK.findall(text)


def commands() -> dict[str, Any]:
    """All commands that help lists, by what is typed: ``edged key new``."""
    return dict(_leaves("edged", typer.main.get_command(app)))


def has_options(command: Any) -> bool:
    """Whether a command has options besides those that many have."""
    return any(_rows(command))


def overview(listed: Mapping[str, Any]) -> str:
    """All commands, and what each does in a sentence."""
    rows = []
    for name, command in listed.items():
        values = [_shown(argument) for argument in _parameters(command, "argument")]
        values += [f"{option.opts[0]} {_shown(option)}" for option in _parameters(command, "option") if option.required]
        rows.append((f"`{' '.join([name, *values])}`", inspect.cleandoc(command.help or "").partition("\n\n")[0]))
    return table(("command", ""), rows)


def options_of(command: Any) -> str:
    """What a command takes besides its arguments, with the words of its help."""
    return table(("option", ""), list(_rows(command)))


def options_of_a_node(join: Any) -> str:
    """The options of ``edged join``, which are also variables and keys of ``config.toml``; defaults from there."""
    by_name = {option.name: option for option in OPTIONS}
    rows = []
    for parameter in _parameters(join, "option"):
        option = by_name.pop(parameter.opts[0].removeprefix("--"))
        rows.append((_spelt(parameter), default_of(option), linked(option.text)))
    if by_name:
        raise ValueError(f"edged join does not take {', '.join(by_name)}")
    return table(("option", "default", ""), rows)


def default_of(option: Option) -> str:
    """What holds where nothing is said, as a person would write it."""
    value = option.default
    if option.unset:
        return option.unset
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return f"`{value[0]}:{value[1]}`"
    if isinstance(value, int) and value >= MEBIBYTE:
        return f"`{value // MEBIBYTE}MiB`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def fields_of_a_job() -> str:
    """The arguments of ``Job``, in their order, from its docstring and its defaults."""
    documented = inspect.cleandoc(Job.__doc__ or "").partition("Args:\n")[2]
    meanings = dict(re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", documented, re.MULTILINE))
    rows = []
    for field in fields(Job):
        default = "" if field.default is MISSING else f"`{_written(field.default)}`"
        meaning = " ".join(meanings[field.name].split()).replace("``", "`")
        rows.append((f"`{field.name}`", default, linked(meaning).removesuffix(".")))
    return table(("field", "default", "meaning"), rows)


def in_a_row(names: frozenset[str]) -> str:
    """Names, sorted, as one line of prose."""
    return ", ".join(f"`{name}`" for name in sorted(names))


def linked(text: str) -> str:
    """Make a link of each page that is named as in code: ``docs/metrics.md#logs``."""
    return re.sub(r"`docs/(([\w-]+\.md)(?:#[\w-]+)?)`", r"[\2](\1)", text)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table. Raises ``ValueError`` for a cell that would end before its end."""
    if any("|" in cell for row in rows for cell in row):
        raise ValueError(f"a cell holds |, which ends it: {[row for row in rows if '|' in ''.join(row)]}")
    lines = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name, below in command.commands.items():
        if not below.hidden:
            yield from _leaves(f"{path} {name}", below) if hasattr(below, "commands") else [(f"{path} {name}", below)]


def _parameters(command: Any, kind: str) -> list[Any]:
    context = typer.Context(command)
    return [
        parameter
        for parameter in command.get_params(context)
        if parameter.param_type_name == kind and not parameter.hidden and not EVERYWHERE.intersection(parameter.opts)
    ]


def _rows(command: Any) -> Iterator[tuple[str, str]]:
    context = typer.Context(command)
    for option in _parameters(command, "option"):
        text, _, more = option.get_help_record(context)[1].partition("  [")
        for written, said in NOTES.items():
            more = re.sub(written, said, more)
        yield _spelt(option), f"{text} ({more})" if more else text


def _spelt(option: Any) -> str:
    """An option as it is typed: `--name NAME`, or both sides of a switch."""
    value = "" if option.is_flag else f" {_shown(option)}"
    return ", ".join(f"`{spelling}{value}`" for spelling in (*option.opts, *option.secondary_opts))


def _shown(parameter: Any) -> str:
    """The name of a value: JOB, FILE, HOST:PORT."""
    return str(parameter.metavar or parameter.name.upper()).replace("|", "/")


def _written(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def main() -> int:
    """Write or check the pages; the exit status."""
    parser = argparse.ArgumentParser(description="Write the generated parts of docs/.")
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 if something is out of date")
    only_checks = parser.parse_args().check
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (fresh := written_anew(text)) != text:
            stale.append(page.name)
            if not only_checks:
                page.write_text(fresh, encoding="utf-8")
    if stale and only_checks:
        print(f"out of date: {', '.join(stale)}; run `python scripts/reference.py`", file=sys.stderr)
    return 1 if stale and only_checks else 0


if __name__ == "__main__":
    sys.exit(main())
