"""Places to listen at, for the tests of this folder."""

from testbed import free_ports


def free_door():
    """Where nobody listens, nor will by chance: for what is opened there later, or again."""
    return ("127.0.0.1", free_ports())
