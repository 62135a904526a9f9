"""What ``pip install edged`` would give: the wheel has every file of the package, and works away from this folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of(folder: Path) -> set[Path]:
    """The package's files below a folder."""
    files = {path.relative_to(folder) for path in (folder / "edged").rglob("*") if path.is_file()}
    return {path for path in files if "__pycache__" not in path.parts}


def is_ignored(path: Path) -> bool:
    """Whether git takes this for a by-product, as the wheel's maker does."""
    return subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_the_wheel_is_whole_and_works_where_nothing_else_is(tmp_path: Path) -> None:
    run("-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    there = tmp_path / "there"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(there)
    assert files_of(there) == {path for path in files_of(ROOT) if not is_ignored(path)}
    (metadata,) = there.glob("edged-*.dist-info/METADATA")
    assert "Requires-Dist: torch" in metadata.read_text()

    away = tmp_path / "away"
    away.mkdir()
    where = run("-c", "import edged; print(edged.__file__)", cwd=away, PYTHONPATH=str(there))
    assert Path(where.strip()).is_relative_to(there)
    run("-m", "edged", "init", "job.py", cwd=away, PYTHONPATH=str(there))
    told = run("-m", "edged", "train", "job.py", "--local", "--json", cwd=away, PYTHONPATH=str(there))
    assert json.loads(told.splitlines()[-1])["event"] == "finished"
