"""A throttled process gets its share of the time, and always goes on afterwards."""

import subprocess
import sys
import time

import psutil
import pytest
from testbed_throttle import Throttle

BUSY = "import time\nwhile True: time.process_time()"


@pytest.fixture
def busy():
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def taken(process):
    """Processor seconds that it has taken."""
    return sum(process.cpu_times()[:2])


def works(process):
    """Whether it takes a processor again, however busy this machine is."""
    before, end = taken(process), time.monotonic() + 60.0
    while taken(process) < before + 0.3 and time.monotonic() < end:
        time.sleep(0.05)
    return process.status() != psutil.STATUS_STOPPED and taken(process) >= before + 0.3


@pytest.mark.alone
def test_a_process_gets_no_more_than_its_share_and_goes_on(busy):
    with Throttle(busy.pid, 0.2) as throttle:
        before, begun = taken(busy), time.monotonic()
        time.sleep(4.0)  # the measurement itself
        assert taken(busy) - before < 0.5 * (time.monotonic() - begun)
        throttle.share = 1.0
        assert works(busy)
        throttle.share = 0.1
    assert works(busy)


def test_a_process_goes_on_after_a_failure(busy):
    with pytest.raises(ValueError, match="between"), Throttle(busy.pid, 0.1) as throttle:
        throttle.share = 0.0
    assert works(busy)


def test_a_process_that_ends_meanwhile_is_no_trouble(busy):
    with Throttle(busy.pid, 0.5):
        busy.kill()
        busy.wait()
