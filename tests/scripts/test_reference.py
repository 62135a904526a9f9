"""The generated parts of the documents are what the code says today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import reference
import typer

from edged.config import OPTIONS

SCRIPT = Path(reference.__file__)


@pytest.mark.parametrize("page", reference.PAGES, ids=lambda page: page.name)
def test_a_page_is_as_the_code_has_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert reference.written_anew(text) == text, "run `python scripts/reference.py`"


def test_every_block_stands_once() -> None:
    found = [name for page in reference.PAGES for name in reference.named(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(reference.blocks())


def test_each_option_of_a_node_has_its_row() -> None:
    rows = reference.blocks()["edged join"]().splitlines()[2:]
    assert len(rows) == len(OPTIONS)
    assert all(any(f"`--{option.name}" in row and option.unset in row for row in rows) for option in OPTIONS)


def test_a_stale_block_is_seen_and_mended() -> None:
    text = "before\n<!-- reference: schedulers -->\nold\n<!-- end of reference -->\nafter\n"
    fresh = reference.written_anew(text)
    assert fresh.startswith("before\n")
    assert fresh.endswith("\nafter\n")
    assert "`StepLR`" in fresh
    assert "old" not in fresh
    assert reference.written_anew(fresh) == fresh


def test_a_block_that_nobody_can_write_is_refused() -> None:
    with pytest.raises(KeyError, match="edged fly"):
        reference.written_anew("<!-- reference: edged fly -->\n<!-- end of reference -->")


def test_a_command_shows_values_switches_defaults_and_ranges() -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def fly(
        height: int = typer.Option(3, metavar="N", min=1, max=9, help="How high."),
        wings: bool = typer.Option(True, "--wings/--no-wings", help="With wings."),
        secret: str = typer.Option("", hidden=True),
    ) -> None: ...

    command = typer.main.get_command(app)
    assert reference.has_options(command)
    _, _, height, wings = reference.options_of(command).splitlines()
    assert height.startswith("| `--height N` | How high. (default: 3; ")
    assert wings.startswith("| `--wings`, `--no-wings` | With wings.")


def test_a_cell_never_breaks_its_table() -> None:
    with pytest.raises(ValueError, match="ends it"):
        reference.table(("a", "b"), [("one", "this|that")])


def test_pages_are_linked_where_code_names_them() -> None:
    assert (
        reference.linked("see `docs/metrics.md#logs`, `docs/x.txt`")
        == "see [metrics.md](metrics.md#logs), `docs/x.txt`"
    )


def test_the_check_of_the_script_agrees() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
