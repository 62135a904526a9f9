"""Plays the stories of docs/stories.md with real nodes on real terminals, and writes what was seen into that page.

    sudo python scripts/stories.py               # all of them
    sudo python scripts/stories.py wrong-key     # one

Each device is a network namespace of this machine with a home of its own, which is why it takes root; the name of the
device and one compute thread are variables. The page is prose, but for blocks like this one::

    <!-- story: wrong-key/typing-error -->

    On the laptop, after 4 s:

    ...

    <!-- end of story -->
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from story_window import CTRL_C, ROOT, VIEW_ROWS, Device, StoryError, Window, programs, shortened, wait_until
from testbed_network import Network, no_network, run

from edged.client import Client
from edged.errors import UserError

PAGE = ROOT / "docs" / "stories.md"
BLOCK = re.compile(r"^<!-- story: (\S+?) -->\n.*?^<!-- end of story -->$", re.DOTALL | re.MULTILINE)
JOB = re.compile(r"^```python\n(# job\.py\n.*?)^```$", re.DOTALL | re.MULTILINE)
"""The job file of docs/first-run.md."""

TOLD_SECONDS = 10.0
"""Within so many a node that sees nobody says why."""

UNSETTLED = ("measuring", "no leader")
"""What a live view shows while two nodes are getting to know each other."""

EPOCHS = 80
OFF_AT, ON_AT = 300, 400
"""The steps at which the laptop loses its power, and gets it back; an epoch has 20."""

EVALUATION = re.compile(r"epoch \d+: ")
"""There is one for each epoch, too many for a page."""


class Stage:
    """Where a story is played: a desk and a laptop, a clock, and the blocks of the page so far."""

    def __init__(self, stack: ExitStack, *, with_network: bool) -> None:
        """Make the devices; ``stack`` removes them. Without a network they are found on loopback, by address alone."""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edged-stories-")))
        path = programs(stack, folder)
        self.network = Network(stack) if with_network else None
        self.desk, self.laptop = (Device(stack, path, name, self.network) for name in ("desk", "laptop"))
        self.blocks: dict[str, str] = {}
        self._stack, self._begun = stack, time.monotonic()

    def join(self, device: Device, command: str = "edged join") -> Window:
        """Start a node in a terminal of the size of a live view."""
        return device.type(self._stack, command, rows=VIEW_ROWS)

    def type(self, device: Device, command: str) -> Window:
        """Type a command."""
        return device.type(self._stack, command)

    def line_for_the_next(self, device: Device) -> str:
        """What a person copies from this device's screen; it stands on no page."""
        window = self.type(device, "edged key join-command")
        window.end()
        return window.whole

    def show(self, name: str, window: Window, kept: Callable[[str], bool] = bool, *, again: bool = False) -> None:
        """Keep what is to be seen now as a block. ``kept``: which lines; ``again``: the command is on the page."""
        after = time.monotonic() - self._begun
        lines = [] if again else [f"$ {window.told(window.command)}"]
        lines += shortened(window.lines, kept)
        self.blocks[name] = "\n".join(
            [
                f"On the {window.device.name}, after {after:.0f} s:",
                "",
                "<!-- not run: scripts/stories.py does -->",
                "```console",
                *lines,
                "```",
            ]
        )


def two_devices(stage: Stage) -> None:
    """From the first `edged join` to a model that both have trained, although one was without power meanwhile."""
    assert stage.network is not None
    text = (ROOT / "docs" / "first-run.md").read_text(encoding="utf-8")
    found = JOB.search(text)
    assert found is not None
    (stage.desk.home / "job.py").write_text(found[1], encoding="utf-8")
    desk = stage.join(stage.desk).see("join from another device", "desk leads")
    stage.show("two-devices/first", desk)
    laptop = stage.join(stage.laptop, stage.line_for_the_next(stage.desk)).see("2 of 2 nodes", "leads (", no=UNSETTLED)
    stage.show("two-devices/second", laptop)
    alone = stage.type(stage.desk, f"edged train job.py --local --set epochs={EPOCHS} --output alone.safetensors")
    alone.end()
    stage.show("two-devices/alone", alone, lambda line: not EVALUATION.match(line))
    training = stage.type(stage.desk, f"edged train job.py --set epochs={EPOCHS} --output together.safetensors")
    reached(stage.desk, OFF_AT)
    stage.show("two-devices/training", desk, again=True)
    stage.network.cut("laptop")
    laptop.unplug()
    desk.see("laptop died")
    stage.show("two-devices/unplugged", desk, again=True)
    reached(stage.desk, ON_AT)
    stage.network.heal()
    laptop = stage.join(stage.laptop).see("2 of 2 nodes", "running", "laptop joined")
    stage.show("two-devices/back", laptop)
    training.end()
    stage.show("two-devices/trained", training, lambda line: not EVALUATION.match(line))
    equal = stage.type(stage.desk, "sha256sum *.safetensors")
    equal.end()
    stage.show("two-devices/equal", equal)


def wrong_key(stage: Stage) -> None:
    """A letter is mistyped; then the key is another cluster's; then it is right."""
    desk = stage.join(stage.desk).see("join from another device", "desk leads")
    line = stage.line_for_the_next(stage.desk)
    mistyped = stage.type(stage.laptop, f"{with_a_typing_error(line)}; echo status $?")
    mistyped.end()
    stage.show("wrong-key/typing-error", mistyped)
    window = stage.type(stage.laptop, "edged key new")
    window.end()
    other = re.sub(r"--key \S+", f"--key {window.whole}", line)
    refused = stage.type(stage.laptop, f"{other}; echo status $?")
    refused.end()
    stage.show("wrong-key/other-key", refused)
    if stage.network is not None:
        laptop = stage.join(stage.laptop).see("belongs to another cluster")
        desk.see("belongs to another cluster")
        stage.show("wrong-key/laptop-tells", laptop)
        stage.show("wrong-key/desk-tells", desk, again=True)
        stage.show("wrong-key/doctor", *examined(stage, stage.laptop))
        laptop.press(CTRL_C)
        laptop.end()
    right = stage.join(stage.laptop, line).see("2 of 2 nodes", "leads (", no=UNSETTLED)
    stage.show("wrong-key/right-key", right)


def multicast_blocked(stage: Stage) -> None:
    """Two firewalls drop what nodes call into the network; a name helps."""
    assert stage.network is not None
    for device in (stage.desk, stage.laptop):
        run(*device.prefix, "iptables", "-A", "INPUT", "-p", "udp", "--dport", "5353", "-j", "DROP")
    desk = stage.join(stage.desk).see("desk leads")
    line = stage.line_for_the_next(stage.desk)
    key_only = line.partition(" --seed")[0]
    laptop = stage.join(stage.laptop, key_only).see("laptop leads").see("multicast is blocked", seconds=TOLD_SECONDS)
    stage.show("multicast-blocked/laptop-tells", laptop)
    desk.see("multicast is blocked")
    stage.show("multicast-blocked/desk-tells", desk)
    stage.show("multicast-blocked/doctor", *examined(stage, stage.laptop))
    laptop.press(CTRL_C)
    laptop.end()
    mended = stage.join(stage.laptop, f"edged join{line[len(key_only) :]}").see("2 of 2 nodes", "leads (", no=UNSETTLED)
    stage.show("multicast-blocked/mended", mended)


STORIES: dict[str, Callable[[Stage], None]] = {
    "two-devices": two_devices,
    "wrong-key": wrong_key,
    "multicast-blocked": multicast_blocked,
}


def reached(device: Device, step: int) -> None:
    """Wait until the job of this device's node has done so many steps."""

    def done() -> bool:
        try:
            job = Client(device.data).ask("status")["job"]
        except UserError:
            return False
        return bool(job) and job["step"] >= step

    wait_until(done, f"step {step}", lambda: "", 300.0)


def examined(stage: Stage, device: Device) -> tuple[Window, Callable[[str], bool]]:
    """`edged doctor`, and which lines of it are about the network and the cluster."""
    window = stage.type(device, "edged doctor")
    window.end()
    beyond = window.lines[window.lines.index("network") :]
    return window, lambda line: line in beyond


def with_a_typing_error(line: str) -> str:
    """The line with another letter at the fourth place of the key."""
    begin, key = line.split("--key ")
    return f"{begin}--key {key[:3]}{'b' if key[3] == 'a' else 'a'}{key[4:]}"


def play(name: str, *, with_network: bool = True) -> dict[str, str]:
    """Play a story; its blocks, by the names in the page. Raises ``StoryError``."""
    with ExitStack() as stack:
        stage = Stage(stack, with_network=with_network)
        STORIES[name](stage)
        return stage.blocks


def named(text: str) -> list[str]:
    """Names of a page's blocks, in order."""
    return BLOCK.findall(text)


def written_anew(text: str, blocks: dict[str, str]) -> str:
    """A page with these blocks as they were played; others stay as they are."""
    return BLOCK.sub(
        lambda old: (
            f"<!-- story: {old[1]} -->\n\n{blocks[old[1]]}\n\n<!-- end of story -->" if old[1] in blocks else old[0]
        ),
        text,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Play what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description="Play the stories of docs/stories.md, and write what was seen.")
    parser.add_argument("stories", nargs="*", metavar="STORY", help=f"of {', '.join(STORIES)}; default: all")
    chosen = parser.parse_args(arguments).stories or list(STORIES)
    if unknown := [name for name in chosen if name not in STORIES]:
        parser.error(f"there is no story {', '.join(unknown)}; there are {', '.join(STORIES)}")
    if why := no_network():
        raise SystemExit(why)
    for name in chosen:
        try:
            blocks = play(name)
        except StoryError as turn:
            raise SystemExit(f"{name}: {turn}") from turn
        PAGE.write_text(written_anew(PAGE.read_text(encoding="utf-8"), blocks), encoding="utf-8")
        print(f"{name}: {len(blocks)} blocks")


if __name__ == "__main__":
    main()
