"""Numbers as people read them: at most three figures and a unit."""

from __future__ import annotations


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


def loss(value: float, places: int) -> str:
    """A loss: ``1.809``; ``6.6e-06`` where so many decimal places would show nothing of it."""
    return f"{value:.1e}" if 0.0 < abs(value) < 10.0 ** (1 - places) else f"{value:.{places}f}"


def bar(share: float, width: int) -> str:
    """A share between 0 and 1 as a bar that does not need colour: ``████░░``."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "█" * full + "░" * (width - full)


def clean(text: str) -> str:
    """Nothing in it moves the cursor or hides what follows: names and sentences may come from other devices."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def _figures(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"  # noqa: PLR2004 - two figures below ten


def _scaled(number: float, base: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if abs(number) < base:
            return f"{number:.0f} {unit}" if unit == units[0] else f"{number:.3g} {unit}"
        number /= base
    return f"{number:.3g} {units[-1]}"
