"""Where parcels go that come in: rows of samples to the copies, soundings nowhere, all else to the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edged.core.ids import NodeId
from edged.core.messages import DataParcel, Parcel, SoundingParcel
from edged.roles.copies import Copies
from edged.roles.worker import Wants, Worker


class Intake:
    """Asks before memory is taken for a parcel, and hands it on when it is whole."""

    def __init__(self, worker: Worker, copies: Copies, wants: Wants) -> None:
        """``wants``: whether the core waits for a parcel from this sender."""
        self._worker = worker
        self._copies = copies
        self._wants = wants

    def expects(self, sender: NodeId, header: Parcel) -> bool:
        """Whether a parcel with this header may take memory. Called before its first buffer is received."""
        if isinstance(header, DataParcel):
            return self._wants(sender, header) and self._copies.expects(header)
        if isinstance(header, SoundingParcel):  # which is all that its sender wants
            return True
        return self._worker.expects(sender, header)

    def take(self, sender: NodeId, header: Parcel, buffers: Sequence[memoryview], arrived: Callable[[], None]) -> None:
        """Hold a parcel's buffers; ``arrived`` is called when the core may count on them."""
        if isinstance(header, SoundingParcel):
            return
        if not isinstance(header, DataParcel):
            self._worker.take(sender, header, buffers, arrived)
        elif self._wants(sender, header):
            self._copies.take(sender, header, buffers)
