"""Which failures the job would survive right now, as the ``protection`` object of ``edged status --json``."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

from edged.core.electorate import is_majority
from edged.core.ids import NodeId
from edged.core.inventory import ranges_in_words
from edged.core.joblist import ENDED
from edged.core.messages import JobRecord, JobState, MemberState
from edged.core.plan import layers_in_words
from edged.core.survival import Cover, Lack, Standing, Verdict, covers, lacking, verdicts
from edged.core.voter import ElectionOptions
from edged.roles.observer import Observer

WORKING = frozenset({JobState.PREPARING, JobState.RUNNING})
"""A plan is in force: layers are live, or about to be."""

SILENT: Final = MappingProxyType(
    {
        "fork": f"after {ElectionOptions().fork_seconds:.0f} s as a fork, tentatively",
        "wait": "the job would wait until a majority is there (`--minority wait`)",
    }
)
"""How a job goes on, or not, after silence that leaves no majority of the voters."""


def newest_step(observer: Observer, record: JobRecord) -> int:
    """The newest step done: after a roll-back that is a lower one than before."""
    told = observer.history.story(record.job).newest("step")
    if record.state in ENDED or told is None:
        return max(record.step, told["step"] if told else 0)
    return int(told["step"])


def replicas_of(observer: Observer, node: NodeId, job: JobRecord | None) -> list[dict[str, Any]]:
    """What ``node`` holds of layers that others run: ranges with version and age."""
    standing = _standing(observer, job)
    if job is None or standing is None:
        return []
    return [
        {
            "layers": [cover.first_layer, cover.last_layer],
            "version": standing.version,
            "age_steps": max(0, standing.step - standing.version),
            "age_seconds": _age(observer, job),
        }
        for cover in covers(standing)
        if node in cover.replicas
    ]


def protection_document(observer: Observer, job: JobRecord | None) -> dict[str, Any] | None:
    """Where layers and samples lie, and what the death of each node would mean; ``None`` without a job and a plan."""
    standing = _standing(observer, job)
    if job is None or standing is None:
        return None
    lack = lacking(standing)
    words = _Words(observer, standing, lack, job.state)
    committed = standing.committed
    return {
        "job": job.job,
        "protected": observer.safekeeping.protects(job.job),
        "version": standing.version if standing.version >= 0 else None,
        "every": committed.every if committed is not None else None,
        "age_steps": max(0, standing.step - standing.version) if standing.version >= 0 else None,
        "age_seconds": _age(observer, job),
        "layers": [
            {
                "first_layer": cover.first_layer,
                "last_layer": cover.last_layer,
                "live": list(cover.live),
                "replicas": list(cover.replicas),
                "text": words.layers(cover),
            }
            for cover in covers(standing)
        ],
        "samples": {
            "source": standing.source,
            "copies": [standing.copyist] if standing.copyist else [],
            "text": words.samples(),
        },
        "lacks": None
        if lack is None
        else {
            "nodes": list(lack.nodes),
            "layers": [list(each) for each in lack.layers],
            "samples": lack.samples,
            "text": words.lack(lack),
        },
        "if_died": [
            {
                "node": each.node,
                "survives": not each.waits,
                "steps_again": each.steps_again if each.version is not None and lack is None else None,
                "if_silent": words.silence(each) or None,
                "relies_on": list(each.relies_on),
                "text": words.verdict(each),
            }
            for each in verdicts(standing)
        ],
    }


def _standing(observer: Observer, job: JobRecord | None) -> Standing | None:
    plan = observer.plans.get(job.job) if job is not None else None
    if job is None or plan is None or job.state in ENDED:
        return None
    spec = observer.specs.get(job.job)
    present = {MemberState.ALIVE, MemberState.SUSPECT}
    return Standing(
        plan=plan,
        step=newest_step(observer, job),
        source=job.source,
        origin=spec.source if spec is not None else job.source,
        alive=frozenset(node for node, record in observer.members.items() if record.state in present),
        committed=observer.safekeeping.committed(job.job),
        runs=job.state is JobState.RUNNING,
        silent=frozenset(node for node, record in observer.members.items() if record.state is MemberState.SUSPECT),
    )


def _age(observer: Observer, job: JobRecord) -> float | None:
    age = observer.safekeeping.age(job.job)
    return None if age is None else round(age, 3)


class _Words:
    """The sentences."""

    def __init__(self, observer: Observer, standing: Standing, lack: Lack | None, state: JobState) -> None:
        self._observer = observer
        self._standing = standing
        self._lack = lack
        self._works = state in WORKING
        self._waits = state is JobState.WAITING

    def layers(self, cover: Cover) -> str:
        runs = "live on" if self._works else "last run by"
        where = f"{runs} {_listed([self._there(node) for node in cover.live])}" if cover.live else "not live"
        what = f"{layers_in_words(cover.first_layer, cover.last_layer)}: {where}"
        if cover.replicas:
            word = "replica" if len(cover.replicas) == 1 else "replicas"
            holders = _listed([self._called(node) for node in cover.replicas])
            return f"{what}, {word} of version {self._standing.version} on {holders}"
        if not cover.live and self._standing.version >= 0:
            return f"{what}, nobody who is there holds version {self._standing.version}"
        return f"{what}, no replica yet"

    def samples(self) -> str:
        source, copyist = self._standing.source, self._standing.copyist
        name = self._there(source)
        there = "" if source in self._standing.alive else ", which is not there"
        if copyist is not None:
            return f"samples: on {name}{there}, copy on {self._there(copyist)}"
        return f"samples: only on {name}: " + ("the job waits for it" if there else "if it dies the job waits for it")

    def lack(self, lack: Lack) -> str:
        """What the job waits for already, or will have to, before anybody else dies."""
        what = [ranges_in_words(lack.layers)] if lack.layers else []
        what += ["the samples"] if lack.samples else []
        whom = _listed([self._observer.name(node) for node in lack.nodes]) if lack.nodes else "whoever holds them"
        waits = f"the job waits for {whom} already" if self._waits else f"the job may have to wait for {whom}"
        anew = "; it begins anew if that takes too long" if lack.begins_anew and not lack.samples else ""
        return f"{waits} ({_listed(what)}){anew}"

    def verdict(self, verdict: Verdict) -> str:
        """What the death of one node would mean, or add to what is lacking."""
        name = self._observer.name(verdict.node)
        too, also = (" too", " as well") if self._lack is not None else ("", "")
        if verdict.waits:
            return f"if {name} died{too} the job would wait for {name}{also}, because {self._cause(verdict, name)}"
        ends = f"; {self._observer.name(verdict.heir)} would draw the samples" if verdict.heir else ""
        ends += "; another node would lead" if verdict.node == self._observer.leader else ""
        ends += self._if_silent(verdict) + self._relying(verdict)
        if verdict.lost:
            wait = f"{self._nowhere(verdict)}, so the job would wait for {name} for a while, then begin anew"
            return f"if {name} died{too}: {wait} ({_steps(verdict.steps_again)}){ends}"
        if self._lack is not None:
            return f"if {name} died too: nothing more is lost{ends}"
        since = f" (from version {verdict.version})" if verdict.steps_again else ""
        return f"if {name} died: nothing is lost, {_steps(verdict.steps_again)}{since}{ends}"

    def _cause(self, verdict: Verdict, name: str) -> str:
        if verdict.last:
            return "no other node is there"
        if verdict.samples:
            return f"only {name} can draw the samples"
        if verdict.first:
            return f"only {name} has the first weights"
        return self._nowhere(verdict)

    def _nowhere(self, verdict: Verdict) -> str:
        one = len(verdict.lost) == 1 and verdict.lost[0][0] == verdict.lost[0][1]
        return f"{ranges_in_words(verdict.lost)} {'lies' if one else 'lie'} nowhere else"

    def silence(self, verdict: Verdict) -> str:
        """What follows where the node falls silent and cannot be proven dead: ``goes on``, ``fork`` or ``wait``."""
        if self._lack is not None:
            return ""
        voters, left = self._observer.voters(), self._standing.alive - {verdict.node}
        if verdict.waits:
            return "wait"
        if not voters or is_majority(left, voters):
            return "goes on"
        return "fork" if self._observer.forks else "wait"

    def _if_silent(self, verdict: Verdict) -> str:
        """Who is only silent may go on elsewhere: only a majority of the voters goes on without it as ever."""
        if verdict.waits or (silence := self.silence(verdict)) not in SILENT:
            return ""
        return f"; if it only falls silent: {SILENT[silence]}"

    def _relying(self, verdict: Verdict) -> str:
        """Those who must be there for it, and do not answer."""
        names = [self._observer.name(node) for node in verdict.relies_on]
        return f"; but {_listed(names)} {'does' if len(names) == 1 else 'do'} not answer just now" if names else ""

    def _called(self, node: NodeId) -> str:
        return self._there(node) + (" (leader)" if node == self._observer.leader else "")

    def _there(self, node: NodeId) -> str:
        """Its name, and whether it is doubtful that it is there."""
        doubtful = " (does not answer just now)" if node in self._standing.silent else ""
        return self._observer.name(node) + doubtful


def _steps(count: int) -> str:
    if count == 0:
        return "no step is done again"
    return "1 step is done again" if count == 1 else f"{count} steps are done again"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
