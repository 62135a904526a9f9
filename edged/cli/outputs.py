"""``--output``: where weights go. What can be known of the place is asked before anything is done."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from edged.errors import ConfigError, JobFailedError


def weights_file(path: Path) -> Path:
    """The absolute path of a file of weights. Raises ``ConfigError`` if it cannot be one."""
    target = path.expanduser().absolute()
    if target.suffix != ".safetensors":
        raise ConfigError(f"--output {path}: the weights are written as .safetensors; name it {path}.safetensors")
    if target.is_dir():
        raise ConfigError(f"--output {path}: that is a folder; name a file in it, {path / 'job.safetensors'}")
    return _placed(path, target)


def model_folder(path: Path) -> Path:
    """The absolute path of a folder for a model. Raises ``ConfigError`` if it cannot be one."""
    target = path.expanduser().absolute()
    if target.suffix == ".safetensors" or (target.exists() and not target.is_dir()):
        raise ConfigError(f"--output {path}: --pretrained writes a folder; name one, or leave --pretrained out")
    return _placed(path, target)


def try_folder(option: str, folder: Path) -> None:
    """Begin a file in a folder, of which nothing is left. Raises ``ConfigError``, which names the ``option``."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{option}: {folder} takes no file ({error.strerror}); name another place") from error


def deliver(written: str, target: Path) -> None:
    """Copy the weights to where the node could not write them: as a service it may write to its home only.

    ``written``: where it has them, a path, or in words. Raises ``JobFailedError``, which says so again.
    """
    result, temporary = Path(written), target.with_name(f".{target.name}.part")
    if not result.is_absolute():
        raise JobFailedError(f"the weights are not in {target} but {written}: `edged export --output FILE` there")
    try:
        shutil.copyfile(result, temporary)
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        why = f"{error.filename}: {error.strerror}"
        raise JobFailedError(
            f"the weights are not in {target} but in {result}: copy them from there ({why})"
        ) from error


def _placed(path: Path, target: Path) -> Path:
    if not target.parent.is_dir():
        raise ConfigError(f"--output {path}: the folder {target.parent} does not exist; make it first")
    return target
