"""Train one network on several unequal devices: the same daemon on each, no server.

Importing this package imports no torch: the names below are looked up when they are first used, so that commands that
do not compute start quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edged.api import train
    from edged.compute.local import train_local
    from edged.compute.result import Result
    from edged.job import Job

    __version__: str

__all__ = ["Job", "Result", "__version__", "train", "train_local"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name == "__version__":
        return _version()
    homes = {
        "Job": "edged.job",
        "Result": "edged.compute.result",
        "train": "edged.api",
        "train_local": "edged.compute.local",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(homes[name]), name)


def __dir__() -> list[str]:
    """The public names, also those not imported yet."""
    return __all__


def _version() -> str:
    metadata = import_module("importlib.metadata")  # not at the top: it takes longer than all the rest
    try:
        return str(metadata.version("edged"))
    except metadata.PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
