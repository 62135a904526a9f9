"""edged service: the texts that it writes, and that it does what it has shown, no more, and only when told to.

``systemctl``, ``loginctl`` and ``sudo`` are programs of the test, which write down how they were called; files are
really written and removed.
"""

from __future__ import annotations

import os
import plistlib
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edged.cli.launchd import Launchd
from edged.cli.services import Service, name_of
from edged.cli.systemd import Systemd, quoted
from edged.config import settings
from edged.telemetry import paths
from edged.transport.security import new_cluster_key, write_cluster_key
from tests.cli.shell import edged, wait_until
from tests.cli.terminal import Terminal
from tests.cli.test_node import LONELY

GOLDEN = Path(__file__).parents[1] / "golden"
USER = pwd.getpwuid(os.getuid()).pw_name
PI = Service(Path("/home/pi/.local/share/edged"), "edged", False, "pi", "/home/pi/edged/.venv/bin/python")

FAKE = """#!/bin/sh
if [ "$(basename "$0")" = sudo ]; then cat > /dev/null; fi
case "$*" in
  *--property=Version*) [ -e "$FAKES/silent" ] && exit 1; echo Version=252; exit ;;
  *show-user*) echo Linger=yes; exit ;;
  *show*) cat "$FAKES/state" 2> /dev/null; exit ;;
esac
echo "$(basename "$0") $*" >> "$FAKES/log"
case "$*" in *"$(cat "$FAKES/broken" 2> /dev/null || echo nothing-is-broken)"*) echo "it is broken" >&2; exit 5 ;; esac
"""


@dataclass(frozen=True)
class Fakes:
    """The folder of the pretended programs, and where a user's own units lie."""

    folder: Path
    units: Path

    def called(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def set(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    folder, settings = tmp_path / "fakes", tmp_path / "settings"
    folder.mkdir()
    for name in ("systemctl", "loginctl", "sudo"):
        (folder / name).write_text(FAKE)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKES", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(settings))
    monkeypatch.setattr(sys, "platform", "linux")
    for name in [name for name in os.environ if name.startswith(("EDGED_", "SUDO_", "OMP_"))]:
        monkeypatch.delenv(name)
    return Fakes(folder, settings / "systemd" / "user")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that has been in a cluster."""
    home = tmp_path / "a node's home"
    home.mkdir()
    write_cluster_key(home, new_cluster_key())
    return home


# ------------------------------------------------------------------------------------------------------------- texts


def same_as_golden(name: str, text: str) -> bool:
    path = GOLDEN / name
    if os.environ.get("EDGED_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("golden", "system", "made"),
    [
        ("user.service", False, Systemd()),
        ("system.service", True, Systemd()),
        ("agent.plist", False, Launchd()),
        ("daemon.plist", True, Launchd()),
    ],
)
def test_the_text_is_the_one_that_was_read_over(golden: str, system: bool, made: Systemd | Launchd) -> None:
    service = Service(PI.home, PI.name, system, PI.user, PI.python)
    assert same_as_golden(golden, made.text(service))
    assert made.is_for(service, made.text(service))
    assert not made.is_for(Service(Path("/srv/other"), PI.name, system, PI.user, PI.python), made.text(service))


@pytest.mark.parametrize(
    "home", ["/home/pi/edged", "/srv/my node", "/srv/50%", '/srv/a"b\\c', "/srv/$HOME", "/srv/über"]
)
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this device has no systemd")
def test_systemd_takes_the_unit_for_any_home(tmp_path: Path, home: str, system: bool) -> None:
    service = Service(Path(home), "edged", system, USER, sys.executable)
    unit = tmp_path / "edged.service"
    unit.write_text(Systemd().text(service))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *([] if system else ["--user"]), str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert "edged.service" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("word", "written"),
    [("a/b-c_d.e", "a/b-c_d.e"), ("a b", '"a b"'), ('a"b', '"a\\"b"'), ("50%", "50%%"), ("a\\b", '"a\\\\b"')],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, written: str) -> None:
    assert quoted(word) == written


def test_only_commands_have_variables() -> None:
    assert (quoted("a$b"), quoted("a$b", in_command=True)) == ('"a$b"', '"a$$b"')


def test_a_socket_in_the_temporary_folder_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: str(tmp_path))
    deep = Service(Path("/srv") / ("x" * 120), "edged", False, "pi", "/usr/bin/python3")
    text = Systemd().text(deep)
    assert f"ReadWritePaths={deep.home} {tmp_path}\nPrivateTmp=no\n" in text
    assert "PrivateTmp=yes" in Systemd().text(PI)


@pytest.mark.parametrize(("home", "python"), [("/tmp/pi", "/usr/bin/python3"), ("/srv/pi", "/var/tmp/venv/bin/python")])
def test_a_home_or_a_python_in_the_temporary_folder_is_not_hidden(home: str, python: str) -> None:
    text = Systemd().text(Service(Path(home), "edged", False, "pi", python))
    assert f"ReadWritePaths={home} /tmp /var/tmp\nPrivateTmp=no\n" in text


@pytest.mark.parametrize(
    ("home", "name"),
    [("/data/edged", "edged"), ("/data/b", "edged-b"), ("/data/my node!", "edged-my-node"), ("/data/.x", "edged-x"),
     ("/data/§§", "edged-node")],
)  # fmt: skip
def test_every_home_has_a_service_of_its_own(home: str, name: str) -> None:
    assert name_of(Path(home), Path("/data/edged")) == name


def test_a_property_list_names_the_command_and_restarts_only_what_failed() -> None:
    document = plistlib.loads(Launchd().text(PI).encode())
    assert document["ProgramArguments"] == list(PI.command)
    assert document["KeepAlive"] == {"SuccessfulExit": False}
    assert "UserName" not in document
    assert Launchd().path(PI) == Path("~/Library/LaunchAgents/edged.plist").expanduser()


def test_show_prints_the_unit_and_nothing_else(fakes: Fakes, home: Path) -> None:
    shown = edged("service", "show", home=home)
    assert (shown.status, shown.err) == (0, "")
    assert shown.out == Systemd().text(Service(home, "edged-a-node-s-home", False, USER, sys.executable))
    assert f"User={USER}\n" in edged("service", "show", "--system", home=home).out
    assert fakes.called() == []


# ---------------------------------------------------------------------------------------------------- install, remove


@pytest.fixture
def unit(fakes: Fakes) -> Path:
    return fakes.units / "edged-a-node-s-home.service"


def expected(unit: Path) -> list[str]:
    asked = [f"systemctl --user {words}" for words in ("daemon-reload", f"enable {unit.name}", f"restart {unit.name}")]
    return [*asked, f"loginctl enable-linger {USER}"]


def test_nothing_is_done_where_nobody_can_be_asked(fakes: Fakes, home: Path, unit: Path) -> None:
    told = edged("service", "install", home=home)
    assert told.status == 2
    assert told.err == "edged: nothing was done: nobody can be asked here; --yes does it\n"
    assert Systemd().text(Service(home, unit.stem, False, USER, sys.executable)) in told.out
    assert not fakes.units.exists()
    assert fakes.called() == []


def test_yes_does_what_was_shown(fakes: Fakes, home: Path, unit: Path) -> None:
    told = edged("service", "install", "--yes", home=home)
    assert told.status == 0, told.err
    assert told.err == f"edged: {unit.name} runs; `edged service status` tells how it is\n"
    assert unit.read_text() == edged("service", "show", home=home).out
    assert fakes.called() == expected(unit)
    assert [line for line in told.out.splitlines() if line.startswith(("systemctl", "loginctl"))] == expected(unit)


def test_what_is_shown_is_a_script_with_the_same_effect(fakes: Fakes, home: Path, unit: Path) -> None:
    shown = edged("service", "install", home=home).out
    subprocess.run(["sh", "-eu"], input=shown, text=True, check=True)
    assert unit.read_text() == edged("service", "show", home=home).out
    assert fakes.called() == expected(unit)


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("\n", 1), ("no\n", 1)])
def test_on_a_terminal_it_asks(fakes: Fakes, home: Path, unit: Path, answer: str, status: int) -> None:
    with Terminal("service", "install", "--home", home) as terminal:
        terminal.wait_for("edged: do that? [y/N] ")
        assert not unit.exists()
        terminal.type(answer)
        assert terminal.end() == status
    assert unit.exists() == (status == 0)
    assert fakes.called() == (expected(unit) if status == 0 else [])
    assert ("nothing was done" in terminal.shown) == (status == 1)


def test_a_step_that_fails_is_named_and_ends_it(fakes: Fakes, home: Path, unit: Path) -> None:
    fakes.set("broken", "enable ")
    told = edged("service", "install", "--yes", home=home)
    assert told.refuses(1, f"`systemctl --user enable {unit.name}` ended with status 5", "mend it and repeat")
    assert fakes.called() == expected(unit)[:2]
    fakes.set("broken", "nothing any more")
    assert edged("service", "install", "--yes", home=home).status == 0


def test_without_systemd_it_is_shown_and_refused(fakes: Fakes, home: Path, unit: Path) -> None:
    fakes.set("silent", "")
    told = edged("service", "install", "--yes", home=home)
    assert (told.status, unit.exists()) == (1, False)
    assert "nothing was done: systemd does not answer here" in told.err
    assert "Type=notify" in told.out


def test_the_whole_device_s_is_set_up_by_sudo_where_that_is_needed(
    fakes: Fakes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = edged("service", "install", "--system", "--yes", home=home)
    assert told.status == 0, told.err
    unit = "edged-a-node-s-home.service"
    assert fakes.called() == [
        "sudo mkdir -p /etc/systemd/system",
        f"sudo tee /etc/systemd/system/{unit}",
        "sudo systemctl daemon-reload",
        f"sudo systemctl enable {unit}",
        f"sudo systemctl restart {unit}",
    ]
    assert not Path("/etc/systemd/system", unit).exists()  # that sudo did nothing


def test_sudo_edged_is_refused(fakes: Fakes, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "pi")
    assert edged("service", "install", "--system", home=home).refuses(2, "without sudo")


def test_options_that_could_not_start_are_refused_before(fakes: Fakes, home: Path, unit: Path) -> None:
    (home / "config.toml").write_text('threads = "many"\n')
    assert edged("service", "install", "--yes", home=home).refuses(2, "threads", "whole number")
    assert not unit.exists()


def test_it_says_what_the_service_will_not_see(fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_SEED", "192.168.1.20:7077")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    told = edged("service", "install", home=tmp_path / "new")
    lines = '`seed = "192.168.1.20:7077"` and `threads = 2`'
    file = tmp_path / "new" / "config.toml"
    assert f"does not see EDGED_SEED, OMP_NUM_THREADS of this shell: write {lines} into {file}\n" in told.err
    assert "no cluster key, so the node founds a cluster of its own" in told.err
    assert not (tmp_path / "new").exists()


def test_what_it_says_to_write_is_taken_and_not_said_again(
    fakes: Fakes, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"NAME": "pi-4", "LISTEN": "0.0.0.0:7077", "SEED": "a:1,b:2", "DISCOVERY": "no", "MEMORY": "2GB",
              "THREADS": "3", "SLOWDOWN": "2", "METRICS_PORT": "9464", "KEY_FILE": "token.txt"}  # fmt: skip
    variables = {f"EDGED_{name}": value for name, value in values.items()}
    for name, value in {**variables, "EDGED_KEY": "secret", "OMP_NUM_THREADS": "5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    Path("token.txt").write_text("of the file")
    told = edged("service", "install", home=home).err
    assert "secret" not in told
    (home / "config.toml").write_text("\n".join(re.findall(r"`([a-z-]+ = [^`]+)`", told)))
    assert settings(home, {}, {}) == replace(settings(tmp_path / "none", {}, variables), home=home)
    assert "does not see" not in edged("service", "install", home=home).err


def test_the_service_of_another_home_is_left_alone(fakes: Fakes, home: Path, unit: Path, tmp_path: Path) -> None:
    assert edged("service", "install", "--yes", home=home).status == 0
    other = tmp_path / "elsewhere" / home.name
    before = fakes.called()
    for command in ("install", "uninstall"):
        assert edged("service", command, "--yes", home=other).refuses(2, str(unit), "another home")
    assert edged("service", "status", home=other).refuses(2, "another home")
    assert fakes.called() == before


def test_a_node_that_runs_by_hand_is_not_disturbed(fakes: Fakes, home: Path, unit: Path) -> None:
    node = subprocess.Popen(
        [sys.executable, "-m", "edged", "join", "--home", str(home), "--leave-at-eof", "--no-tui", *LONELY],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: edged("status", home=home).status == 0)
        assert edged("service", "install", "--yes", home=home).refuses(2, "already", "`edged leave` first")
        assert not unit.exists()
        fakes.set("state", "ActiveState=active\n")  # it is the service's own: written anew, started again
        assert edged("service", "install", "--yes", home=home).status == 0
    finally:
        node.kill()
        node.communicate()


def test_uninstall_takes_back_what_install_did_and_leaves_the_home(fakes: Fakes, home: Path, unit: Path) -> None:
    assert edged("service", "install", "--yes", home=home).status == 0
    before = len(fakes.called())
    shown = edged("service", "uninstall", home=home)
    assert (shown.status, unit.exists(), len(fakes.called())) == (2, True, before)
    told = edged("service", "uninstall", "--yes", home=home)
    assert told.status == 0
    assert fakes.called()[before:] == [f"systemctl --user disable --now {unit.name}", "systemctl --user daemon-reload"]
    assert not unit.exists()
    assert (home / "cluster.key").exists()
    again = edged("service", "uninstall", "--yes", home=home)
    assert (again.status, again.err) == (0, f"edged: there is no {unit}, nothing to do\n")


# ------------------------------------------------------------------------------------------------------------- status


@pytest.fixture
def installed(fakes: Fakes, home: Path) -> Path:
    assert edged("service", "install", "--yes", home=home).status == 0
    return home


RUNNING = """\
NRestarts=2
StatusText=3 nodes alive, desk leads; no job
ActiveState=active
SubState=running
UnitFileState=enabled
"""


def test_status_tells_how_the_service_is(fakes: Fakes, installed: Path, unit: Path) -> None:
    fakes.set("state", RUNNING)
    told = edged("service", "status", home=installed)
    assert told.status == 0
    assert told.out.splitlines() == [
        f"{unit.name} is active (running)",
        "  starts at boot; restarted 2 times",
        "  says: 3 nodes alive, desk leads; no job",
        f"  written in {unit}",
    ]
    assert edged("service", "status", "--json", home=installed).object == {
        "name": unit.name, "file": str(unit), "installed": True, "current": True, "running": True,
        "state": "active (running)", "starts": "at boot", "restarts": 2, "text": "3 nodes alive, desk leads; no job",
    }  # fmt: skip


def test_status_is_3_where_it_does_not_run_and_says_what_is_old(fakes: Fakes, installed: Path, unit: Path) -> None:
    fakes.set("state", "ActiveState=failed\nSubState=failed\nUnitFileState=disabled\nNRestarts=5\n")
    unit.write_text(unit.read_text().replace("WatchdogSec=60", "WatchdogSec=10"))
    told = edged("service", "status", home=installed)
    assert told.status == 3
    assert "is failed (failed)" in told.out
    assert "starts by hand only; restarted 5 times" in told.out
    assert "`edged service install` writes it anew" in told.out
    shown = edged("service", "status", "--json", home=installed)
    assert (shown.status, shown.object["current"], shown.object["running"]) == (3, False, False)


def test_status_of_what_is_not_there(fakes: Fakes, home: Path) -> None:
    assert edged("service", "status", home=home).refuses(3, "there is no service", "`edged service install`")
    shown = edged("service", "status", "--json", home=home)
    assert (shown.status, shown.object["installed"]) == (3, False)
    assert fakes.called() == []


# -------------------------------------------------------------------------------------------------------------- macOS


def test_launchd_is_asked_on_a_mac(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "fakes"
    folder.mkdir()
    (folder / "launchctl").write_text('#!/bin/sh\ncase "$*" in "print "*/*/*) exit 113 ;; print*) echo here ;; esac\n')
    (folder / "launchctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    told = edged("service", "install", "--yes", home=home)
    assert told.status == 0, told.err
    written = tmp_path / "Library" / "LaunchAgents" / "edged-a-node-s-home.plist"
    assert plistlib.loads(written.read_bytes())["ProgramArguments"][-1] == str(home)
    assert told.out.splitlines()[-1] == f"launchctl bootstrap gui/{os.getuid()} {written}"
    assert edged("service", "status", home=home).status == 3
    assert edged("service", "uninstall", "--yes", home=home).status == 0
    assert not written.exists()
