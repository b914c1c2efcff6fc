"""Run a command in this process, and say what a refusal looks like."""

from __future__ import annotations

import sys

import pytest

from app import cli


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process."""
    argv, sys.argv = sys.argv, ["longtake", *map(str, args)]
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main()
    finally:
        sys.argv = argv
    code = stop.value.code
    out = capsys.readouterr()
    return (0 if code is None else code if isinstance(code, int) else 1), out.out, out.err


def refused(result: tuple[int, str, str], *says: str) -> None:
    """Check that a command ended with one line that holds every part of `says`."""
    code, _, err = result
    assert code not in (0, None)
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for part in says:
        assert part in lines[0]
