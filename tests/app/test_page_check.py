"""Check the layout of the pages' scripts (prettier) and their types against the declared events (tsc)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NPM = shutil.which("npm")
pytestmark = pytest.mark.skipif(NPM is None, reason="needs Node.js and npm")


def npm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(NPM), *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the pages, and install the tools beside them."""
    copy = tmp_path_factory.mktemp("page")
    ignored = shutil.ignore_patterns("node_modules")
    for folder in ("app/page", "tests/page"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    installed = npm(copy / "tests" / "page", "ci")
    assert installed.returncode == 0, installed.stderr
    return copy


def test_layout_and_types_of_the_pages_pass(checkout: Path) -> None:
    found = npm(checkout / "tests" / "page", "run", "check")
    assert found.returncode == 0, found.stdout + found.stderr


def test_an_event_that_the_server_does_not_send_is_a_type_error(checkout: Path) -> None:
    script = checkout / "app" / "page" / "watch.js"
    right = script.read_text(encoding="utf-8")
    script.write_text(right.replace('event.type === "timeline"', 'event.type === "timelime"'), encoding="utf-8")
    found = npm(checkout / "tests" / "page", "run", "types")
    script.write_text(right, encoding="utf-8")
    assert found.returncode != 0
    assert "watch.js" in found.stdout
    assert "no overlap" in found.stdout
