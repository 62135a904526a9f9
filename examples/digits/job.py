"""Handwritten digits, 8x8 pixels: the data and the job that ship with edged (edged/data/digits_job.py).

edged train examples/digits/job.py
"""

from edged.data.digits_job import job

__all__ = ["job"]
