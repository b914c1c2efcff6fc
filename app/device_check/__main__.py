"""Run the device check: every stage in a process of its own, with a deadline."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from app.device_check.page import as_page, read
from app.device_check.running import run
from app.device_check.stages import DEADLINES


def main() -> int:
    """Run what the command line asks for; return 1 if a stage failed."""
    parser = argparse.ArgumentParser(
        prog="python -m app.device_check",
        description="Measure speed, memory and errors of the models on a GPU, with random weights. Not run on a GPU "
        "yet; docs/gpu.md has the results once it was.",
    )
    parser.add_argument("--results", type=Path, default=Path("device_check.jsonl"), help="file that lines are added to")
    parser.add_argument("--stages", default="", help=f"of {', '.join(DEADLINES)}  [default: all, in this order]")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="for all of them; stages left are then passed over"
    )
    parser.add_argument("--device", default="cuda", help="such as cuda:1")
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--page", type=Path, help="write the results to this page of Markdown, and run nothing")
    parser.add_argument("--one", choices=DEADLINES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = [name for name in args.stages.split(",") if name] or list(DEADLINES)
    if unknown := [name for name in names if name not in DEADLINES]:
        parser.error(f"no stage is called {unknown[0]!r}; there are {', '.join(DEADLINES)}")
    if args.page is not None:
        args.page.write_text(as_page(read(args.results)), encoding="utf-8")
        return 0
    device = "cpu" if args.dry_run else args.device
    if args.one:
        from app.device_check.measuring import measure

        print(json.dumps(measure(args.one, device, dry=args.dry_run)))
        return 0
    return run(names, args.results, device, args.seconds, dry=args.dry_run)


if __name__ == "__main__":
    sys.exit(main())
