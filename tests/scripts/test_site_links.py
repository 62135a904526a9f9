"""The site: links of the repository lead to its pages, and the strict build refuses what leads nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import site_links

ROOT = site_links.ROOT


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("docs/jobs.md", "jobs.md"),
        ("docs/adr/README.md", "adr/README.md"),
        ("README.md", "index.md"),
        ("ARCHITECTURE.md", "architecture.md"),
        ("examples/README.md", "examples.md"),
        ("examples/grafana/edged.json", "files/examples/grafana/edged.json"),
        ("docs/nowhere.md", None),
        ("nowhere.txt", None),
        ("edged/data/ATTRIBUTION.md", None),
        ("../elsewhere.md", None),
    ],
)
def test_a_file_of_the_repository_has_its_place_on_the_site(path: str, place: str | None) -> None:
    assert site_links.place_of(path) == place


def test_links_and_pictures_are_led_elsewhere_but_not_what_is_code_or_far_away() -> None:
    page = "[a](x.md#part) ![b](p.svg) [c](https://a.b/c.md) [d](#part)\n```python\nf = [g](x.md)\n```\n[e](y.md)"
    assert site_links.relinked(page, lambda link: f"to/{link[1]}") == (
        "[a](to/x.md#part) ![b](to/p.svg) [c](https://a.b/c.md) [d](#part)\n```python\nf = [g](x.md)\n```\n[e](to/y.md)"
    )


def test_every_page_that_stands_elsewhere_is_there() -> None:
    assert all((ROOT / path).is_file() for path in site_links.BROUGHT_IN)


@pytest.mark.slow
def test_the_strict_build_refuses_what_leads_nowhere(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "docs" / "forgotten.md").write_text("# In no menu\n", encoding="utf-8")
    with (tmp_path / "docs" / "jobs.md").open("a", encoding="utf-8") as page:
        page.write("[a](gone.md) [b](commands.md#gone) [c](../GONE.md)\n")
    settings = f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nhooks: ['{ROOT / 'scripts' / 'site_links.py'}']\n"
    (tmp_path / "mkdocs.yml").write_text(settings, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", tmp_path / "mkdocs.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("WARNING - ") == 4, done.stderr
    assert all(name in done.stderr for name in ("forgotten.md", "'gone.md'", "'commands.md#gone'", "'../GONE.md'"))
