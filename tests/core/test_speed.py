"""What a node says of itself: as it worked, then as calibrations show it changing, with what work takes beyond them."""

import pytest

from edged.core.speed import MOST_BIAS, Speed
from tests.core.job_sample import JOB, OTHER_JOB


def worked(slowness):
    speed = Speed()
    speed.worked(JOB, slowness)
    return speed


def test_work_counts_and_stays_known_without_layers():
    assert (Speed().job, Speed().slowness) == ("", 0.0)
    assert (worked(1.3).job, worked(1.3).slowness) == (JOB, 1.3)


def test_who_never_worked_is_as_calibrated():
    speed = Speed()
    speed.calibrated(JOB, 2.0)
    assert (speed.job, speed.slowness) == (JOB, 2.0)


def test_a_calibration_after_work_is_read_with_what_work_takes_beyond_it():
    speed = worked(6.0)
    speed.calibrated(JOB, 5.0)
    assert speed.slowness == pytest.approx(6.0)
    speed.calibrated(JOB, 1.0)
    assert speed.slowness == pytest.approx(1.2)


def test_a_device_that_changed_before_its_first_calibration_is_as_calibrated():
    for work, calibrated in ((40.0, 1.0), (1.0, 40.0), (1.01 * MOST_BIAS, 1.0)):
        speed = worked(work)
        speed.calibrated(JOB, calibrated)
        assert speed.slowness == calibrated
        speed.calibrated(JOB, 2.0)
        assert speed.slowness == 2.0


def test_another_job_begins_with_a_clean_slate():
    speed = worked(6.0)
    speed.calibrated(OTHER_JOB, 1.0)
    assert (speed.job, speed.slowness) == (OTHER_JOB, 1.0)
