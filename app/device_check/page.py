"""Write the results of a device check as a page of Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]  # a line of the results: stage, seconds, and found or failed
TITLE = "# Longtake on a GPU\n"
COMMAND = """
    python -m app.device_check --results results.jsonl
    python -m app.device_check --page docs/gpu.md --results results.jsonl

runs every stage as a process of its own, ends after ten minutes at most, and writes this page. It needs torch, numpy
and safetensors, and no weights: random ones have the shapes of the published models, which is enough for speed, memory
and rounding, not for quality. What needs diffusers (Wan's codecs), torchao, SageAttention, PyAV or OpenCV is left out
without them. `--dry-run` does the same with tiny shapes on a CPU, as a test does.
"""
GOALS = """
Goals, end to end with the tiny codec: 1.3B at 832x480 with a window of 12 latents 40 frames a second in bfloat16 and 60
with float8 or int8 products, 100 at 576x320, LongLive 2.0 (5B) at 832x480 45.
"""


def read(file: Path) -> list[Line]:
    """Return the lines of a file of results; a line that a killed process left unfinished is passed over."""
    lines = []
    for text in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def as_page(lines: Sequence[Line]) -> str:
    """Return the page of these results; without any, or from a dry run, it says that there are none of a GPU."""
    kept = [line for line in lines if not line["dry"]]
    if not kept:
        said = "**Not run on a GPU.** No speed or memory of Longtake was measured on one; pocket was trained on one."
        return f"{TITLE}\n{said}\n{COMMAND}{GOALS}"
    newest = {line["stage"]: line for line in kept}
    about = newest.get("machine", {}).get("found", {})
    versions = ", ".join(f"{name} {number}" for name, number in about.get("versions", {}).items() if number)
    head = f"{about.get('device', 'unknown device')}, {versions}; commits {', '.join(_distinct(kept, 'commit'))}; "
    parts = [f"{TITLE}\n{head}{', '.join(_distinct(kept, 'day'))}.\n{COMMAND}{GOALS}"]
    for name, line in newest.items():
        parts.append(f"\n## {name}\n\n{line['seconds']} s.\n\n")
        parts.append(f"Failed: {line['failed']}\n" if "failed" in line else _table(line["found"]))
    return "".join(parts)


def _distinct(lines: Sequence[Line], field: str) -> list[str]:
    return list(dict.fromkeys(str(line[field]) for line in lines))


def _table(found: dict[str, Any]) -> str:
    rows = [f"| {name} | {_said(value)} |" for name, value in found.items()]
    return "\n".join(["| measured | |", "|---|---|", *rows, ""])


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_said(part)}" for name, part in value.items() if part is not None)
    if isinstance(value, list):
        return ", ".join(str(part) for part in value) or "none"
    return str(value).replace("|", "/")
