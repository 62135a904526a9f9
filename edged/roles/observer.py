"""The observer: sees everything that happens on this node and tells people about it.

It decides nothing. Its picture of the cluster is made of the same events and effects that the core sees, so what
``edged status`` shows is what the core acts on.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from edged.core.effects import Log, TellLeader, TellLineage, TellMember, TellReach
from edged.core.electorate import is_gone
from edged.core.events import Event, FeederFailed, JobSubmitted, MessageReceived, StagesBuilt, UpdateDone
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.joblist import ENDED
from edged.core.messages import (
    TRIED_AGAIN,
    Committed,
    Decided,
    End,
    EvalReport,
    FinishedReport,
    JobRecord,
    Jobs,
    JobState,
    MemberRecord,
    MemberState,
    Message,
    NodeReport,
    PlanChosen,
    Prepare,
    RecoveryReport,
    StepReport,
    StopRequest,
    Submit,
)
from edged.core.plan import Plan
from edged.core.roster import is_present
from edged.roles.history import KEPT_JOBS, History
from edged.roles.losses import Losses
from edged.roles.pump import Table
from edged.roles.safekeeping import Safekeeping
from edged.roles.tally import Tally
from edged.telemetry.counters import Counters
from edged.telemetry.logs import LEVELS, topic_logger
from edged.transport.contacts import Contacts

EVENTS_KEPT = 50
REPORT_GRACE_SECONDS = 3.0
"""How long a finished job may lack its report (which travels from the source) before it is told without it."""

_VERBS = {
    MemberState.ALIVE: "is here",
    MemberState.SUSPECT: "does not answer",
    MemberState.LEFT: "has left",
    MemberState.DEAD: "died",
}
_NODE = re.compile(r"\b[0-9a-f]{16}\b")
_PLAIN_REASONS = {"", "joined", "left"}
"""Reasons that say no more than the verb does."""

_STANDS = {JobState.QUEUED, JobState.PAUSED, JobState.WAITING}
_ACTIVE = {JobState.PREPARING, JobState.RUNNING, JobState.WAITING}


class Observer:
    """Members, leader, jobs, plan, losses and the last events, as this node knows them."""

    def __init__(
        self,
        own: MemberRecord,
        jobs: Callable[[], Mapping[JobId, JobRecord]],
        clock: Callable[[], float] = time.monotonic,
        remembered: Mapping[NodeId, str] | None = None,
        contacts: Contacts | None = None,
        counters: Counters | None = None,
        voters: Callable[[], Collection[NodeId]] = tuple,
        *,
        forks: bool = True,
    ) -> None:
        """``jobs`` gives the core's job list; ``remembered`` are names of nodes from an earlier run.

        ``contacts``: the transport's, which say why others are not seen. ``counters`` counts steps, samples and
        recoveries. ``voters`` gives those who elect the leader; ``forks``: whether a minority of them that hears only
        silence goes on as a fork.
        """
        self.own_id = own.node
        self.members: dict[NodeId, MemberRecord] = {own.node: own}
        self.reports: dict[NodeId, NodeReport] = {}
        self.leader: NodeId | None = None
        self.term = 0
        self._jobs = jobs
        self._remembered = remembered or {}
        self.voters = voters
        self.forks = forks
        self.contacts = contacts or Contacts()
        self.history = History()
        self.specs: dict[JobId, JobSpec] = {}
        self.plans: dict[JobId, Plan] = {}
        self.losses: dict[JobId, Losses] = {}
        self.events: deque[tuple[str, str]] = deque(maxlen=EVENTS_KEPT)
        self.weight_version = 0
        self.election_says = ""
        self.lineage = ""
        self.tentative = ""
        self.waiting: Mapping[JobId, str] = {}
        self.safekeeping = Safekeeping(clock)
        self.tally = Tally(counters or Counters())
        self._led = ""
        self._going_on: tuple[Stamp, int] | None = None
        self._clock = clock
        self._unreported: dict[JobId, float] = {}
        self._tracebacks: dict[JobId, str] = {}
        self._decisions: dict[JobId, tuple[float, Decided]] = {}
        self._open: set[JobId] = set()

    def table(self) -> Table:
        """What is only for people. The other machines have heard it already, inside the core."""
        return {
            Log: self._log,
            TellMember: self._tell_member,
            TellLeader: self._tell_leader,
            TellLineage: self._tell_lineage,
            TellReach: self._tell_reach,
        }

    def watch(self, event: Event) -> None:
        """Take note of one event."""
        match event:
            case MessageReceived(sender, message):
                self._hear(sender, message)
                if isinstance(message, Jobs | End | StopRequest | Submit):
                    self.settle()
            case JobSubmitted(spec):
                self._learn(spec)
            case UpdateDone(version=version):
                self.weight_version = version
            case FeederFailed(job, _, detail) if detail:
                self._tracebacks[job] = detail
            case StagesBuilt(stamp, ""):
                self.weight_version = self._going_on[1] if self._going_on and self._going_on[0] == stamp else 0
            case _:
                pass

    def names(self) -> dict[NodeId, str]:
        """Every known node's name."""
        return {node: record.name for node, record in self.members.items()}

    def name(self, node: NodeId | None) -> str:
        """What people call a node."""
        if node is None:
            return "nobody"
        return self.members[node].name if node in self.members else self._remembered.get(node, node)

    def alone(self) -> bool:
        """Whether no other member is there."""
        others = (record for node, record in self.members.items() if node != self.own_id)
        return not any(record.state in {MemberState.ALIVE, MemberState.SUSPECT} for record in others)

    def in_words(self, text: str) -> str:
        """The sentence with names in place of nodes' ids: who wrote it may not have met those nodes."""
        return _NODE.sub(lambda found: self.name(NodeId(found[0])), text)

    def jobs(self) -> Mapping[JobId, JobRecord]:
        """The core's job list, its reasons in words."""
        return {job: replace(record, reason=self.in_words(record.reason)) for job, record in self._jobs().items()}

    def tell(self, text: str) -> None:
        """Add an event in words, unless it is the one that was told last."""
        if self.events and self.events[-1][1] == text:
            return
        self.events.append((time.strftime("%H:%M:%S"), text))

    def settle(self) -> None:
        """End the stories of jobs that the job list calls over. Called now and then: their own messages may be lost."""
        for job, record in self.jobs().items():
            if record.state not in ENDED:
                self._open.add(job)
            if record.state not in ENDED or self.history.story(job).ended:
                self._unreported.pop(job, None)
            elif record.state is not JobState.FINISHED:
                verb = "stopped" if record.state is JobState.STOPPED else "failed"
                reason = record.reason or f"the job was {verb}"
                self.history.failed(job, reason, self._tracebacks.pop(job, ""))
                if job in self._open:  # else it was over before this node came
                    self.tell(f"job {record.name} {verb}: {reason}")
            elif self._clock() - self._unreported.setdefault(job, self._clock()) > REPORT_GRACE_SECONDS:
                self._finish_unreported(job, record)
        self._forget()

    def wait(self, waiting: Mapping[JobId, str]) -> None:
        """Take note of the jobs that wait for their data now, and of those that stand and say why."""
        self.waiting = waiting
        records = self.jobs()
        standing = {job: reason for job, record in records.items() if (reason := why_it_stands(record))}
        for job, reason in {**standing, **waiting}.items():
            queued = job in records and records[job].state is JobState.QUEUED
            if self.history.waiting(job, reason) and (job in waiting or not queued):
                self.tell(reason)

    def current(self) -> JobRecord | None:
        """The job that runs, else the next one to run, else the latest."""
        records = list(self.jobs().values())
        active = [r for r in records if r.state in _ACTIVE]
        queued = [r for r in records if r.state is JobState.QUEUED]
        paused = [r for r in records if r.state is JobState.PAUSED]
        return next(iter(active or queued or paused or records[-1:]), None)

    def decision(self, job: JobId) -> dict[str, Any] | None:
        """What was last decided on this job's plan, and how long ago; ``None`` before the first time."""
        if job not in self._decisions:
            return None
        at, decided = self._decisions[job]
        return {
            "text": decided.text,
            "age_seconds": round(self._clock() - at, 3),
            "predicted_step_seconds": decided.step_seconds or None,
        }

    def _hear(self, sender: NodeId, message: Message) -> None:
        match message:
            case NodeReport():
                if sender not in self.members or is_present(self.members[sender]):  # else its last word is late
                    self.reports[sender] = message
            case PlanChosen(plan, spec):
                self._choose(plan, spec)
            case Prepare(plan, _, version):
                self._going_on = (plan.stamp, version)
            case Committed():
                self.safekeeping.commit(message)
            case RecoveryReport(text=text) if self.history.recovered(message):
                self.tally.recovered(message)
                self.tell(text)
            case Decided(text=text) if self.history.decided(message):
                self._decisions[message.stamp.job] = (self._clock(), message)
                self.tell(text)
            case _:
                self._hear_of_training(message)

    def _hear_of_training(self, message: Message) -> None:
        match message:
            case StepReport() if self.history.step(message):
                self._step(message)
            case EvalReport(_, _, epoch, loss, metrics) if self.history.evaluated(message):
                shown = "".join(f", {name} {value:.4g}" for name, value in metrics)
                self.tell(f"epoch {epoch + 1}: evaluation loss {loss:.4g}{shown}")
            case FinishedReport(_, steps, loss):
                if not self.history.story(message.stamp.job).ended:
                    self.tell(f"finished after {steps} steps, loss {loss:.4g}")
                self.history.finished(message)
            case _:
                pass

    def _step(self, report: StepReport) -> None:
        """The curve goes on from here: steps that were rolled back leave it as they are done again."""
        losses = self.losses.setdefault(report.stamp.job, Losses())
        newest = losses.newest()
        self.tally.step(report, self.specs.get(report.stamp.job), again=newest is not None and newest[0] >= report.step)
        losses.add(report.step, report.loss)
        self.safekeeping.step(report)

    def _learn(self, spec: JobSpec) -> None:
        if spec.job not in self.specs:
            self.specs[spec.job] = spec
            self.history.started(spec)

    def _choose(self, plan: Plan, spec: JobSpec) -> None:
        self._learn(spec)
        known = self.plans.get(spec.job)
        if known is None or known.stamp <= plan.stamp:
            self.plans[spec.job] = plan
        if self.history.planned(plan, self.names()) and (known is None or known.reason != plan.reason):
            self.tell(f"job {spec.name}: {plan.reason}")

    def _forget(self) -> None:
        """Let go of what was learned of jobs that the job list has forgotten, the oldest first."""
        listed = self.jobs()
        stores: tuple[dict[JobId, Any], ...] = (
            self.specs, self.plans, self.losses, self._unreported, self._tracebacks, self._decisions,
        )  # fmt: skip
        for store in stores:
            for job in [job for job in store if job not in listed][: max(0, len(store) - KEPT_JOBS)]:
                del store[job]
        self._open &= listed.keys()
        self.safekeeping.forget(listed)

    def _finish_unreported(self, job: JobId, record: JobRecord) -> None:
        newest = self.losses.get(job, Losses()).newest()
        self.history.story(job).add(
            (1,),
            {
                "event": "finished",
                "steps": record.steps,
                "loss": newest[1] if newest is not None else None,
                "seconds": None,
                "output": f"on {self.name(record.source)}",
                "state_sha256": "",
            },
        )

    def _log(self, effect: Log) -> None:
        effect = replace(effect, text=self.in_words(effect.text))
        topic_logger(effect.topic).log(LEVELS[effect.level], "%s", effect.text)
        if effect.topic == "election":
            self.election_says = effect.text.removeprefix("waiting: ").removeprefix("steps down: ")
        elif effect.level != "info":
            self.tell(effect.text)

    def _tell_member(self, effect: TellMember) -> None:
        record = effect.record
        known = self.members.get(record.node)
        if is_gone(record) or (known is not None and known.boot != record.boot):
            self.safekeeping.lose(record.node)
        self.members[record.node] = record
        if record.node == self.own_id or effect.before is record.state:
            return
        verb = _VERBS[record.state]
        if record.state is MemberState.ALIVE and effect.before is MemberState.SUSPECT:
            verb = "answers again"
        reason = "" if effect.reason in _PLAIN_REASONS else f": {self.in_words(effect.reason)}"
        text = f"{record.name} {verb}{reason}"
        if record.expelled:
            text = f"{record.name} was expelled"
        topic_logger("membership").info("%s", text)
        self.tell(text)
        if record.state in {MemberState.DEAD, MemberState.LEFT}:
            self.reports.pop(record.node, None)

    def _tell_leader(self, effect: TellLeader) -> None:
        if (effect.leader, effect.term) == (self.leader, self.term):
            return
        self.leader, self.term = effect.leader, effect.term
        if effect.leader is None:
            text = f"no leader (term {effect.term})"
        else:
            me = " (this node)" if effect.leader == self.own_id else ""
            text = f"{self.name(effect.leader)}{me} leads (term {effect.term})"
        topic_logger("election").info("%s", text)
        if self.events and self.events[-1][1] == self._led:
            self.events.pop()  # of an election that took several rounds only the outcome is news
        self._led = text
        self.tell(text)

    def _tell_lineage(self, effect: TellLineage) -> None:
        """The log has told already why a lineage was given up."""
        before, self.lineage, self.tentative = self.tentative, effect.lineage, effect.tentative
        if self.tentative:
            self.tell(self.tentative)
        elif before:
            self.tell("no fork any more: the results count")

    def _tell_reach(self, effect: TellReach) -> None:
        names = " and ".join(self.name(node) for node in effect.nodes)
        self.tell(f"{names} cannot be reached from here, and can by others" if names else "all members can be reached")


def why_it_stands(record: JobRecord) -> str:
    """Why a job does not go on although it is not over, in a sentence; empty where nothing needs saying."""
    held_up = record.state is JobState.RUNNING and TRIED_AGAIN in record.reason
    if record.state not in _STANDS and not held_up:
        return ""
    if record.state is JobState.PAUSED:
        return f"job {record.name} is paused at step {record.step}: `edged resume {record.job}` lets it go on"
    return record.reason
