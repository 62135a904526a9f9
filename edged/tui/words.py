"""Numbers as people read them (at most three figures and a unit), and text measured in cells of the terminal."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

CUT = "…"


def size(number: float) -> str:
    """Bytes: ``512 B``, ``3.1 MB``."""
    return _scaled(number, 1000.0, ("B", "kB", "MB", "GB", "TB"))


def rate(bytes_per_second: float) -> str:
    """Bytes per second: ``3.1 MB/s``."""
    return size(bytes_per_second) + "/s"


def duration(seconds: float | None) -> str:
    """Seconds: ``0.4 ms``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``; ``–`` for none."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{_figures(seconds * 1000)} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{_figures(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def count(number: float) -> str:
    """A plain count: ``950``, ``12.3 k``."""
    return _scaled(number, 1000.0, ("", "k", "M", "G")).strip()


def bar(share: float, width: int) -> str:
    """A share between 0 and 1 as a bar that does not need colour: ``████░░``."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "█" * full + "░" * (width - full)


def clean(text: str) -> str:
    """Nothing in it moves the cursor or hides what follows: names and sentences may come from other devices."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def shorten(text: str, width: int) -> str:
    """At most ``width`` cells, the cut shown by ``…``."""
    if cell_len(text) <= width:
        return text
    return (set_cell_size(text, width - 1).rstrip() if width > 1 else "") + CUT[:width]


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """The words in lines of at most ``width`` cells; lines after the first begin with ``indent``.

    What is longer than a line goes on in the next one, so that nothing of it is lost.
    """
    lines: list[str] = []
    begin = line = ""
    for word in text.split():
        longer = line + word if line == begin else f"{line} {word}"
        if cell_len(longer) > width and line != begin:
            lines.append(line)
            begin, longer = indent, indent + word
        while cell_len(longer) > width and (fitting := _fitting(longer, width)) > len(begin):
            lines.append(longer[:fitting])
            begin, longer = indent, indent + longer[fitting:]
        line = longer
    return [*lines, line] if line != begin else lines


def _fitting(text: str, width: int) -> int:
    """How many characters of ``text`` stand in ``width`` cells."""
    count, cells = 0, 0
    for character in text:
        cells += cell_len(character)
        if cells > width:
            break
        count += 1
    return count


def _figures(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"  # noqa: PLR2004 - two figures below ten


def _scaled(number: float, base: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if abs(number) < base:
            return f"{number:.0f} {unit}" if unit == units[0] else f"{number:.3g} {unit}"
        number /= base
    return f"{number:.3g} {units[-1]}"
