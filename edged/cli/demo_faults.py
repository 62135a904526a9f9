"""What happens to the demo's nodes while they train: one is killed, a new one joins; each when the job says so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edged.cli.demo_nodes import DemoNode, kill
from edged.client import Client
from edged.errors import UserError

LEAST_STEPS = 16
"""Nobody is killed before this step: there is something to lose then."""

LATEST_SHARE = 0.5
"""After this share of the steps it happens even if no version has been committed yet."""

Event = Mapping[str, Any]


class Mishaps:
    """Watches the job's events; kills a worker, and lets a new node join at once.

    The worker is one of the plan, neither the job's source nor, if that can be chosen, the leader.
    """

    def __init__(self, cluster: Sequence[DemoNode], add: Callable[[], subprocess.Popen[str]]) -> None:
        """``cluster``: the source first. ``add`` starts the new node."""
        self.killed: str | None = None
        """Name of the node that was killed."""

        self.killed_at = 0
        """The step that had been done then."""

        self.newcomers: list[subprocess.Popen[str]] = []
        self.recoveries: list[Event] = []
        self._source, self._others = cluster[0], {node.node: node for node in cluster[1:]}
        self._known = {node.node for node in cluster}
        self._add = add
        self._steps = 0
        self._hops: list[Event] = []

    @property
    def joined(self) -> str | None:
        """Name of the node that joined in mid-run and was given layers."""
        return next((hop["name"] for hop in self._hops if hop["node"] not in self._known), None)

    def follow(self, events: Iterator[Event]) -> Iterator[Event]:
        """Pass the events on, and act on them."""
        for event in events:
            yield event
            match event["event"]:
                case "started":
                    self._steps = event["steps"]
                case "plan":
                    self._hops = [hop for route in event["routes"] for hop in route["hops"]]
                case "recovery":
                    self.recoveries.append(event)
                case "step" if self.killed is None and event["step"] >= LEAST_STEPS:
                    self._strike(event["step"])
                case _:
                    pass

    def _strike(self, step: int) -> None:
        try:
            status = Client(self._source.home).ask("status")
        except UserError:
            return
        protected = (status.get("protection") or {}).get("protected", False)
        victims = [hop for hop in self._hops if hop["node"] in self._others]
        if not victims or not (protected or step >= LATEST_SHARE * self._steps):
            return
        chosen = next((hop for hop in reversed(victims) if hop["node"] != status["leader"]), victims[-1])
        victim = self._others[chosen["node"]]
        kill(victim.process, victim.home)
        self.killed, self.killed_at = chosen["name"], step
        self.newcomers.append(self._add())
