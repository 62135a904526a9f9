"""Other nodes, looked at where no node runs in this home: who is there, and what stands between them and this home."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edged.core.ids import PROTOCOL_VERSION
from edged.doctor.amounts import seconds_in_words
from edged.doctor.doors import MOST_TRIED, Other, OthersFacts, Source
from edged.doctor.finding import Finding, Level
from edged.transport.contacts import Reach

SHOWN = {
    Reach.OPEN: "answers",
    Reach.CLOSED: "nobody listens there",
    Reach.SILENT: "no answer within a second",
    Reach.UNKNOWN_NAME: "the name is unknown here",
    Reach.NO_ROUTE: "there is no route from here",
}
THERE = "start `edged join` there, or let its three ports through the firewall there, as `edged doctor` says there"
THAT_KEY = "edged join --key ..., as `edged key join-command` prints it on that device"
THAT_CLUSTER = "edged join --cluster NAME, as `edged key join-command` prints it on that device"


def judge_others(facts: OthersFacts) -> list[Finding]:
    """Who is there, and what stands between this home and the others."""
    twins, rest = _parted(facts.others, lambda other: _is_twin(other, facts))
    strange, rest = _parted(rest, lambda other: _is_strange(other, facts.tag))
    old, rest = _parted(rest, lambda other: other.said is not None and other.said.protocol != PROTOCOL_VERSION)
    silent, rest = _parted(rest, lambda other: not other.is_open)
    findings = [_present(rest, facts)] if rest or not (facts.others or facts.left_out) else []
    if facts.left_out:
        what = f"{facts.left_out} more {_were(facts.left_out)} not tried: {MOST_TRIED} addresses are, at most"
        findings.append(Finding("others", Level.NOTE, what, "edged doctor --seed HOST:PORT: what is named comes first"))
    if twins:
        what = f"a node with the identity of this home runs at {_where(twins[0])}: one home is a copy of the other"
        findings.append(Finding("others-twin", Level.PROBLEM, what, "rm identity.json in the home that is the copy"))
    if old:
        findings.append(_of_other_versions(old, facts.tag))
    if silent:
        expected = any(other.source is not Source.REMEMBERED for other in silent)
        what = "; ".join(f"{_called(other)} ({other.source.value}): {SHOWN[other.best.reach]}" for other in silent)
        findings.append(Finding("others-silent", Level.WARNING if expected else Level.NOTE, what, THERE))
    return findings + _of_other_clusters(strange)


def _of_other_versions(old: list[Other], tag: str) -> Finding:
    """They belong to this cluster, as far as that is known: without a key it is not."""
    what = "; ".join(f"{_called(other)} speaks protocol {other.said.protocol}" for other in old if other.said)
    upgrade = "pip install --upgrade . in a newer checkout, on the device with the older edged"
    level = Level.WARNING if tag else Level.NOTE
    return Finding("others-version", level, f"{what}; this edged {PROTOCOL_VERSION}", upgrade)


def _of_other_clusters(strange: list[Other]) -> list[Finding]:
    renamed, strange = _parted(strange, lambda other: other.best.opens is True)
    findings = []
    if strange:
        belong, have = ("belongs", "has") if len(strange) == 1 else ("belong", "have")
        what = f"{_all_called(strange)} {belong} to another cluster"
        level = Level.PROBLEM if _expected(strange) else Level.NOTE
        findings.append(Finding("others-key", level, f"{what}, or {have} another key than this home", THAT_KEY))
    if renamed:
        what = f"the key opens the door of {_all_called(renamed)}, where a cluster of another name is announced"
        level = Level.WARNING if _expected(renamed) else Level.NOTE
        findings.append(Finding("others-key", level, what, THAT_CLUSTER))
    return findings


def _present(others: list[Other], facts: OthersFacts) -> Finding:
    """Who could be joined as things are."""
    if not others:
        tried = "nobody is heard, named or remembered" if facts.listened else "nobody is named or remembered"
        return Finding("others", Level.NOTE, tried, "edged join there; or edged join --seed HOST:PORT")
    shown = ", ".join(f"{_called(other)} answers in {seconds_in_words(other.best.seconds)}" for other in others)
    if facts.invalid:
        return Finding("others", Level.NOTE, f"{shown}; no key was tried there, as the key is invalid", THAT_KEY)
    if not facts.tag:
        return Finding("others", Level.NOTE, f"{shown}; this home has no key", THAT_KEY)
    slow = [other for other in others if other.best.opens is None]
    if slow:
        what = f"{shown}; whether {_all_called(slow)} would open to the key did not show in time"
        return Finding("others", Level.NOTE, what)
    return Finding("others", Level.OK, f"{shown}; the key opens {'their doors' if len(others) > 1 else 'its door'}")


def _is_twin(other: Other, facts: OthersFacts) -> bool:
    """Whether a process with the identity of this home is there.

    Anyone may announce that. What shows it is a door that opens to the key, or one that did not in time where the
    announcement knows the tag, and that no other node has as well.
    """
    if not other.node or other.node != facts.node or not other.is_open:
        return False
    opens, own = other.best.opens, other.best.places or (other.best.address,)
    shared = any(not each.behind.isdisjoint(own) for each in facts.others if each.node != other.node)
    return not shared and (opens is True or (opens is None and bool(facts.tag) and other.says(facts.tag)))


def _is_strange(other: Other, tag: str) -> bool:
    """Whether it has another key or cluster. What was named and is silent is silent, whatever is announced."""
    if not tag or (other.source is Source.NAMED and not other.is_open):
        return False
    return other.best.opens is False or (other.said is not None and other.said.tag != tag)


def _expected(others: list[Other]) -> bool:
    """Whether the user counts on one of them."""
    return any(other.source is not Source.HEARD for other in others)


def _all_called(others: list[Other]) -> str:
    return ", ".join(map(_called, others))


def _called(other: Other) -> str:
    return f"{other.name} at {_where(other)}" if other.name else _where(other)


def _where(other: Other) -> str:
    """The best of its addresses; where none leads to it, how many there are."""
    host, port = other.best.address
    more = 0 if other.is_open else len(other.places) - 1
    return f"{host}:{port}" + (f" and {more} other address{'es' * (more > 1)}" if more else "")


def _were(count: int) -> str:
    return "were" if count > 1 else "was"


def _parted(others: Iterable[Other], chosen: Callable[[Other], bool]) -> tuple[list[Other], list[Other]]:
    """Those for which it holds, and the rest."""
    known = list(others)
    return [other for other in known if chosen(other)], [other for other in known if not chosen(other)]
