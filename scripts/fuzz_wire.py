"""What is fuzzed of all that comes over connections: frames, parcels, doors, beacons, feeders.

A target takes any bytes. It returns, whether they made a sound value or were refused with the error that its reader
promises; whatever else is raised is a finding. So is a refusal of more words than a log line should have, a sound
value that does not survive being written and read again, and, told by the fuzzer, an input that takes too long or too
much memory.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import fuzz_seeds
import msgpack
from fuzz_forms import packed, written
from fuzz_target import Target, refused
from zeroconf._dns import DNSAddress, DNSService, DNSText
from zeroconf._protocol.incoming import DNSIncoming
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.asyncio import AsyncServiceInfo

from edged.core.ids import PROTOCOL_VERSION
from edged.core.job import Phase, Work
from edged.core.messages import Parcel
from edged.errors import MalformedError
from edged.roles.feeders import FeederLink
from edged.transport.assembly import Assembly
from edged.transport.buffers import Rooms
from edged.transport.codec import decode, encode
from edged.transport.discovery import SERVICE, Announcement, announced, parse_announcement
from edged.transport.door import (
    HEAD,
    NONCE_BYTES,
    Answer,
    Knock,
    Verdict,
    judge,
    pack_door,
    sound_record,
    unpack_answer,
    unpack_knock,
)
from edged.transport.pieces import sizes_of


def message() -> Target:
    """Frames on a control socket, and headers of parcels: ``transport/codec.py``."""

    def read(data: bytes) -> bool:
        try:
            got = decode(data)
        except MalformedError as error:
            return refused(error)
        assert repr(decode(encode(got))) == repr(got)  # a number that is none is not equal to itself
        return True

    return Target(fuzz_seeds.messages, read, packed(1))


def parcel() -> Target:
    """The messages of one bulk connection, put together: ``transport/assembly.py``."""
    most, classes = 1 << 16, 2
    rooms = Rooms()

    def frames_of(data: bytes) -> list[list[bytes]]:
        try:
            said = msgpack.unpackb(data)
        except (ValueError, msgpack.UnpackException):
            said = None
        if isinstance(said, list) and all(isinstance(frames, list) for frames in said):
            return [[frame for frame in frames if isinstance(frame, bytes)] for frames in said]
        return [[data[:17], data[17:]]]

    def read(data: bytes) -> bool:
        taken: list[Parcel] = []

        def accept(header: Parcel) -> bool:
            taken.append(header)
            return sum(sizes_of(header)) <= most

        conversation = frames_of(data)
        assembly, sound = Assembly(accept, rooms), bool(conversation)
        for frames in conversation:
            try:
                whole = assembly.take(frames)
            except MalformedError as error:
                sound = refused(error)
                assert not assembly.under_way, "what is half received is forgotten"
                continue
            if whole is not None:
                header, buffers = whole
                assert header in taken, "memory is taken for what was accepted"
                assert tuple(map(len, buffers)) == sizes_of(header)
            assert len(assembly.under_way) <= classes
        return sound

    return Target(lambda: map(bytes, map(msgpack.packb, fuzz_seeds.conversations())), read, packed(0))


def door() -> Target:
    """What joiners and keepers of a door say: ``transport/door.py``."""
    own, nonce = fuzz_seeds.record(), bytes(NONCE_BYTES)
    readers: tuple[Callable[[bytes, int], Knock | Answer], ...] = (unpack_knock, unpack_answer)

    def read(data: bytes) -> bool:
        sound = 0
        for unpack in readers:
            try:
                said = unpack(data, PROTOCOL_VERSION)
            except MalformedError as error:
                refused(error)
                continue
            sound += 1
            assert unpack(pack_door(said, PROTOCOL_VERSION), PROTOCOL_VERSION) == said
            if isinstance(said, Knock) and sound_record(said.record):
                known = replace(said.record, boot=said.record.boot + 1)
                refused(ValueError(judge(said, own, (), known)[1]))
        return sound > 0

    said: list[Knock | Answer] = [
        Knock("edged", nonce, b"", own),
        Knock("edged", nonce, bytes(32), own),
        Answer(Verdict.CHALLENGE, "", nonce, bytes(32), own),
        Answer(Verdict.REFUSED, "the cluster key does not match", b"", b"", None),
    ]
    return Target(lambda: [pack_door(each, PROTOCOL_VERSION) for each in said], read, packed(HEAD.size))


def beacon() -> Target:
    """Packets of mDNS, by which nodes find each other: ``transport/discovery.py``, and zeroconf before it."""
    logging.disable()  # zeroconf tells of every packet that it cannot read
    response, longest = 0x8400, 64
    record = fuzz_seeds.record()
    own = Announcement("0011223344556677", 1, record.node, ("192.0.2.7", "198.51.100.7"), 7001)

    def packets() -> Iterable[bytes]:
        info, outgoing = announced(own, SERVICE), DNSOutgoing(response)
        for answer in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
            outgoing.add_answer_at_time(answer, 0)
        return outgoing.packets()

    def read(data: bytes) -> bool:
        answers = DNSIncoming(data).answers()
        ports: list[int | None] = [each.port for each in answers if isinstance(each, DNSService)]
        texts = [each.text for each in answers if isinstance(each, DNSText)] or [b""]
        hosts = [each.address for each in answers if isinstance(each, DNSAddress)]
        found = None
        for port, text in zip(ports or [None], texts, strict=False):
            found = parse_announcement(
                AsyncServiceInfo(SERVICE, f"x.{SERVICE}", port, properties=text, addresses=hosts)
            )
            if found is not None:
                assert max(map(len, (found.tag, found.node))) <= longest
                assert 0 <= found.protocol < 1 << 20
                assert 0 < found.door_port < 1 << 16
                assert len(found.addresses) <= 8  # noqa: PLR2004 -- what discovery.py takes
        return found is not None

    return Target(packets, read, None, 1 << 11)


def feeder() -> Target:
    """Frames between a node and the process that runs the user's code: ``roles/feeders.py``, ``compute/frames.py``."""
    import torch

    from edged.compute.frames import changed, drawn, failed, read_request, uncopied

    loop = asyncio.new_event_loop()

    async def serve(data: bytes, hear: Callable[..., None]) -> str:
        reader = asyncio.StreamReader(loop=loop)
        reader.feed_data(data)
        reader.feed_eof()
        link = FeederLink(reader, _Closed(), hear, hear, hear, hear)  # type: ignore[arg-type]  # no socket
        return await link.serve()

    def read(data: bytes) -> bool:
        heard: list[object] = []
        problem = loop.run_until_complete(serve(data, lambda *said: heard.append(said)))
        refused(ValueError(problem))
        try:
            wanted = read_request(io.BytesIO(data))
        except MalformedError as error:
            wanted = None
            refused(error)
        return wanted is not None or (bool(heard) and not problem)

    answers = [
        drawn(Work(3, Phase.TRAIN, 1), {"x": torch.ones(2, 3), "y": torch.zeros(2)}),
        failed("ValueError: no", "Traceback"),
        uncopied("it is drawn at random"),
        changed("data[3]", "Traceback"),
    ]
    seeds = [b"".join(map(bytes, pieces)) for pieces in answers]
    seeds += [_framed({"draw": [3, 1, 0]}), _framed({"copy": [1, 7]})]
    rows = {"rows": [1, 0, 2], "tensors": [], "layouts": [_TENSOR]}
    return Target(lambda: (*seeds, _framed(rows)), read, written(4))


_TENSOR = {"name": "x", "dtype": "float32", "shape": [2, 3], "strides": [3, 1], "size_bytes": 24, "offset": 0}


def _framed(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "big") + text


class _Closed:
    """The writing end of a connection that nobody reads."""

    def close(self) -> None:
        """Do nothing."""


def planted() -> Target:
    """A reader with a fault, three changes away from a sound input: it shows that the fuzzer finds such things."""
    sound = {"name": "x", "layers": [{"size": 4}], "limits": {"most": 7}}

    def read(data: bytes) -> bool:
        try:
            document = json.loads(data)
            layers, most = list(document["layers"]), document["limits"]["most"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return False
        if not isinstance(most, int) or most >= 0:
            return True
        if len(layers) < 2:  # noqa: PLR2004 -- more than the seed has
            return True
        if document.get("name") == "":
            raise ZeroDivisionError("the planted fault")
        return True

    return Target(lambda: (json.dumps(sound).encode(),), read, written())
