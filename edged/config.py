"""Every option of a node: its value, and where it came from.

A flag wins over the variable ``EDGED_<OPTION>``, which wins over the key in ``HOME/config.toml``, which wins over the
default. The cluster key is not an option of the file that people copy: it lives in ``HOME/cluster.key``, mode 0600.
"""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from edged.errors import ConfigError

CONFIG_NAME = "config.toml"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
PORT_LIMIT = 65536
MOST_REPLICAS = 16
LEAST_JOURNAL_BYTES = 10**6


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one node.

    ``key`` is the cluster key's token, empty to use the one of the home. ``listen`` is (host, port), port 0 for any.
    ``memory_bytes`` 0: measured free memory. ``threads`` 0: see ``compute.cores``. ``slowdown``: emulate a device so
    many times slower. ``replicas``: how many nodes besides the leader keep copies of a node's layers, where this one
    leads.
    ``forks``: whether a minority that hears only silence goes on as a fork (``--minority``). ``metrics``: where metrics
    are served, if they are. ``journal_bytes``: room for the journal on the disk. ``unattended``: nobody sits in front
    of this node.
    """

    home: Path
    name: str
    cluster: str
    key: str
    listen: tuple[str, int]
    seeds: tuple[tuple[str, int], ...]
    discovery: bool
    memory_bytes: int
    threads: int
    device: str
    slowdown: float
    replicas: int
    forks: bool
    tui: bool
    log_format: str
    metrics: tuple[str, int] | None = None
    journal_bytes: int = 2**24
    unattended: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its kebab-case name, how text or TOML becomes a value, its default, and what it is for.

    ``unset`` says what happens where the default is no value that a person would write. ``docs/commands.md`` has both.
    """

    name: str
    parse: Callable[[Any], Any]
    default: Any
    text: str
    secret: bool = False
    unset: str = ""

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return "EDGED_" + self.name.replace("-", "_").upper()


@dataclass(frozen=True, slots=True)
class Setting:
    """A resolved option; ``origin`` is "flag", "variable", "file" or "default"."""

    option: Option
    value: Any
    origin: str


def parse_size(value: object) -> int:
    """Bytes from ``2GB``, ``512MiB`` or a number. Raises ``ValueError``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _at_least(value, 0)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(value))
    if not match or match[2].upper() not in UNITS:
        raise ValueError("write a size such as 2GB, 512MiB or a number of bytes")
    return int(float(match[1]) * UNITS[match[2].upper()])


def parse_address(value: object) -> tuple[str, int]:
    """(host, port) from ``HOST:PORT``, ``[IPv6]:PORT`` or ``HOST``. Raises ``ValueError``."""
    text = str(value).strip()
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\s]+)(?::(\d+))?", text)
    if not match:
        raise ValueError("write HOST:PORT, for example 192.168.1.20:7077")
    port = int(match[2] or 0)
    if port >= PORT_LIMIT:
        raise ValueError(f"a port is below {PORT_LIMIT}")
    return match[1].strip("[]"), port


def _metrics(value: object) -> tuple[str, int]:
    """A port of this device's own address, or HOST:PORT."""
    text = str(value).strip()
    if re.fullmatch(r"\d+", text):
        return parse_address(f"127.0.0.1:{text}")
    if not re.fullmatch(r".+:\d+", text):
        raise ValueError("write a port, for example 9464, or HOST:PORT to be reached from other devices")
    return parse_address(text)


def _journal(value: object) -> int:
    size = parse_size(value)
    if size < LEAST_JOURNAL_BYTES:
        raise ValueError("a journal needs at least 1MB")
    return size


def _seeds(value: object) -> tuple[tuple[str, int], ...]:
    parts = value if isinstance(value, list | tuple) else str(value).replace(",", " ").split()
    seeds = tuple(parse_address(part) for part in parts)
    if any(port == 0 for _, port in seeds):
        raise ValueError("a seed needs its port, for example 192.168.1.20:7077")
    return seeds


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ValueError("write true or false")


def _at_least(value: object, least: int) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"[+-]?\d+", text) or int(text) < least:
        raise ValueError(f"write a whole number, at least {least}")
    return int(text)


def _slowdown(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    if not 1.0 <= number <= 1000.0:  # noqa: PLR2004 - the sentence beside it says what the bounds are
        raise ValueError("a slowdown is a number between 1 and 1000")
    return number


def _replicas(value: object) -> int:
    number = _at_least(value, 0)
    if number > MOST_REPLICAS:
        raise ValueError(f"a layer has at most {MOST_REPLICAS} replicas")
    return number


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if str(value) not in choices:
            raise ValueError("write one of " + ", ".join(choices))
        return str(value)

    return parse


def _name(value: object) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"[\w][\w .-]{0,62}", text):
        raise ValueError("a name is 1 to 63 letters, digits, dots, dashes or spaces")
    return text


_LISTEN = "where to listen: three ports in a row; port 0 takes those that it had before, if they are free, else any"
_REPLICAS = "other nodes that keep a copy of each layer, besides the leader; the leader's number counts"
_MINORITY = "where a majority of the voters is silent: `fork` goes on tentatively after a while, `wait` waits"
_METRICS = "serve `/metrics`, `/healthz` and `/readyz` over HTTP, on 127.0.0.1 unless HOST is named (`docs/metrics.md`)"

OPTIONS: tuple[Option, ...] = (
    Option(
        "name",
        _name,
        None,
        "what people call this device; of two with one name the second adds some of its id",
        unset="the host's name",
    ),
    Option("cluster", _name, "edged", "only nodes with the same cluster name and key join each other"),
    Option(
        "key",
        str,
        "",
        "the cluster key's token; it is kept in `HOME/cluster.key`, mode 0600",
        secret=True,
        unset="the home's",
    ),
    Option("key-file", Path, None, "a file that holds the cluster key's token", unset="the home's key"),
    Option("listen", parse_address, ("0.0.0.0", 0), _LISTEN),  # noqa: S104 - encrypted and admitted
    Option("seed", _seeds, (), "a node to join; repeatable; needs no multicast. Known nodes are remembered"),
    Option("discovery", _flag, True, "look for nodes on the local network by mDNS"),
    Option(
        "memory",
        parse_size,
        0,
        "memory that training may use, such as `2GB` or `512MiB` (`docs/operations.md#memory`)",
        unset="0.8 of what is free, measured again every 10 s",
    ),
    Option(
        "threads",
        lambda value: _at_least(value, 0),
        0,
        "compute threads; equal bits need equal numbers",
        unset="OMP_NUM_THREADS, else all cores that the process may use",
    ),
    Option("device", _one_of("auto", "cpu", "cuda", "mps"), "auto", "where to compute: `auto`, `cpu`, `cuda` or `mps`"),
    Option("slowdown", _slowdown, 1.0, "emulate a device so many times slower, for trials"),
    Option("replicas", _replicas, 1, _REPLICAS),
    Option("minority", _one_of("fork", "wait"), "fork", _MINORITY),
    Option("tui", _flag, True, "the live view, if standard output is a terminal"),
    Option("log-format", _one_of("text", "json"), "text", "log lines as `text` or as `json` (`docs/metrics.md#logs`)"),
    Option("journal", _journal, 2**24, "room for the journal on the disk; the oldest half is overwritten"),
    Option("metrics-port", _metrics, None, _METRICS, unset="off"),
    Option("unattended", _flag, False, "for services: no live view, no key in the log, a start waits for a network"),
)


def home_of(flag: Path | None, environment: Mapping[str, str]) -> Path:
    """The home: the flag, else ``EDGED_HOME``, else the platform's data directory."""
    if flag is not None:
        return flag.expanduser().absolute()
    if environment.get("EDGED_HOME"):
        return Path(environment["EDGED_HOME"]).expanduser().absolute()
    return Path(platformdirs.user_data_dir("edged", appauthor=False))


def resolve(home: Path, flags: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Setting, ...]:
    """Every option with its value and origin. ``flags`` maps option names to values; ``None`` means not given.

    Raises ``ConfigError`` that names the option, where it was set and what to write.
    """
    written = _read_file(home / CONFIG_NAME)
    found: list[Setting] = []
    for option in OPTIONS:
        if flags.get(option.name) is not None:
            raw, origin, place = flags[option.name], "flag", f"--{option.name}"
        elif environment.get(option.variable):
            raw, origin, place = environment[option.variable], "variable", option.variable
        elif option.name in written:
            raw, origin, place = written[option.name], "file", f"{home / CONFIG_NAME}: {option.name}"
        else:
            found.append(Setting(option, option.default, "default"))
            continue
        try:
            found.append(Setting(option, option.parse(raw), origin))
        except ValueError as error:
            shown = "(hidden)" if option.secret else _quoted(raw)
            raise ConfigError(f"{place} is {shown}: {error}") from error
    return tuple(found)


def settings(home: Path, flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The options of a node of this home, ready to run with. Raises ``ConfigError``."""
    value = {setting.option.name: setting.value for setting in resolve(home, flags, environment)}
    return Settings(
        home=home,
        name=value["name"] or default_name(),
        cluster=value["cluster"],
        key=value["key"] or _read_key(value["key-file"]),
        listen=value["listen"],
        seeds=value["seed"],
        discovery=value["discovery"],
        memory_bytes=value["memory"],
        threads=value["threads"],
        device=value["device"],
        slowdown=value["slowdown"],
        replicas=value["replicas"],
        forks=value["minority"] == "fork",
        tui=value["tui"] and not value["unattended"],
        log_format=value["log-format"],
        metrics=value["metrics-port"],
        journal_bytes=value["journal"],
        unattended=value["unattended"],
    )


def default_name() -> str:
    """This device's host name without its domain."""
    return re.sub(r"[^\w.-]", "-", socket.gethostname().partition(".")[0])[:63] or "node"


def _read_key(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--key-file {path} cannot be read: {_why(error)}; `edged key show`, on a device of the cluster, prints "
            "the key to put there"
        ) from error


def _read_file(path: Path) -> Mapping[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise ConfigError(f"{path.parent} is not a folder: choose another --home") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {_why(error)}; mend its permissions or choose another --home"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f'{path} is not TOML: {error}; write lines such as: name = "pi-4"') from error
    known = {option.name for option in OPTIONS} - {"key"}
    for name in content:
        if name == "key":
            raise ConfigError(f"{path} holds the key: take it out and type `edged key show`; the key has its own file")
        if name not in known:
            raise ConfigError(f"{path} has an unknown key {name!r}; the options are " + ", ".join(sorted(known)))
    return content


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not text"


def _quoted(raw: object) -> str:
    """A value as its user wrote it."""
    return " ".join(map(repr, raw)) if isinstance(raw, list | tuple) else repr(raw)
