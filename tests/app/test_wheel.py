"""A wheel holds everything that a checkout needs to run, without the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from pathlib import Path

import httpx
import pytest
from studio_server import ROOT, free_port

PARTS = ("app", "streaming", "models", "exporters", "assets", "tests", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the checkout, so that files of an earlier build stay out."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "clips.pt"))
        else:
            shutil.copy(ROOT / name, source / name)
    command = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("longtake-*.whl")
    return built


def test_a_wheel_holds_every_module_page_weight_and_take_but_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    packages = ("app", "streaming", "models", "exporters")
    modules = {str(p.relative_to(ROOT)) for room in packages for p in (ROOT / room).rglob("*.py")}
    pages = {str(p.relative_to(ROOT)) for p in (ROOT / "app" / "page").rglob("*") if p.is_file()}
    assets = {str(p.relative_to(ROOT)) for kind in ("*.safetensors", "*.yaml") for p in (ROOT / "assets").rglob(kind)}
    assert {"app/page/studio.js", "app/page/media/inter-OFL.txt"} <= pages
    assert "assets/pocket/transformer.safetensors" in assets
    assert modules | pages | assets | {f"{room}/py.typed" for room in packages} <= held
    assert not [name for name in held if name.startswith(("tests", "docs", "build"))]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment with the wheel and the dependencies of the present environment.

    A .pth file names the dependencies. Python does not follow further .pth files there, so that an editable install is
    not found.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python3.*/site-packages"))
    site.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q", "--no-deps"]
    subprocess.run([*command, "--ignore-installed", str(wheel)], check=True)
    return folder / "bin"


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Return environment variables that do not lead back to the checkout, for commands in an empty folder."""
    gone = ("PYTHONPATH", "LONGTAKE_MODELS", "LONGTAKE_TOKEN")
    return {k: v for k, v in os.environ.items() if k not in gone} | {"XDG_DATA_HOME": str(tmp_path / "home")}


@pytest.mark.long
def test_an_installed_wheel_renders_the_example_take(
    installed: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    def longtake(*words: str) -> str:
        command = [str(installed / "longtake"), *words]
        done = subprocess.run(command, cwd=tmp_path, env=elsewhere, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = subprocess.run(
        [str(installed / "python"), "-c", "import app, assets; print(app.__file__, *assets.__path__)"],
        cwd=tmp_path, env=elsewhere, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(ROOT) not in shown.stdout
    assert str(installed.parent) in shown.stdout
    listed = dict(line.split()[:2] for line in longtake("models", "list").splitlines())
    assert listed["pocket"] == listed["pocket-avatar"] == "here"
    assert listed["longlive-1.3b"] == "to"  # "to pull"
    assert longtake("--version").startswith("longtake ")
    assert "s of video" in longtake("render", "example", "-o", "example.mp4")
    assert (tmp_path / "example.mp4").stat().st_size > 100_000


@pytest.mark.long
def test_an_installed_wheel_serves_the_pages(installed: Path, elsewhere: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    command = [str(installed / "longtake"), "serve", "--port", str(port), "--data", str(tmp_path)]
    with (tmp_path / "serve.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=elsewhere, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:  # waits longer before each retry
            until = time.monotonic() + 90
            while client.get(f"{address}/readyz").status_code == 503:  # the server answers before it is ready
                assert time.monotonic() < until
                time.sleep(0.5)
            assert client.get(f"{address}/readyz").json() == {"ready": True}
            pages = ("/", "/avatar/", "/login", "/page/studio.js", "/page/base.css", "/page/media/inter.woff2")
            for path in (*pages, "/api/faces/ada"):
                assert client.get(address + path).status_code == 200, path
    finally:
        server.terminate()
        server.wait(15)
