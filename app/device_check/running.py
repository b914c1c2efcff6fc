"""Run stages as processes, kill those that exceed their deadline, and keep a line of each at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from app.device_check.stages import DEADLINES

ROOT = Path(__file__).resolve().parents[2]


def run(
    names: Sequence[str],
    results: Path,
    device: str,
    limit: float,
    *,
    dry: bool,
    deadlines: dict[str, float] | None = None,
) -> int:
    """Run stages in their order and add a line of each to `results`; return 0 if all of them measured something.

    After `limit` seconds no stage is begun, and the running one is ended. `deadlines` replaces those of stages.
    """
    ends, failed, commit = time.monotonic() + limit, 0, _commit()
    for name in names:
        began = time.monotonic()
        allowed = min((deadlines or DEADLINES)[name], ends - began)
        if allowed <= 0:
            found: dict[str, object] = {"failed": f"passed over, as {limit:.0f} s were over"}
        else:
            found = _measured(name, device, allowed, dry=dry)
        failed += "failed" in found
        line = {
            "stage": name,
            "dry": dry,
            "seconds": round(time.monotonic() - began, 1),
            "day": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": commit,
            **found,
        }
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
    return min(1, failed)


def _measured(name: str, device: str, allowed: float, *, dry: bool) -> dict[str, object]:
    """Return what a stage found, or how it failed, from a process that is killed after `allowed` seconds."""
    command = [sys.executable, "-m", "app.device_check", "--one", name, "--device", device]
    try:
        done = subprocess.run(
            command + (["--dry-run"] if dry else []), cwd=ROOT, capture_output=True, text=True, timeout=allowed
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"ended after {allowed:.0f} s, its deadline"}
    try:
        last = json.loads((done.stdout.strip().splitlines() or [""])[-1])
    except json.JSONDecodeError:
        last = None
    if done.returncode or not isinstance(last, dict):
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode} and without a word"]
        return {"failed": said[-1][:300]}
    return {"found": last}


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=5, check=True
        )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
