"""What the documents tell to type exists, and does what they say."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import typer

from edged.cli.main import app
from tests.cli.documents import LANGUAGES, PAGES, PROGRAMS, ROOT, agrees, blocks, commands, links
from tests.cli.following import Follower

ALWAYS = {"--help", "--version", "--debug", "--install-completion", "--show-completion"}
PATHS = re.compile(r"(?<![\w/.-])((?:tests|scripts|examples|docs|edged)/[\w./-]*\w)")
FOLLOWED = [page for page in PAGES if any(block.is_run for block in blocks(page))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_says_its_language_so_no_command_is_overlooked(page: Path) -> None:
    strange = [block.place for block in blocks(page) if block.language not in LANGUAGES]
    assert not strange, f"name one of {', '.join(sorted(LANGUAGES))}"
    typed = tuple(f"{prompt}{program} " for program in PROGRAMS for prompt in ("", "$ "))
    texts = [block for block in blocks(page) if block.language == "text"]
    assert not [block.place for block in texts if block.text.startswith(typed)], "this is bash, or console"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_names_in_the_repository_is_there(page: Path) -> None:
    named = PATHS.findall(page.read_text(encoding="utf-8"))
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_where_the_repository_is_read(page: Path) -> None:
    assert not [link for link in links(page) if not (page.parent / link).exists()]


def missing_in(command: str) -> str:
    """What of a line that begins with ``edged`` the program does not know; empty if it knows all of it."""
    words = shlex.split(command.partition("#")[0].replace("…", ""))[1:]
    found: Any = typer.main.get_command(app)
    known = set(ALWAYS)
    for word in words:
        if hasattr(found, "commands") and not word.startswith("-"):
            if word not in found.commands:
                return "" if word.isupper() else word
            found = found.commands[word]
            known |= {spelling for each in found.params for spelling in (*each.opts, *each.secondary_opts)}
        elif word.startswith("--") and word.partition("=")[0] not in known:
            return word
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_edged_and_its_options_exist(page: Path) -> None:
    told = [command for command in commands(page) if command.startswith("edged ")]
    assert not [f"{command}: {word}" for command in told if (word := missing_in(command))]


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("edged fly", "fly"),
        ("edged key lose", "lose"),
        ("edged watch --local", "--local"),
        ("edged join --key os75-… --sead x", "--sead"),
        ("edged --debug attach JOB", ""),
        ("edged COMMAND --help", ""),
        ("edged train job.py --set epochs=2  # --not-an-option", ""),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str, word: str) -> None:
    assert missing_in(command) == word


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", FOLLOWED, ids=name_of)
def test_the_commands_of_a_page_do_what_it_says(page: Path, tmp_path: Path, figure: list[str]) -> None:
    found = blocks(page)
    with ExitStack() as stack:
        Follower(stack, tmp_path).follow(found)
    count = sum(len(block.steps()) for block in found if block.is_run)
    figure.append(f"{name_of(page)}: {count} commands were run as they stand")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```console\n$ echo three\nfour\n```\n", "printed:\nthree"),
        ("```bash\ntrue\necho why; false\n```\n", "README.md:1: echo why; false\nwhy"),
        ("```python\n# x.py\nprint(1)\n```\n\n```console\n$ python x.py\n1\n2\n```\n", "printed:\n1"),
    ],
)
def test_a_page_that_says_what_is_not_so_fails(text: str, told: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        follower = Follower(stack, tmp_path)
        with pytest.raises(AssertionError, match=re.escape(told)):
            follower.follow(blocks(ROOT / "README.md", text))


def test_what_is_not_run_is_told_with_its_reason(figure: list[str]) -> None:
    passed_over = [block for page in PAGES for block in blocks(page) if block.why_not]
    figure.extend(f"not run: {block.place}: {block.why_not}" for block in passed_over)
    assert all(block.language in {"bash", "console"} for block in passed_over)


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("step 10 loss 0.25\n", "step 7 loss 1.5e-3\n"),
        ("took 3.2 s\n", "took 980 ms\n"),
        ("…\nend\n", "a\nb\nend\n"),
        ("…\nend\n", "end\n"),
        ("desk leads\n", "laptop leads\n"),
        ("wait … done\n", "wait for it, done done\n"),
        ("edged join --key abc-… --seed 192.168.1.20:41233\n", "edged join --key x9 --seed 127.0.0.1:7\n"),
    ],
)
def test_values_may_differ(said: str, printed: str) -> None:
    assert agrees(said, printed)


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("step 10\n", "steps 10\n"),
        ("", "something\n"),
        ("end\n", "end\nmore\n"),
        ("…\nend\n", "end\nmore\n"),
        ("wait … done\n", "wait\ndone\n"),
    ],
)
def test_words_may_not(said: str, printed: str) -> None:
    assert not agrees(said, printed)


def test_a_page_is_taken_apart_into_files_commands_and_what_they_print() -> None:
    text = """# Page

```python
# job.py
x = 1
```

<!-- on: laptop -->
```console
$ edged key show | \\
    cat
abc
$ edged leave
```

<!-- not run: it is late -->
```bash
# a comment
edged join
```
"""
    file, shown, passed_over = blocks(ROOT / "README.md", text)
    assert (file.file, file.is_run) == ("job.py", False)
    assert (shown.device, shown.is_run, shown.place) == ("laptop", True, "README.md:9")
    assert [(step.command.split(), step.printed) for step in shown.steps()] == [
        (["edged", "key", "show", "|", "cat"], "abc\n"),
        (["edged", "leave"], ""),
    ]
    assert (passed_over.is_run, passed_over.why_not) == (False, "it is late")
    assert [step.command for step in passed_over.steps()] == ["edged join"]
