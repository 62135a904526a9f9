"""``edged init``: a job file to start from."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from edged.cli.completion import one_of
from edged.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "data" / "templates"

TEMPLATES = ("module", "huggingface", "table")


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path("job.py"),
    template: Annotated[
        str,
        typer.Option(
            metavar="module|huggingface|table",
            help="Your own nn.Module (default), a model of Hugging Face's, or rows of a CSV file.",
            autocompletion=one_of(*TEMPLATES),
        ),
    ] = "module",
) -> None:
    """Write a job file to start from; it trains as it stands."""
    target = file.expanduser()
    if template not in TEMPLATES:
        raise ConfigError(f"--template is {template!r}: write one of {', '.join(TEMPLATES)}")
    if target.suffix != ".py":
        raise ConfigError(f"{file}: a job file ends in .py; name it {file}.py")
    text = (FOLDER / f"{template}.py").read_text(encoding="utf-8")
    try:
        with target.open("x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{file} exists already and was left alone; name another file") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: the folder {target.absolute().parent} does not exist; make it first") from error
    print(target)
    train = f"edged train {shlex.quote(str(target))}"
    print(
        f"edged: wrote {target}; change what is numbered in it, or train it as it stands: `{train} --local` on this "
        f"device alone, `{train}` on the cluster of the node that `edged join` starts",
        file=sys.stderr,
    )
