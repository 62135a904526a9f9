"""What several tests of real nodes need."""

import os

import pytest

from edged.transport import discovery, knocking, road, search, succession


@pytest.fixture(autouse=True)
def own_service(monkeypatch):
    """What another process tests on this device's multicast is not heard here."""
    monkeypatch.setattr(discovery, "SERVICE", f"_edged-{os.getpid() % 10**8}._tcp.local.")


@pytest.fixture
def slow_machine(monkeypatch):
    """However long an attempt takes, it is judged by what it met: slowness is not taken for silence."""
    monkeypatch.setattr(search, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(road, "PROMPT_SECONDS", 60.0)
    monkeypatch.setattr(succession, "ANSWER_SECONDS", 15.0)
    monkeypatch.setattr(knocking, "PATIENCE_SECONDS", 18.0)
