"""Every command of the documents exists, those of the README run, and its Python gives the frames of `render`."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import frame_hash

from app import __version__
from app.settings import (
    GRACE,
    ICE,
    ORIGINS,
    PROXIES,
    PUBLISH_TOKEN,
    SPEECH,
    TOKEN,
    TURN_SECRET,
    VIDEO_KEYS,
    VOICE_TOKEN,
)

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OTHERS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
BIN = Path(sys.executable).parent
SET_UP = re.compile(r"^python3 -m venv \.venv && (?:\.venv/bin/pip install [^&]+ && )+\.venv/bin/")

BLOCKS = re.findall(r"^    (\S.*)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE)
COMMAND = re.compile(r"`((?:longtake|python -m) [^`]+|(?:pytest|ruff|mypy)(?: [^`]*)?)`")
SPANS = [span for text in (README, *(o.read_text(encoding="utf-8") for o in OTHERS)) for span in COMMAND.findall(text)]


CARDS = sorted((ROOT / "assets").glob("*/README.md"))
PATH = re.compile(r"`((?:app|streaming|models|exporters|tests|assets|docs)(?:/[\w.-]+)+/?)`")


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    program = BIN / Path(words[0]).name
    return subprocess.run([str(program), *words[1:]], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("assets", "app", "streaming", "models", "exporters", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", *OTHERS[:-1], *CARDS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    linked = [document.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    assert [path for path in [*(ROOT / name for name in PATH.findall(text)), *linked] if not path.exists()] == []


def test_two_commands_set_up_everything() -> None:
    commands = [b for b in BLOCKS if SET_UP.match(b)]
    assert len(commands) == 2
    # the gate runs the second one unchanged
    gate = (ROOT / ".ci" / "run").read_text()
    assert len([b for b in BLOCKS if re.match(r"python3 -m venv .*pytest.*$", b)]) == 1
    assert "README.md" in gate


def test_the_first_command_renders_the_example_take(checkout: Path) -> None:
    line = SET_UP.sub("", next(b for b in BLOCKS if "longtake render" in b))
    done = shell(line, checkout)
    assert done.returncode == 0, done.stderr
    assert (checkout / "example.mp4").stat().st_size > 100_000
    assert " s of video" in done.stdout


@pytest.mark.parametrize("line", sorted({b for b in BLOCKS if not SET_UP.match(b)} | set(SPANS)))
def test_every_other_command_exists(line: str, checkout: Path) -> None:
    words = shlex.split(re.sub("NAME|MODEL", "pocket", line.replace("ENGINE", "torch:fp32")))
    if words == ["longtake", "--version"]:
        assert shell(line, checkout).stdout == f"longtake {__version__}\n"
    elif words[0] == "longtake" and words[1] in ("models", "bench") and "pull" not in words:
        more = ["--chunks", "1"] if words[1] == "bench" else []
        assert shell(" ".join(words + more), checkout).returncode == 0
    elif words[0] == "longtake":
        done = shell(" ".join([*words[: 3 if words[1] == "models" else 2], "--help"]), checkout)
        assert done.returncode == 0
        assert all(w in done.stdout for w in words if w.startswith("--"))
    elif words == ["python", "-m", "streaming.transport.describe"]:  # it has no --help and writes into the checkout
        assert importlib.util.find_spec(words[2]) is not None
    elif words[:2] == ["python", "-m"]:
        assert shell(f"python -m {words[2]} --help", ROOT).returncode == 0
    elif words[0] == "ruff":
        assert shell("ruff check .", ROOT).returncode == 0
        assert shell("ruff format --check .", ROOT).returncode == 0
        assert shell("mypy", ROOT).returncode == 0
    else:
        assert words[0] == "pytest"
        assert shell(f"{line} --collect-only -q", ROOT).returncode == 0


def test_every_document_that_is_linked_is_there() -> None:
    for file in (ROOT / "README.md", *OTHERS):
        links = re.findall(r"\]\((?!http)([^)#]+)\)", file.read_text(encoding="utf-8"))
        assert [link for link in links if not (file.parent / link).exists()] == [], file


def test_every_variable_of_the_environment_is_listed() -> None:
    listed = re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE)
    ours = TOKEN, ICE, ORIGINS, PROXIES, GRACE, SPEECH, TURN_SECRET, VIDEO_KEYS, VOICE_TOKEN, PUBLISH_TOKEN
    assert sorted(listed) == sorted([*ours, "LONGTAKE_MODELS", "XDG_DATA_HOME"])


def test_every_file_of_the_map_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in text.partition("## Map")[2].splitlines() if row.startswith("| `")]
    assert len(rows) > 15
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row)
        for name in (first, *others):  # a name without a folder lies beside the first of its row
            assert (ROOT / name).exists() or (ROOT / first).with_name(name).exists(), name


def test_every_option_named_is_an_option() -> None:
    env = {"COLUMNS": "200", "PATH": "", "LANG": "C.UTF-8"}
    help_ = "".join(
        subprocess.run([str(BIN / "longtake"), *c, "--help"], capture_output=True, text=True, env=env).stdout
        for c in (["render"], ["avatar"], ["bench"], ["models", "pull"], ["serve"], ["eval"], ["farm"])
    )
    named = set(re.findall(r"`(?:longtake [a-z A-Z]*)?(--[a-z-]+)", README)) - {"--index-url"}
    assert {"--resume", "--from", "--random-weights"} <= named
    assert [option for option in sorted(named) if option not in help_] == []


def test_the_python_of_the_readme_gives_what_render_gives(checkout: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    take = (ROOT / "assets" / "takes" / "example.yaml").read_text().replace("length: 24s", "length: 27")
    assert "length: 27" in take
    (checkout / "take.yaml").write_text(take)
    code = code.replace('ASSETS / "takes" / "example.yaml"', f"Path({str(checkout / 'take.yaml')!r})")
    code = code.replace('Path("example-api.mp4")', f"Path({str(checkout / 'api.mp4')!r})")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    command = f"longtake render {checkout / 'take.yaml'} -o {checkout / 'cli.mp4'} --engine torch:fp32"
    assert shell(command, ROOT).returncode == 0
    assert frame_hash(checkout / "api.mp4") == frame_hash(checkout / "cli.mp4")
