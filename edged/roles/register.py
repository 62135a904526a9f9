"""The register: the list of jobs in one file, on the disk before the next effect begins.

Written as a temporary file, synced and renamed: after a crash at any moment the file is the old list or the new one. So
a job that is over stays over though all are switched off at that moment, and one that stands does not begin to run.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from edged.core.effects import SaveJobs
from edged.core.ids import JobId, NodeId
from edged.core.messages import JobRecord, JobState
from edged.errors import UNREADABLE
from edged.replication.tensor_file import write_file
from edged.roles.pump import Table
from edged.telemetry.logs import topic_logger


class Register:
    """Keeps ``SaveJobs`` records at ``path``."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self._path = path
        self._trouble = ""

    def table(self) -> Table:
        """Saving the list."""
        return {SaveJobs: self.save}

    def load(self) -> tuple[JobRecord, ...]:
        """The list of the last run; empty in a new home, and where the file is damaged: others have the list too."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return tuple(_record(**fields) for fields in document["jobs"])
        except FileNotFoundError:
            return ()
        except (OSError, *UNREADABLE) as error:
            topic_logger("register").warning(
                "%s cannot be read (%s): this node has forgotten its jobs", self._path, error
            )
            return ()

    def save(self, effect: SaveJobs) -> None:
        """Write the list; it is on the disk when this returns. What the disk does not take is only warned about."""
        jobs = [{**dataclasses.asdict(record), "state": record.state.name} for record in effect.records]
        try:
            write_file(self._path, [json.dumps({"jobs": jobs}).encode()])
        except OSError as error:
            trouble = error.strerror or str(error)
            if trouble != self._trouble:
                topic_logger("register").warning(
                    "cannot write %s: %s; after a restart of all nodes this one would not know which jobs are over",
                    self._path,
                    trouble,
                )
            self._trouble = trouble
        else:
            self._trouble = ""


def _record(*, job: str, name: str, source: str, state: str, step: int, steps: int, reason: str) -> JobRecord:
    return JobRecord(JobId(job), str(name), NodeId(source), JobState[state], int(step), int(steps), str(reason))
