"""Machines that are broken on purpose must be caught: a simulation that never failed proves nothing."""

from dataclasses import replace

import pytest

from edged.core import gathering
from edged.core.copying import Snapshots
from edged.core.effects import TakeSnapshot
from edged.core.fence import Fence
from edged.core.holdings import Holdings
from edged.core.messages import Activation, Gradient, Inputs
from edged.core.protection import Protection
from edged.core.schedule import Schedule
from edged.core.stage import Stage
from tests.simulation import cluster as elections
from tests.simulation.device import Device
from tests.simulation.recovery_run import live_through
from tests.simulation.test_election_chaos import _live_through as elect


def fence_that_admits_everything(patch):
    def learn(self, stamp):
        self._highest.setdefault(stamp.job, stamp)
        return True

    patch.setattr(Fence, "learn", learn)
    patch.setattr(Fence, "refusal", lambda _self, _subject: "")


def vote_that_is_not_saved(patch):
    right = elections.Cluster.perform

    def perform(self, node, effect):
        right(self, node, effect)
        self.disks.pop(node, None)

    patch.setattr(elections.Cluster, "perform", perform)


def replay_on_top_of_what_was_halted(patch):
    """The gradients of the step that was broken off are still there when its micro-batches come again."""
    right = Device._stages

    def build(self, plan, spec, version, by_layer):
        stages = right(self, plan, spec, version, by_layer)
        for part in stages.parts.values():
            left = self.__dict__.setdefault("halted", {})
            part.gradients = [left.get(part.first + index, []) for index in range(len(part.state))]
            left |= {part.first + index: gradients for index, gradients in enumerate(part.gradients)}
        return stages

    patch.setattr(Device, "_stages", build)


def replay_without_dropping_duplicates(patch):
    """A micro-batch that comes a second time is computed a second time."""
    right = Stage.refusal

    def refusal(self, sender, source, parcel):
        reason = right(self, sender, source, parcel)
        again = reason == "it has been done" and isinstance(parcel, Inputs | Activation)
        return "" if again else reason

    def accept(self, parcel):
        self._shelf(parcel).add(parcel.work)
        if not isinstance(parcel, Gradient) and parcel.work in self._works[: self._forward]:
            self._forward = self._works.index(parcel.work)

    patch.setattr(Stage, "refusal", refusal)
    patch.setattr(Stage, "accept", accept)


def commit_before_the_replica_has_arrived(patch):
    def complete(self, held):
        return all(piece in held for piece in self._pieces())

    patch.setattr(Protection, "_complete", complete)


def commit_whatever_was_heard_of(patch):
    right = Protection._commit

    def commit(self):
        with pytest.MonkeyPatch.context() as within:
            within.setattr(Protection, "_complete", lambda _self, held: bool(held))
            right(self)

    patch.setattr(Protection, "_commit", commit)


def snapshot_that_is_one_version_off(patch):
    right = Snapshots.serve

    def serve(self, version, layers):
        return [replace(effect, version=version + 1) for effect in right(self, version, layers)]

    patch.setattr(Snapshots, "serve", serve)


def copy_in_the_middle_of_a_step(patch):
    def standing(self):
        return [TakeSnapshot(self._stamp, first, last, self._version) for first, last in self._layers()]

    patch.setattr(Schedule, "standing", standing)


def pieces_of_two_plans_together(patch):
    """An asynchronous job goes on from what two plans have computed of one version."""
    patch.setattr(gathering, "of_one_origin", lambda inventories: inventories)
    patch.setattr(Holdings, "begin", lambda _self, _plan: ())


MUTANTS = {
    fence_that_admits_everything: (range(12), "below its fence"),
    replay_without_dropping_duplicates: (range(12), "nothing to compute|a second forward of"),
    replay_on_top_of_what_was_halted: (range(40), "is not that of the undisturbed run"),
    commit_before_the_replica_has_arrived: (range(12), "is committed, and without"),
    commit_whatever_was_heard_of: (range(12), "is committed, and without"),
    snapshot_that_is_one_version_off: (range(12), "is not that of the undisturbed run"),
    copy_in_the_middle_of_a_step: (range(40), "is not that of the undisturbed run"),
    pieces_of_two_plans_together: (range(854, 855), "is not that of the undisturbed run of any plan"),
}
"""Mutant -> seeds of which one shows it, and what is found."""

VOTES = range(1457, 1458)
"""Seeds of elections of which one shows a second vote."""


def all_of(live, seeds):
    for seed in seeds:
        live(seed)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught(mutant, monkeypatch):
    seeds, sentence = MUTANTS[mutant]
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match=sentence):
        all_of(live_through, seeds)


def test_a_vote_that_is_not_saved_is_caught(monkeypatch):
    vote_that_is_not_saved(monkeypatch)
    with pytest.raises(AssertionError, match="voted twice in term"):
        all_of(elect, VOTES)
