"""The command ``edged``: its commands, its exit statuses, and how it speaks when something is wrong.

Data goes to standard output, messages for people to standard error, one line each, with what to do next. Exit status:
0 done; 1 the job or command failed; 2 usage; 3 no node is running in this home; 4 the key was refused; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer

from edged.cli import control, demo, doctor, foresight, init, jobs, keys, look, node, service
from edged.errors import UserError

INTERRUPTED = 130

CommandLineError: type[Exception] = next(k for k in typer.BadParameter.__mro__ if k.__name__ == "ClickException")
"""What typer raises for a command line that it does not understand (typer has moved it about, but not its child)."""

app = typer.Typer(
    name="edged",
    help="Train one network on several unequal devices: the same daemon on each, no server.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(node.join)
app.command()(control.leave)
app.command()(control.expel)
app.add_typer(keys.app, name="key")
app.add_typer(node.config_app, name="config")
app.add_typer(service.app, name="service")
app.command()(init.init)
app.command()(jobs.train)
app.command("jobs")(jobs.list_jobs)
app.command()(jobs.attach)
app.command()(control.pause)
app.command()(control.resume)
app.command()(jobs.stop)
app.command()(jobs.export)
app.command()(look.status)
app.command()(look.watch)
app.command()(look.events)
app.command()(look.replay)
app.command()(doctor.doctor)
app.command()(demo.demo)
app.command()(foresight.plan)
app.command()(foresight.simulate)


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
    if "--debug" in arguments:  # wherever it stands: who wants it has just typed the command without it
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    try:
        return app(arguments, prog_name="edged", standalone_mode=False) or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _silence()  # whoever read our output has had enough: `edged events | head`
        return 0
    except UserError as error:
        return _refused(str(error), error.exit_status)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _refused(f"{what}; mend that and type the command again (--debug tells where it happened)", 1)
    except CommandLineError as error:
        return _misused(error)


def _refused(text: str, status: int) -> int:
    if os.environ.get("EDGED_DEBUG"):
        traceback.print_exc()
    print(f"edged: {text}", file=sys.stderr)
    return status


def _misused(error: Any) -> int:
    """A command line that is not understood: one line, and where help is. Without any argument: the help itself."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "edged"
    text = str(error.format_message()).strip()
    if "\n" in text:
        print(text)
    else:
        print(f"edged: {text[:1].lower()}{text[1:].rstrip('.')}; see `{path} --help`", file=sys.stderr)
    return int(error.exit_code)


def _silence() -> None:
    """Keep the interpreter from complaining about the closed pipe when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
