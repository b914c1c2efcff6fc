"""Log a training run with the seconds since its start."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Log:
    """Print lines with the seconds since the start, and keep them in a file."""

    file: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        return time.monotonic() - self.began

    def __call__(self, line: str) -> None:
        line = f"[{self.spent:6.1f}] {line}"
        print(line, flush=True)
        with self.file.open("a") as f:
            f.write(line + "\n")
