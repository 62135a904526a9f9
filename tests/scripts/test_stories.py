"""The stories of docs/stories.md: one is played again here, and the page says what is seen."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import stories
from story_window import KEY, shortened
from testbed_network import no_network

from tests.cli.documents import agrees, blocks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stories are played on Linux")

PAGE = stories.PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- story: (\S+) -->\n(.*?)<!-- end", re.DOTALL)
ON_PAGE = {found[1]: found[2].strip() for found in BLOCK.finditer(PAGE)}


def unwrapped(block: str) -> str:
    """The lines of a block of the page as one: where they break depends on the length of addresses."""
    (only,) = blocks(stories.PAGE, block + "\n")
    return only.text.replace("\n", "") + "\n"


def test_every_story_is_on_the_page_and_tells_neither_a_key_nor_a_path_of_the_machine() -> None:
    assert list(dict.fromkeys(name.partition("/")[0] for name in stories.named(PAGE))) == list(stories.STORIES)
    source = Path(stories.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'show\("(\S+)"', source)) == set(stories.named(PAGE))
    assert all(ON_PAGE.values()), "run `python scripts/stories.py`"
    assert not KEY.search(PAGE)
    assert "/tmp/" not in PAGE


@pytest.mark.long
@pytest.mark.slow
def test_the_story_of_the_wrong_key_goes_as_the_page_says(figure: list[str]) -> None:
    played = stories.play("wrong-key", with_network=False)
    assert set(played) == {f"wrong-key/{scene}" for scene in ("typing-error", "other-key", "right-key")}
    for name in ("wrong-key/typing-error", "wrong-key/other-key"):
        assert agrees(unwrapped(ON_PAGE[name]), unwrapped(played[name])), (ON_PAGE[name], played[name])
    for told in (ON_PAGE, played):
        assert "2 of 2 nodes alive" in told["wrong-key/right-key"]
    assert not any(KEY.search(block) or "/tmp/" in block for block in played.values())
    label = played["wrong-key/right-key"].splitlines()[0]
    figure.append(f"the story of the wrong key was played again, up to two nodes that know each other: {label}")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.root
def test_the_story_of_blocked_multicast_goes_as_the_page_says() -> None:
    if why := no_network():
        pytest.skip(why)
    played = stories.play("multicast-blocked")
    assert set(played) == {name for name in ON_PAGE if name.startswith("multicast-blocked/")}
    for told in (ON_PAGE, played):
        for scene in ("laptop-tells", "desk-tells"):
            assert "not met: multicast is blocked" in told[f"multicast-blocked/{scene}"]
        assert "problem  multicast: " in told["multicast-blocked/doctor"]
        assert "2 of 2 nodes alive" in told["multicast-blocked/mended"]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.root
@pytest.mark.proof
@pytest.mark.timeout(900)
def test_the_story_of_two_devices_goes_as_the_page_says() -> None:
    if why := no_network():
        pytest.skip(why)
    played = stories.play("two-devices")
    assert set(played) == {name for name in ON_PAGE if name.startswith("two-devices/")}
    for told in (ON_PAGE, played):
        alone, together = re.findall(r"^[0-9a-f]{64}(?=  \w+\.safetensors$)", told["two-devices/equal"], re.MULTILINE)
        assert alone == together
        assert "laptop died; its layers" in told["two-devices/trained"]
        assert "laptop joined; it runs layers" in told["two-devices/trained"]


def test_a_story_that_takes_another_turn_says_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def another(stage: stories.Stage) -> None:
        stage.type(stage.desk, "echo $HOME; cat").see("/home/you").see("laptop", seconds=0.1)

    monkeypatch.setitem(stories.STORIES, "another", another)
    with pytest.raises(stories.StoryError, match=r"laptop.*\n/home/you"):
        stories.play("another", with_network=False)


def test_what_was_before_a_live_view_is_there_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def view(stage: stories.Stage) -> None:
        window = stage.type(stage.desk, r"echo before; printf '\e[?1049h\e[Hview'; read x; printf '\e[?1049lafter\n'")
        assert window.see("view", no=["before"]).lines == ["view"]
        window.press("\n")
        assert window.end() == 0
        assert window.lines == ["before", "after"]
        stage.show("view/after", window)

    monkeypatch.setitem(stories.STORIES, "view", view)
    (block,) = stories.play("view", with_network=False).values()
    assert block.endswith("\nbefore\nafter\n```")


def test_only_the_blocks_that_were_played_are_written_anew() -> None:
    text = "a\n<!-- story: x/y -->\nold\n<!-- end of story -->\nb\n<!-- story: x/z -->\nkept\n<!-- end of story -->\n"
    fresh = stories.written_anew(text, {"x/y": "new"})
    assert fresh == text.replace("old", "\nnew\n")
    assert stories.named(fresh) == ["x/y", "x/z"]


def test_lines_that_are_left_out_are_told() -> None:
    lines = ["a", "x", "x", "", "", "b", "x"]
    assert shortened(lines, lambda line: line != "x") == ["a", "…", "", "b", "…"]


def test_a_typing_error_is_one_letter() -> None:
    line = "edged join --key abcdefg-abcdefg --seed x:1"
    assert stories.with_a_typing_error(line) == "edged join --key abcaefg-abcdefg --seed x:1"
