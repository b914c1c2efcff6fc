"""Test that every option of every command refuses every nonsense value in one line, never with a traceback.

The options are read from the command line itself, so that a new one is swept without a change here. Models are tiny
ones with random weights; commands that measure for minutes stop where they would load a model.
"""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
from command_line import run
from conftest import tiny_model
from studio_server import free_port

from app import cli
from models.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NONSENSE = {
    "negative": "-1",
    "zero": "0",
    "huge": "9" * 30,
    "thousands of digits": "9" * 5000,
    "float": "1.5",
    "beyond floats": "1e999",
    "nan": "nan",
    "inf": "inf",
    "minus inf": "-inf",
    "hexadecimal": "0x10",
    "empty": "",
    "blank": "  ",
    "unicode": "ünïcödé 赤いボール 🎈 ‮",
    "surrogate": "\udcff\udc00",
    "null": "a\0b",
    "line break": "a\nb",
    "escape sequence": "\x1b[31m\x07",
    "long": "x" * 10_000,
    "negative time": "-5s",
    "list": "[1, 2]",
    "mapping": '{"a": 1}',
    "format": "%s{0}",
    "option": "--",
    "dash": "-",
    "boolean": "true",
    "device file": "/dev/full",
    "no folder": "/dev/null/x.mp4",
    "root": "/",
}
AFTER_LOADING = {"extend", "start", "scale"}  # parameters of a render that it uses when a model has been loaded


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command of the command line with the words that call it."""
    for name, command in (group or typer.main.get_command(cli.app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


PARAMETERS = {
    f"{' '.join(words)} {parameter.opts[-1]}": (words, parameter)
    for words, command in commands()
    for parameter in command.params
}


class CheckedError(UserError):
    """Stop a command where it would begin to work for minutes."""


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], dict[str, str]]:
    """Return the parameters with which each command would work, by the words that call it."""

    def checked(*_: object, **__: object) -> None:
        raise CheckedError("every option was checked")

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LONGTAKE_MODELS", str(tmp_path / "data" / "models"))
    monkeypatch.setattr("app.loaded_model.load", checked)
    for work in (
        "app.farm_films.films_of",
        "streaming.benchmark.measure",
        "models.checkpoints.assemble.load",
        "app.engine_choice.export",
    ):
        monkeypatch.setattr(work, checked)
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: [s.close() for s in sockets])
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    (tmp_path / "t.yaml").write_text("length: 3\ncues:\n  - prompt: a red ball bounces over the meadow by day\n")
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 4000))
    return {
        ("render",): {"take": "t.yaml", "--out": "o.mp4"},
        ("avatar",): {"--audio": "said.wav", "--out": "a.mp4"},
        ("serve",): {"--port": str(free_port()), "--data": "studio"},
        ("bench",): {"--random-weights": ""},
        ("export",): {"name": "pocket"},
        ("models", "show"): {"name": "pocket"},
        ("farm",): {"takes": "t.yaml", "--out": "farm"},
        ("models", "pull"): {"name": "longlive-1.3b"},
        ("models", "add"): {"weights": "w.pt"},
    }


def line(words: tuple[str, ...], given: Mapping[str, str], parameter: Any, value: str) -> list[str]:
    """Return the command line on which one parameter has a value and the others are as given."""
    options = [x for name, v in given.items() if name.startswith("-") and name not in parameter.opts for x in (name, v)]
    options = [x for x in options if x]
    positional = [v for name, v in given.items() if not name.startswith("-") and name != parameter.name]
    if parameter.param_type_name == "argument":
        return [*words, *options, "--", value]
    changed = [f"{parameter.opts[-1]}={value}"] if parameter.opts[-1].startswith("--") else [parameter.opts[-1], value]
    return [*words, *options, *changed, *positional]


@pytest.mark.parametrize("name", PARAMETERS)
def test_nonsense_values_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[tuple[str, ...], dict[str, str]],
    name: str,
) -> None:
    words, parameter = PARAMETERS[name]
    if words == ("render",) and parameter.name in AFTER_LOADING:
        model = tiny_model()
        monkeypatch.setattr("app.loaded_model.load", lambda *_, **__: model)
    given = arguments.get(words, {})
    for kind, value in (NONSENSE | {"folder": str(tmp_path), "missing": str(tmp_path / "none" / "x")}).items():
        code, _, err = run(capsys, *line(words, given, parameter, value))
        assert code in (0, 1, 2), kind
        errors = [text for text in err.splitlines() if text.startswith("error:")]
        assert len(errors) == (code != 0), (kind, err)
        assert "Traceback" not in err, kind
        for text in errors:
            assert len(text) < 700, kind
            assert text.isprintable(), kind


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_number_has_a_lower_and_an_upper_bound(
    capsys: pytest.CaptureFixture[str], arguments: dict[tuple[str, ...], dict[str, str]], name: str
) -> None:
    words, parameter = PARAMETERS[name]
    given = arguments.get(words, {})
    _, _, said = run(capsys, *line(words, given, parameter, "seven"))
    if "valid integer" not in said and "valid number" not in said:
        return  # the parameter is not a number
    for value in ("-1", "9" * 30):
        code, _, said = run(capsys, *line(words, given, parameter, value))
        assert (code, "Invalid value" in said) == (2, True), value


def test_refusals_come_before_heavy_imports(tmp_path: Path) -> None:
    """Refuse many mistakes in one process, which has imported neither torch nor a web server afterwards."""
    (tmp_path / "a.mp4").mkdir()
    (tmp_path / "speech.mp4").write_bytes(b"")
    mistakes = [
        ["--version"],
        ["--help"],
        ["serve", "--help"],
        ["render", "example", "-o", "a.mp4"],
        ["render", "example", "-o", "no/x.mp4"],
        ["render", "example", "--sheet", "no/x.png"],
        ["render", "example", "--report", "a.mp4"],
        ["render", "example", "--report", "out.take.yaml"],
        ["render", "example", "--report", "out.render/journal.jsonl"],
        ["render", "example", "--report", "/dev/full"],
        ["render", "example", "--sheet", "out.partial.mp4"],
        ["render", "example", "--sheet", "s.tiff"],
        ["render", "example", "--device", "bogus"],
        ["render", "example", "--upscale", "none.safetensors"],
        ["render", "example", "--upscale", "speech.mp4", "--scale", "2"],
        ["farm", "none.yaml", "-o", "out"],
        ["farm", "example", "-o", "speech.mp4"],
        ["farm", "example", "-o", "out", "--workers", "0"],
        ["avatar", "--say", "x", "--engine", "onnx:int4"],
        ["avatar", "--dialogue", "none.txt"],
        ["avatar", "--dialogue", "speech.mp4", "--say", "x"],
        ["avatar", "--dialogue", "speech.mp4", "--face", "bo"],
        ["avatar", "--say", "x", "--layout", "cut"],
        ["avatar", "--audio", "none.wav"],
        ["avatar", "--audio", "speech.mp4", "-o", "../" + tmp_path.name + "/speech.mp4"],
        ["avatar", "--audio", "none.wav", "--say", "x"],
        ["avatar", "--say", "x", "--face", "bo", "--portrait", "x.png"],
        ["avatar", "--say", "x", "-o", "/proc/x.mp4"],
        ["bench", "--log", "a.mp4"],
        ["export", "pocket", "--engine", "torch"],
        ["eval", "-o", "/dev/null/x"],
        ["eval-avatar", "--seconds", "nan"],
        ["serve", "--device", "mps"],
        ["serve", "--data", "/dev/null/x"],
        ["serve", "--tls-cert", "none.pem"],
        ["serve", "--host", "192.0.2.1", "--insecure"],
    ]
    code = (
        "import sys, app.cli\n"
        f"for argv in {mistakes!r}:\n"
        "    sys.argv = ['longtake', *argv]\n"
        "    try: app.cli.main()\n"
        "    except SystemExit as e: print(argv, e.code, file=sys.stderr)\n"
        "    heavy = {'torch', 'diffusers', 'gradio', 'uvicorn', 'fastapi', 'cv2', 'av'} & set(sys.modules)\n"
        "    assert not heavy, (argv, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error:") == len(mistakes) - 3


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
