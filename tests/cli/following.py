"""Does what a page of the documents says, on devices that are homes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from edged.cli.demo_nodes import finish
from edged.client import Client
from edged.errors import UserError
from tests.cli.documents import DESK, ROOT, Block, Step, agrees
from tests.cli.shell import wait_until

COMMAND_SECONDS = 300.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}


class Follower:
    """Follows one page. Nodes that it starts run until ``stack`` is closed."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._nodes: dict[str, subprocess.Popen[str]] = {}
        self._here = folder / "here"
        self._here.mkdir()
        (self._here / "examples").symlink_to(ROOT / "examples")
        programs = folder / "bin"
        programs.mkdir()
        for name, start in (("edged", "-m edged"), ("python", ""), ("python3", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n', encoding="utf-8")
            (programs / name).chmod(0o700)

    def follow(self, blocks: list[Block]) -> None:
        """Write the files that blocks are, and run their commands, in order."""
        for block in blocks:
            if block.file:
                (self._here / block.file).write_text(block.text, encoding="utf-8")
            for step in block.steps() if block.is_run else ():
                self._take(step, block)

    def _take(self, step: Step, block: Block) -> None:
        where = f"{block.place}: {step.command}"
        if step.command.startswith("edged join"):
            self._join(step, block.device, where)
            return
        done = self._run(step.command, block.device)
        assert done.returncode == 0, f"{where}\n{done.stdout}"
        if step.printed is not None:
            assert agrees(step.printed, done.stdout), f"{where}\nsaid:\n{step.printed}\nprinted:\n{done.stdout}"

    def _join(self, step: Step, device: str, where: str) -> None:
        """Start a node, beside all that follows. The key and the address in a page are another cluster's."""
        command = self._run("edged key join-command", DESK).stdout.strip() if "--key" in step.command else step.command
        log = self._folder / f"{device}.log"
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command} --leave-at-eof"],
            stdin=subprocess.PIPE,  # nothing is written: it is there to end
            stdout=self._stack.enter_context(log.open("w", encoding="utf-8")),
            stderr=subprocess.STDOUT,
            cwd=self._here,
            env=self._environment(device),
            text=True,
            start_new_session=True,
        )
        self._stack.callback(finish, process)
        self._nodes[device] = process

        def told() -> bool:
            text = log.read_text(encoding="utf-8")
            assert process.poll() is None, f"{where}\n{text}"
            return '"event": "ready"' in text and agrees(f"…\n{step.printed or ''}…\n", text)

        wait_until(told)
        wait_until(self._all_know_all)

    def _all_know_all(self) -> bool:
        """Whether all nodes that run see each other, measured, and a leader."""
        running = {name for name, process in self._nodes.items() if process.poll() is None}
        try:
            views = [Client(self._folder / name).ask("status") for name in running]
        except UserError:
            return False
        seen = [{m["name"] for m in view["members"] if m["state"] == "alive" and m["slowness"] > 0} for view in views]
        return all(names == running for names in seen) and all(view["leader"] for view in views)

    def _run(self, command: str, device: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-uo", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._here,
            env=self._environment(device),
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def _environment(self, device: str) -> dict[str, str]:
        """What makes a home of this machine a device of its own, which is found on loopback alone."""
        return {
            **ENVIRONMENT,
            "PATH": f"{self._folder / 'bin'}:{ENVIRONMENT['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
            "OMP_NUM_THREADS": "1",
            "EDGED_HOME": str(self._folder / device),
            "EDGED_NAME": device,
            "EDGED_LISTEN": "127.0.0.1:0",
            "EDGED_DISCOVERY": "false",
        }
