"""Structured logs on the standard ``logging``: one line a record, as text for people or as JSON for machines."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

LOGGER_NAME = "edged"

LOG_NAME = "edged.log"
"""Where a node that shows the live view logs, in its home."""

LOG_BYTES = 2**20
"""Size at which the log file begins anew; one old file is kept."""

OTHERS = ("asyncio", "py.warnings", "zeroconf")
"""Loggers of libraries whose warnings would else be lines of another form between edged's own."""

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""Levels as ``effects.Log`` names them."""


class JsonFormatter(logging.Formatter):
    """One object a line: ``{"time": seconds, "level": "info", "topic": "election", "text": "...", "node": id}``.

    ``node`` is missing until the node knows who it is; ``detail`` is a traceback, where there is one.
    """

    node = ""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        document = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "topic": _topic(record),
            "text": record.getMessage(),
        }
        if self.node:
            document["node"] = self.node
        if record.exc_info:
            document["detail"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``12:34:56 election: this node leads (term 3)``; warnings and errors name their level.

    A record stays one line, and moves no cursor: what others call themselves may hold anything.
    """

    def __init__(self, *, dated: bool = False) -> None:
        """``dated``: with the day, for whoever reads it on another."""
        super().__init__()
        self._clock = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        clock = time.strftime(self._clock, time.localtime(record.created))
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = f"{clock} {level}{_topic(record)}: {_visible(record.getMessage().rstrip())}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(
    log_format: str, stream: TextIO | None = None, level: int = logging.INFO, file: Path | None = None
) -> logging.Logger:
    """Send edged's records to ``file``, else to ``stream`` (standard error by default), and others' warnings with them.

    ``log_format``: "text" or "json". Text tells the day as well, but on a terminal and to systemd, which notes it
    itself. Raises ``OSError`` if the file cannot be written.
    """
    stream = stream or sys.stderr
    handler: logging.Handler = logging.StreamHandler(stream)
    dated = file is not None or not (stream.isatty() or _is_journal(stream))
    if file is not None:
        handler = RotatingFileHandler(file, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(dated=dated))
    logger = logging.getLogger(LOGGER_NAME)
    for name in (LOGGER_NAME, *OTHERS):
        _give(logging.getLogger(name), handler)
    logging.captureWarnings(capture=True)
    logger.setLevel(level)
    return logger


def name_node(node: str) -> None:
    """From now on JSON lines name this node."""
    for handler in logging.getLogger(LOGGER_NAME).handlers:
        if isinstance(handler.formatter, JsonFormatter):
            handler.formatter.node = node


def _is_journal(stream: TextIO) -> bool:
    """Whether what is written goes to systemd's journal; the variable is inherited (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file, or closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _give(logger: logging.Logger, handler: logging.Handler) -> None:
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.propagate = False


def topic_logger(topic: str) -> logging.Logger:
    """The logger of one topic ("transport", "election")."""
    return logging.getLogger(f"{LOGGER_NAME}.{topic}")


def _visible(text: str) -> str:
    """The text with line ends, escapes and the like written out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _topic(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{LOGGER_NAME}.")
