"""Writes every frame that passes the interfaces of this network namespace to a file, each behind its length.

It says ``ready``, listens until its input ends and nothing comes any more, then prints how many frames there were and
how many the system had no room for. Needs CAP_NET_RAW.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
from pathlib import Path

EVERYTHING = 3
"""ETH_P_ALL of <linux/if_ether.h>."""

SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 263, 6, 33
ROOM_BYTES = 64 << 20
LARGEST_BYTES = 1 << 17
QUIET_SECONDS = 0.5


def tell(text: str) -> None:
    """To whoever has started this."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(path: Path) -> None:
    """Listen."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING)) as wire, path.open("wb") as file:
        wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM_BYTES)
        tell("ready")
        frames, over = 0, False
        while True:
            waiting = [wire] if over else [wire, sys.stdin]
            ready, _, _ = select.select(waiting, [], [], QUIET_SECONDS if over else None)
            if over and not ready:
                break
            if wire in ready:
                frame = wire.recv(LARGEST_BYTES)
                file.write(len(frame).to_bytes(4, "big") + frame)
                frames += 1
            elif sys.stdin in ready:
                over = not sys.stdin.readline()
        _, lost = struct.unpack("II", wire.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    tell(json.dumps({"frames": frames, "lost": lost}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
