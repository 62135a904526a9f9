"""Whoever listens on the network while nodes find each other and train learns no tensor, no name and no key."""

from __future__ import annotations

import base64
import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edged.transport.security import parse_token
from tests.system import marked
from tests.system.capture import ETHERNET, TCP, betrayed, forms, frames_in, said
from tests.system.cluster import Cluster, Node, wait_until
from tests.system.network import Network, missing

SNIFFER = Path(__file__).with_name("sniffer.py")
NODES = {"a": "quokka-device", "b": "numbat-device", "c": "dingo-device"}
CLUSTER, JOB = "wombat-burrow", "marbled-otter"
WINDOW = 16
"""Bytes of a tensor that are looked for: four numbers in a row."""

SPEAK = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
with socket.create_connection(server.getsockname()) as near, server.accept()[0] as far:
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    said = sys.stdin.buffer.read()
    for at in range(0, len(said), 7):
        near.sendall(said[at : at + 7])
    near.shutdown(socket.SHUT_WR)
    while far.recv(1 << 16):
        pass
"""
"""Says in the clear what it is given, seven bytes at a time."""


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def windows(name: str, tensor: torch.Tensor) -> dict[str, bytes]:
    """Pieces of a tensor: its beginning, its middle, its end."""
    data = bits(tensor)
    middle = len(data) // 2 // WINDOW * WINDOW
    return {f"{name}[{at}]": data[at : at + WINDOW] for at in (0, middle, len(data) - WINDOW)}


def key_secrets(token: str) -> dict[str, bytes]:
    key = parse_token(token)
    raw = base64.b32decode(token.replace("-", "").upper())[:32]
    parts = {f"group {number} of the token": group.encode() for number, group in enumerate(token.split("-"))}
    return {
        **parts,
        "the key": raw,
        "half of the key": raw[:16],
        "the door's secret": key.door_secret.encode(),
        "the proof's key": key.proof_key,
        "the tag's key": key.tag_key,
    }


def name_secrets() -> dict[str, bytes]:
    names = [JOB, CLUSTER, *NODES.values(), *marked.LAYERS, "wooden_crown", "adam", "cross_entropy", "aten.linear"]
    return {f"the name {name}": name.encode() for name in names if len(name) > 5}


def tensor_secrets(result: Path) -> dict[str, bytes]:
    first, last = marked.job().model.state_dict(), load_file(result)
    assert set(first) == set(last)
    found: dict[str, bytes] = {}
    for name in first:
        assert bits(first[name]) != bits(last[name]), "it has been trained"
        found |= windows(f"first {name}", first[name]) | windows(f"last {name}", last[name])
    for number, (row, _) in enumerate(marked.rows()):
        found |= windows(f"sample {number}", row)
    return found


def segment(stream: int, number: int, data: bytes) -> bytes:
    """A TCP segment in its frame."""
    tcp = struct.pack(">HHIIBBHHH", stream, 7000, number % (1 << 32), 0, 5 << 4, 0, 0, 0, 0) + data
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, TCP, 0, bytes(4), bytes(4))
    return bytes(ETHERNET - 2) + b"\x08\x00" + head + tcp


@pytest.mark.parametrize("first", [0, 5, (1 << 32) - 40], ids=["zero", "some", "wrap"])
def test_a_secret_is_found_in_every_form_also_where_segments_are_cut_doubled_and_out_of_order(first: int) -> None:
    dice = random.Random(first)
    secret = dice.randbytes(24)
    for form in forms(secret):
        stream = dice.randbytes(dice.randrange(50)) + form + dice.randbytes(30)
        pieces = [segment(1, first + at, stream[at : at + 7]) for at in range(0, len(stream), 7)]
        pieces += [segment(1, first + 3, stream[3:12]), pieces[1]]
        pieces[1:] = dice.sample(pieces[1:], len(pieces) - 1)
        streams, datagrams = said(pieces)
        assert streams == [stream]
        assert datagrams == []
        assert betrayed({"it": secret, "another": dice.randbytes(24)}, streams) == {"it"}


@contextmanager
def listening(network: Network, path: Path) -> Iterator[dict[str, int]]:
    """Capture all that passes the switch meanwhile; the counts are there afterwards."""
    counts: dict[str, int] = {}
    command = [*network.at_switch(), sys.executable, str(SNIFFER), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdout.readline() == "ready\n"
        yield counts
        sniffer.stdin.close()
        counts |= json.loads(sniffer.stdout.read())


@pytest.mark.slow
@pytest.mark.root
def test_who_listens_to_a_run_reads_no_tensor_no_name_and_no_key(tmp_path: Path, figure: list[str]) -> None:
    if reason := missing():
        pytest.skip(reason)
    with ExitStack() as stack:
        network = Network(stack)
        prefixes = {host: network.add(host) for host in NODES}
        cluster = Cluster(stack, tmp_path)
        with listening(network, tmp_path / "run.frames") as counts:
            for host, prefix in prefixes.items():
                name = NODES[host]
                cluster.nodes[name] = Node(tmp_path / name, cluster.key, ["--cluster", CLUSTER], prefix)
            nodes = [node.ready() for node in cluster.nodes.values()]
            wait_until(lambda: all(node.alive() == set(NODES.values()) for node in nodes), "all see each other")
            cluster.settle()
            job = nodes[0].submit(Path(marked.__file__))
            _, event = job.end()
            assert event["event"] == "finished", event
            assert set(cluster.named(job.wait("plan")[1])) == set(NODES.values()), "every link carries tensors"
        result = nodes[0].home / "jobs" / job.job / "result.safetensors"
        secrets = {**key_secrets(cluster.key), **name_secrets(), **tensor_secrets(result)}
        with listening(network, tmp_path / "control.frames") as controlled:
            speak(network, b"\n".join(form for secret in secrets.values() for form in forms(secret)))

    assert counts["lost"] == controlled["lost"] == 0
    streams, datagrams = said(frames_in(tmp_path / "run.frames"))
    weights = sum(tensor.numel() * 4 for tensor in marked.job().model.state_dict().values())
    assert sum(map(len, streams)) > 2 * weights, "first weights, copies and the result have crossed the wire"
    assert any(b"CURVE" in stream for stream in streams), "connections are seen from their beginning"
    assert any(b"_edged" in datagram for datagram in datagrams), "so are announcements"
    assert betrayed(secrets, [*streams, *datagrams]) == set()
    figure.append(
        f"{counts['frames']} frames of a run: {len(streams)} streams with {sum(map(len, streams)) / 1e6:.1f} MB, "
        f"{len(datagrams)} datagrams; none of {len(secrets)} secrets in any of {len(forms(b'x' * 9))} forms"
    )
    clear, _ = said(frames_in(tmp_path / "control.frames"))
    assert betrayed(secrets, clear) == set(secrets), "the same search finds each where nothing is encrypted"


def speak(network: Network, text: bytes) -> None:
    """Send something in the clear over the loopback of the switch."""
    subprocess.run([*network.at_switch(), sys.executable, "-c", SPEAK], input=text, check=True)
