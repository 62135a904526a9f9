"""The command ``edged``: its commands, its exit statuses, and how it speaks when something is wrong.

Data goes to standard output, messages for people to standard error, one line each, with what to do next. Exit status:
0 done; 1 the job or command failed; 2 usage; 3 no node is running in this home; 4 the key was refused; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from edged.cli import demo, jobs, keys, look, node
from edged.errors import UserError

app = typer.Typer(
    name="edged",
    help="Train one network on several unequal devices: the same daemon on each, no server.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(node.join)
app.command()(node.leave)
app.add_typer(keys.app, name="key")
app.add_typer(node.config_app, name="config")
app.command()(jobs.train)
app.command("jobs")(jobs.list_jobs)
app.command()(jobs.attach)
app.command()(jobs.stop)
app.command()(jobs.export)
app.command()(look.status)
app.command()(look.watch)
app.command()(look.events)
app.command()(demo.demo)


def _print_version(value: bool) -> None:
    if value:
        from edged import __version__

        print(f"edged {__version__}")
        raise typer.Exit


@app.callback()
def options(
    shows_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.", envvar="EDGED_DEBUG")] = False,
) -> None:
    """Train one network on several unequal devices: the same daemon on each, no server."""
    del shows_version
    if debug:
        os.environ["EDGED_DEBUG"] = "1"


def main() -> None:
    """Run a command and leave with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; returns the exit status. Every mistake of the user becomes one line on standard error."""
    try:
        app(arguments, prog_name="edged")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except UserError as error:
        if os.environ.get("EDGED_DEBUG"):
            traceback.print_exc()
        print(f"edged: {error}", file=sys.stderr)
        return error.exit_status
    return 0
