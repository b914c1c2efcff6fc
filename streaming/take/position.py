"""Read positions in a take as a person writes them: a whole number of latents, or a time such as `12s` or `1:30`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from models.time_grid import latent_of

MOST_LATENTS = 10_000_000  # a month at 16 frames a second
MOST_SECONDS = 31 * 24 * 3600.0
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_WITH_UNIT = re.compile(r"(\d{1,12}(?:\.\d{1,12})?) ?(ms|s|min|m|h)", re.ASCII)
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,5}):(\d{2}(?:\.\d{1,12})?)", re.ASCII)
EXAMPLES = "a whole number of latents or a time such as 12s, 1.5s, 2min or 1:30 (minutes and seconds)"


def seconds_of(text: str) -> float:
    """Return the seconds of a time: a number with ms, s, min (m) or h, or `1:30`, or `1:02:03` with hours.

    ValueError if the text is not a time, or is more than MOST_SECONDS.
    """
    if match := _WITH_UNIT.fullmatch(text):
        seconds = float(match[1]) * _UNITS[match[2]]
    elif match := _CLOCK.fullmatch(text):
        hours, minutes, rest = match.groups()
        if float(rest) >= 60 or (hours is not None and int(minutes) >= 60):
            raise ValueError(f"{text!r}: minutes and seconds end at 59")
        seconds = int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)
    elif re.match(r"\s*-\s*\d", text):
        raise ValueError(f"{text!r} must not be negative")
    else:
        raise ValueError(f"{text[:40]!r} is neither {EXAMPLES.replace(' or ', ' nor ', 1)}")
    if seconds > MOST_SECONDS:
        raise ValueError(f"{text!r} is longer than {MOST_SECONDS / 86400:.0f} days, which is the most")
    return seconds


def latent_at(position: int | str, fps: int) -> int:
    """Return the latent of a position, which is that number, or the latent of the frame shown at a time at `fps`.

    ValueError for a text that is not a time.
    """
    return position if isinstance(position, int) else latent_of(seconds_of(position) * fps)


def at_start(position: int | str) -> bool:
    """Return whether a position is the start of a take."""
    return (position if isinstance(position, int) else seconds_of(position)) == 0


def _checked(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        unit = f": {value!r} has no unit" if isinstance(value, float) else ""
        raise ValueError(f"needs {EXAMPLES}{unit}")
    if isinstance(value, str):
        seconds_of(value)
    elif value < 0:
        raise ValueError("must not be negative")
    elif value > MOST_LATENTS:
        raise ValueError(f"is beyond latent {MOST_LATENTS}, which is the last")
    return value


def _some(value: Any) -> Any:
    if (value if isinstance(value, int) else seconds_of(value)) == 0:
        raise ValueError("must not be 0")
    return value


Position = Annotated[int | str, BeforeValidator(_checked)]
Length = Annotated[int | str, BeforeValidator(lambda value: _some(_checked(value)))]
