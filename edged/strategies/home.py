"""Which layers stay on the source, as the job's ``keep_inputs_home`` wants it."""

from __future__ import annotations

from collections.abc import Sequence

from edged.core.job import JobSpec


class Home:
    """What a route of more than one hop has to mind.

    An input of the program that only the last layer uses is taken for labels, any other for samples. ``starts``: the
    first hop is on the source and has at least the ``first`` layers, so that it has all those that see samples.
    ``ends``: the last hop is on the source as well, from layer ``last`` or an earlier one on, so that labels stay too;
    layers in between that use an input belong to the nearer end.
    """

    def __init__(self, spec: JobSpec) -> None:
        """``keep_inputs_home``: "labels", some other word, or, where nothing has to stay, none or "no"."""
        wish, count = spec.keep_inputs_home, len(spec.layers)
        self.starts = wish not in {"", "no"}
        self.ends = wish == "labels"
        seen = [index for index, layer in enumerate(spec.layers[:-1]) if layer.inputs]
        samples = {each for index in seen for each in spec.layers[index].inputs}
        self.first, self.last = max(seen, default=0) + 1, count - 1
        if self.ends:
            self.first = max((index for index in seen if index < count / 2), default=0) + 1
            self.last = min((index for index in seen if index >= count / 2), default=count - 1)
        elif samples.intersection(spec.layers[-1].inputs):  # no cut keeps these
            self.first = count

    def allows(self, cuts: Sequence[int]) -> bool:
        """Whether a route may be cut so; ``cuts`` are the first layers of its hops."""
        if len(cuts) == 1:
            return True
        return (not self.starts or cuts[1] >= self.first) and (not self.ends or cuts[-1] <= self.last)
