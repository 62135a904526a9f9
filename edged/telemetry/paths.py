"""Where a node can be reached by programs of its own device."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

_LONGEST_BYTES: Final = 100
"""A Unix socket's path holds 104 bytes on macOS and 108 on Linux, its final zero included."""


def local_socket_path(home: Path) -> Path:
    """The node's control socket: ``home/node.sock``, or where that is too long a short path, named by a hash.

    The short one lies in a folder of the temporary directory that belongs to this user alone; whoever binds the socket
    makes the folder, with mode 0700.
    """
    path = home.expanduser().absolute() / "node.sock"
    if len(os.fsencode(path)) <= _LONGEST_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(path.parent)).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"edged-{user}" / f"{digest}.sock"
