"""The examples of docs/api.md run against a server."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_server import serving_tiny_avatar, serving_tiny_model

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(python|sh)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_tiny_model(tmp_path_factory.mktemp("examples"), pages=True) as address:
        yield address


@pytest.mark.parametrize("number", [n for n, (_, text) in enumerate(EXAMPLES) if "pocket-avatar" not in text])
def test_an_example_runs_without_an_error(address: str, number: int) -> None:
    kind, text = EXAMPLES[number]
    assert "http://127.0.0.1:7860" in text
    program = [sys.executable, "-c"] if kind == "python" else ["sh", "-euc"]
    script = text.replace("http://127.0.0.1:7860", address)
    done = subprocess.run([*program, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if kind == "python" and "print" in text:
        assert f"{address}/watch/" in done.stdout
        assert "cues:" in done.stdout
    if kind == "sh":
        assert '"accepted":1' in done.stdout
        assert '"whep":"whep/' in done.stdout


def test_the_example_of_an_avatar_is_told_what_was_heard(tmp_path: Path) -> None:
    (text,) = [text for _, text in EXAMPLES if "pocket-avatar" in text]
    with serving_tiny_avatar(tmp_path) as address:
        script = text.replace("http://127.0.0.1:7860", address)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (heard,) = ast.literal_eval(done.stdout)
    assert heard["utterance"] == "greeting"
    assert 0 < heard["seconds"] < 3
    assert "Good evening, how are you?".startswith(heard["text"])


def test_there_are_examples_for_python_and_for_a_shell() -> None:
    assert [kind for kind, _ in EXAMPLES].count("python") >= 2
    assert "sh" in [kind for kind, _ in EXAMPLES]
