"""edged init: the file that it writes trains as written, alone and together, and nothing is overwritten."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from edged.cli.init import TEMPLATES
from edged.compute.job_file import load
from edged.compute.local import train_local
from tests.cli.shell import edged


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_trains_as_written_and_learns(
    template: str, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = edged("init", "--template", template)
    assert (told.status, told.out) == (0, "job.py\n")
    assert told.err.startswith("edged: wrote job.py; ")
    assert all(
        f"`{command}`" in told.err for command in ("edged train job.py --local", "edged train job.py", "edged join")
    )
    together = edged("train", "job.py", "--json", "--set", "strategy=spread", home=desk)
    assert together.status == 0, together.err
    losses = [event["loss"] for event in together.objects if event["event"] == "eval"]
    first = next(event["loss"] for event in together.objects if event["event"] == "step")
    assert losses[-1] < 0.75 * first
    if template == "module":  # what the file promises of all of them
        alone = edged("train", "job.py", "--local", "--json", "--threads", "1")
        assert together.objects[-1]["state_sha256"] == alone.objects[-1]["state_sha256"]


def test_the_table_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    assert edged("init", path, "--template", "table").status == 0
    lines = [f"{a},{b},{a + 2 * b}" for a in range(10) for b in range(10)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,sum", *lines]))
    text = path.read_text()
    assert "FILE: Path | None = None" in text
    path.write_text(text.replace("= None\n", '= Path(__file__).with_name("rows.csv")\n', 1))
    job = load(str(path), {"epochs": "30"})
    assert (len(job.data), len(job.eval_data)) == (80, 20)
    losses = [event["loss"] for event in train_local(job).history if event["event"] == "eval"]
    assert losses[-1] < 0.1


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "job.py"
    path.write_text("mine = 1\n")
    assert edged("init", path).refuses(2, "exists already", "another file")
    assert path.read_text() == "mine = 1\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["job.txt"], ["job.txt", "ends in .py"]),
        (["missing/job.py"], ["missing", "make it first"]),
        (["--template", "keras"], ["'keras'", "module, huggingface, table"]),
    ],
)
def test_a_mistake_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert edged("init", *arguments).refuses(2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_says_in_its_numbers_what_to_change(tmp_path: Path, template: str) -> None:
    path = tmp_path / "job.py"
    assert edged("init", path, "--template", template).status == 0
    text = path.read_text()
    last = int((ast.get_docstring(ast.parse(text)) or "").partition("1 to ")[2][0])
    numbers = [int(line[2]) for line in text.splitlines() if line.startswith("# ") and line[2:4].rstrip(".").isdigit()]
    assert numbers == list(range(1, last + 1))
