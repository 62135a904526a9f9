"""``edged service``: this home's node as a service, which the system starts and looks after."""

from __future__ import annotations

import json
import os
import pwd
import sys
from pathlib import Path
from typing import Annotated

import typer

from edged.cli.options import HomeOption, JsonOption, home, print_json
from edged.cli.services import Service, State, Step, System, name_of, perform, script
from edged.client import Client
from edged.compute.cores import compute_threads
from edged.config import CONFIG_NAME, OPTIONS, Option, home_of, resolve, settings
from edged.errors import ConfigError, NoNodeError, UserError

ANSWER_SECONDS = 5.0

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="This home's node as a service of the system.")

SystemOption = Annotated[
    bool, typer.Option("--system", help="A service of the whole device, not of this user: it starts at boot.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


@app.command()
def show(home_flag: HomeOption = None, system: SystemOption = False) -> None:
    """Print the unit (on macOS the property list), nothing else."""
    service = _service(home_flag, system=system)
    sys.stdout.write(_system().text(service))


@app.command()
def install(home_flag: HomeOption = None, system: SystemOption = False, yes: YesOption = False) -> None:
    """Set it up and start it, after showing how."""
    service, manager = _service(home_flag, system=system), _system()
    _written(service, manager)
    _check(service, manager)
    _remark(service)
    if _agreed(manager.install(service), manager.problem(service), yes=yes):
        _say(f"{manager.name(service)} runs; `edged service status` tells how it is")


@app.command()
def uninstall(home_flag: HomeOption = None, system: SystemOption = False, yes: YesOption = False) -> None:
    """Let the node leave, and take the service away; the home stays."""
    service, manager = _service(home_flag, system=system), _system()
    if _written(service, manager) is None:
        _say(f"there is no {manager.path(service)}, nothing to do")
        return
    if _agreed(manager.uninstall(service), manager.problem(service), yes=yes):
        _say(f"{manager.name(service)} is gone; its home is still {service.home}")


@app.command()
def status(home_flag: HomeOption = None, system: SystemOption = False, as_json: JsonOption = False) -> None:
    """Tell whether it is installed and runs. Status 3 if it does not."""
    service, manager = _service(home_flag, system=system), _system()
    path, written = manager.path(service), _written(service, manager)
    if written is None and not as_json:
        raise NoNodeError(f"there is no service {manager.name(service)}: `edged service install` sets it up")
    found = manager.state(service)
    is_current = written == manager.text(service)
    if as_json:
        print_json(
            {
                "name": manager.name(service),
                "file": str(path),
                "installed": written is not None,
                "current": is_current,
                "running": found.running,
                "state": found.state,
                "starts": found.starts,
                "restarts": found.restarts,
                "text": found.text,
            }
        )
    else:
        print("\n".join(_lines(manager.name(service), path, found, is_current=is_current)))
    if not found.running:
        raise typer.Exit(NoNodeError.exit_status)


def _lines(name: str, path: Path, found: State, *, is_current: bool) -> list[str]:
    lines = [f"{name} is {found.state}", f"  starts {found.starts}; restarted {found.restarts} times"]
    if found.text:
        lines.append(f"  says: {found.text}")
    lines.append(f"  written in {path}")
    if not is_current:
        lines.append("  which is not what this edged would write: `edged service install` writes it anew")
    return lines


def _system() -> System:
    if sys.platform == "darwin":
        from edged.cli.launchd import Launchd

        return Launchd()
    from edged.cli.systemd import Systemd

    return Systemd()


def _service(home_flag: Path | None, *, system: bool) -> Service:
    if os.geteuid() == 0 and os.environ.get("SUDO_USER"):
        raise ConfigError(
            "type this without sudo, as the user that the node is to run as: what needs root calls sudo by itself"
        )
    folder, user = home(home_flag), pwd.getpwuid(os.getuid()).pw_name
    return Service(folder, name_of(folder, home_of(None, {})), system, user, sys.executable)


def _written(service: Service, manager: System) -> str | None:
    """What is installed, if anything is. Raises ``ConfigError`` if that is the service of another home."""
    path = manager.path(service)
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    if not manager.is_for(service, text):
        raise ConfigError(f"{path} is the service of another home; give the folder of this one another name")
    return text


def _check(service: Service, manager: System) -> None:
    """Refuse what could not start. The options of the service are those of its home, not those of this shell."""
    settings(service.home, {}, {})
    if manager.state(service).running:
        return
    try:
        Client(service.home, ANSWER_SECONDS).ask("status")
    except NoNodeError:
        return
    raise ConfigError(f"a node runs in {service.home} already, and not as a service: `edged leave` first")


def _remark(service: Service) -> None:
    """Say what a person would stumble over later."""
    from edged.transport.private import CLUSTER_KEY_NAME

    unseen = _unseen(service)
    if unseen:
        lines = " and ".join(f"`{line}`" for line in unseen.values())
        _say(f"the service does not see {', '.join(unseen)} of this shell: write {lines} into "
             f"{service.home / CONFIG_NAME}")  # fmt: skip
    if not (service.home / CLUSTER_KEY_NAME).exists() and not settings(service.home, {}, {}).key:
        _say(
            "this home has no cluster key, so the node founds a cluster of its own. To join one: type the line of "
            "`edged key join-command` here, Ctrl-C, and install then"
        )


def _unseen(service: Service) -> dict[str, str]:
    """Variables of this shell that a node heeds, and for each the line in the home's file that does the same.

    Not the key's, which no file of options takes: of a home without a key there is a remark of its own.
    """
    written = {setting.option.name for setting in resolve(service.home, {}, {}) if setting.origin == "file"}
    found = {
        option.variable: _line(option, os.environ[option.variable])
        for option in OPTIONS
        if os.environ.get(option.variable) and option.name not in written and not option.secret
    }
    if os.environ.get("OMP_NUM_THREADS") and "threads" not in written and "EDGED_THREADS" not in found:
        found["OMP_NUM_THREADS"] = f"threads = {compute_threads()}"
    return found


def _line(option: Option, text: str) -> str:
    """An option in TOML. A path counts from where this is typed."""
    if option.parse is Path:
        text = str(Path(text).expanduser().absolute())
    return f"{option.name} = {text if text.isdecimal() else json.dumps(text, ensure_ascii=False)}"


def _agreed(steps: list[Step], problem: str, *, yes: bool) -> bool:
    """Show the steps; do them if that is wanted. Whether they were done; raises ``UserError``."""
    print(script(steps), flush=True)
    if problem:
        raise UserError(f"nothing was done: {problem}")
    if not yes and not sys.stdin.isatty():
        raise ConfigError("nothing was done: nobody can be asked here; --yes does it")
    if not yes and not _asked():
        _say("nothing was done")
        raise typer.Exit(1)
    perform(steps)
    return True


def _asked() -> bool:
    print("edged: do that? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _say(text: str) -> None:
    print(f"edged: {text}", file=sys.stderr, flush=True)
