"""Test that mistakes of a person are reported in one line, and that no partly written file looks finished."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import refused, run
from safetensors.torch import load_file, save_file

from app import cli
from models.checkpoints.assemble import ASSETS
from streaming.take.take_file import load as load_take

ROOT = ASSETS.parent
TAKE = "length: 24\ncues:\n  - prompt: a red ball bounces over the meadow by day\n"
SMALL = "size: 64x64\n" + TAKE.replace("24", "9")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cues: [", "t.yaml:"),
        ("cues:\n  - prompt: ''\n", "t.yaml:2"),
        ("cues:\n  - at: 3s\n    prompt: late\n", "prompt at 0"),
        ("cues:\n  - prompt: x\n  - at: -3\n    prompt: y\n", "t.yaml:3: cues.1.at: must not be negative"),
        ("cues:\n  - prompt: x\n  - at: soon\n    prompt: y\n", "t.yaml:3: cues.1.at: 'soon'"),
        ("cues:\n  - prompt: x\n  - at: 9\n    start_image: a.png\n", "is written as start: picture.png"),
        (
            "cues:\n  - prompt: x\n    start: ../a.png\n",
            "t.yaml:3: cues.0.start: '../a.png' must lie in the take's folder",
        ),
        ("cues:\n  - prompt: a red ball\n    start: a.png\n", "a.png: no such file, which the take names"),
        ("cues:\n  - prompt: x\n    source: a.mp4\n    region: 50%,50%,60%,10%\n", "is empty, or does not lie"),
        ("cues:\n  - prompt: x\n    recall: 2s\n", "at 0 nothing has been drawn of 2s yet"),
        ("cues:\n  - prompt: x\n    strength: 0.6\n", "strength and region at 0: the take follows nothing"),
        ("cues:\n  - prompt: x\n  - at: 9\n    set: {anchor: floating}\n", "anchor is one of fixed, trailing, ahead"),
        ("sized: 3\ncues:\n  - prompt: x\n", "t.yaml:1: sized:"),
        ("- 1\n", "a take is a mapping"),
        ("size: 100x128\ncues:\n  - prompt: x\n", "size 100x128 is not a multiple of 32x32"),
        ("model: nope\ncues:\n  - prompt: x\n", "no model is called 'nope'"),
        ("model: longlive\ncues:\n  - prompt: x\n", "did you mean longlive-1.3b?"),
    ],
)
def test_a_faulty_take_is_reported_with_its_line_and_field(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "t.yaml").write_text(text)
    refused(run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4"), says)
    assert list(tmp_path.glob("*.mp4")) == []


def test_missing_files_and_folders_are_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    take = tmp_path / "t.yaml"
    refused(run(capsys, "render", take, "-o", tmp_path / "o.mp4"), "t.yaml: cannot be read")
    take.write_text(TAKE)
    refused(run(capsys, "render", take, "-o", tmp_path / "no" / "o.mp4"), "does not exist or cannot be written")
    refused(run(capsys, "render", take, "-o", tmp_path / "o.avi"), "the output is an .mp4 file")
    refused(run(capsys, "render", take, "-o", tmp_path / "o.mp4", "--device", "cuda"), "no CUDA device")
    refused(run(capsys, "render", take, "-o", tmp_path / "o.mp4", "--from", "soon"), "'soon' is neither")
    refused(run(capsys, "render", take, "-o", "/proc/o.mp4"), "/proc/o.mp4")  # where even root cannot write
    (tmp_path / "taken.mp4").mkdir()
    refused(run(capsys, "render", take, "-o", tmp_path / "taken.mp4"), "taken.mp4")


def test_missing_models_are_reported_with_the_command_that_pulls_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGTAKE_MODELS", str(tmp_path))
    (tmp_path / "t.yaml").write_text(TAKE)
    result = run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4", "--model", "longlive-1.3b")
    refused(result, "longlive_base.pt and 4 more is missing", "longtake models pull longlive-1.3b")
    refused(run(capsys, "models", "show", "pokcet"), "did you mean pocket?")
    refused(run(capsys, "models", "pull", "nope"), "no model is called 'nope'")
    refused(run(capsys, "bench", "nope"), "no model is called 'nope'")
    refused(run(capsys, "bench", "--size", "12"), "is not a size such as")


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy pocket's weights, for a test to damage; return their folder."""
    shutil.copytree(ASSETS / "pocket", tmp_path / "assets" / "pocket")
    monkeypatch.setattr("models.checkpoints.assemble.ASSETS", tmp_path / "assets")
    (tmp_path / "t.yaml").write_text(TAKE)
    return tmp_path / "assets" / "pocket"


@pytest.mark.parametrize("file", ["transformer.safetensors", "codec.safetensors"])
@pytest.mark.parametrize("keep", [0, 1000, 100_000])
def test_truncated_weights_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, assets: Path, file: str, keep: int
) -> None:
    (assets / file).write_bytes((assets / file).read_bytes()[:keep])
    refused(run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4"), file, "truncated")
    assert not (tmp_path / "o.mp4").exists()


def test_weights_of_a_wrong_shape_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, assets: Path) -> None:
    file = assets / "transformer.safetensors"
    tensors = load_file(file)
    from safetensors import safe_open

    with safe_open(file, "pt") as f:
        metadata = f.metadata()
    tensors["transformer.proj_out.bias"] = tensors["transformer.proj_out.bias"][:8].clone()
    save_file(tensors, file, metadata)
    refused(run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4"), "proj_out.bias is (8,) instead of")


def test_words_that_pocket_does_not_know_are_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("length: 3\ncues:\n  - prompt: a red bal over the meadow by day\n")
    code, out, err = run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4")
    assert code == 0
    assert "pocket does not know 'bal'; near: ball" in err
    assert "0.6 s of video" in out


def test_a_render_writes_a_sheet_and_a_report_on_request(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(SMALL)
    extras = ["--scale", 2, "--sheet", tmp_path / "s.png", "--report", tmp_path / "r.json"]
    code, _, _ = run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4", *extras)
    assert code == 0
    import cv2

    assert cv2.imread(str(tmp_path / "s.png")).shape == (4 * 128, 8 * 128, 3)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["cues"][0]["latent"] == 0
    assert report["frames"] == 9 * 4 - 3
    assert report["draw_median_s"] > 0
    code, out, _ = run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4", "--scale", 2, "--extend", "1s")
    assert code == 0
    assert "3.6 s of video" in out  # 5 whole chunks


def test_a_replay_under_another_record_reports_the_difference_and_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    short = TAKE.replace("24", "3")
    (tmp_path / "t.yaml").write_text(short)
    code, _, err = run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4", "--engine", "torch")
    assert (code, "record" in err) == (0, False)
    done = (tmp_path / "o.take.yaml").read_text()
    (tmp_path / "same.yaml").write_text(done)
    code, _, err = run(capsys, "render", tmp_path / "same.yaml", "-o", tmp_path / "o.mp4", "--engine", "torch")
    assert (code, "record" in err) == (0, False)
    (tmp_path / "other.yaml").write_text(done.replace("engine: torch", "engine: onnx"))
    args = ("--engine", "torch", "--report", tmp_path / "r.json")
    code, _, err = run(capsys, "render", tmp_path / "other.yaml", "-o", tmp_path / "o.mp4", *args)
    assert code == 0
    (warning,) = json.loads((tmp_path / "r.json").read_text())["warnings"]
    assert "(engine onnx → torch)" in warning
    assert f"note: {warning}" in err


def test_a_full_disk_is_reported_in_one_line_and_resume_finishes_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "t.yaml").write_text(SMALL.replace("9", "24"))
    whole, film = (["render", tmp_path / "t.yaml", "-o", tmp_path / name] for name in ("whole.mp4", "o.mp4"))
    assert run(capsys, *whole)[0] == 0
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int((tmp_path / "whole.mp4").stat().st_size * 0.6), allowed[1]))
    try:
        stopped = run(capsys, *film)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    refused(stopped, "o.mp4", "--resume")
    assert not (tmp_path / "o.mp4").exists()
    assert run(capsys, *film, "--resume")[0] == 0
    assert (tmp_path / "o.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ValueError("zero-size array")

    monkeypatch.setattr("models.catalog.find", broken)
    monkeypatch.setattr(sys, "argv", ["longtake", "models", "show", "pocket"])
    with pytest.raises(ValueError, match="zero-size array"):
        cli.main()


def test_help_does_not_import_torch() -> None:
    code = "import sys, app.cli; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_models_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "models", "list")
    assert out.split()[:2] == ["pocket", "here"]
    _, out, _ = run(capsys, "models", "show", "longlive-1.3b")
    for part in (
        "Efficient-Large-Model/LongLive-1.3B",
        "CC-BY-NC-SA",
        "chunk 3, window 12, sink 3",
        "recache",
        "832x480",
    ):
        assert part in out
    _, out, _ = run(capsys, "models", "pull", "pocket")
    assert "nothing to pull" in out


def test_bench_measures_and_appends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = tmp_path / "bench.md"
    for _ in range(2):
        args = ("bench", "pocket", "--random-weights", "--chunks", 4, "--size", "64x64", "--log", log)
        code, _, _ = run(capsys, *args)
        assert code == 0
    text = log.read_text()
    assert text.count("## pocket, 64x64") == 2
    for part in ("denoise", "clean pass", "recache", "decode", "encode", "end to end", "TFLOP a chunk", "commit"):
        assert part in text
    assert "nan" not in text


def test_flops_are_those_of_the_configuration() -> None:
    """Compare with torch's own counter on one full-window step of a small model."""
    from conftest import TINY, tiny_model, tiny_text
    from torch.utils.flop_counter import FlopCounterMode

    from models.cue import Prompt
    from streaming.chunk_cost import flops_a_chunk

    model = tiny_model()
    state = model.generator.new_take(0, 32, 32)
    for _ in range(5):
        model.generator.draw(state, [Prompt("one")])
        model.generator.commit(state)
    with FlopCounterMode(display=False) as counter:
        model.generator.draw(state)
        state.cache.begin(0, 3)
    # the counter sees patching and the time embedding too, and no clean pass
    steps = len(model.entry.rollout.schedule.sigmas)
    counted = counter.get_total_flops() * (steps + 1) / steps
    assert flops_a_chunk(model.entry, 32, 32, tiny_text(["x"]).shape[1]) == pytest.approx(counted, rel=0.25)
    assert TINY["num_layers"] == 2


STORIES = '{"prompts": ["a red ball bounces", "a blue fish"]}\n{"prompts": ["a crimson orb"]}\n'


def test_one_story_of_several_is_rendered_and_the_others_are_noted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "s.jsonl").write_text(STORIES)
    film, short = tmp_path / "o.mp4", ["--switch-at", 3]
    code, out, err = run(capsys, "render", tmp_path / "s.jsonl", "-o", film, *short)
    assert (code, "1.3 s of video" in out) == (0, True)
    assert "note: s.jsonl holds 2 stories; this is the first" in err
    code, out, err = run(capsys, "render", tmp_path / "s.jsonl", "-o", film, "--story", "2", *short)
    assert (code, "0.6 s of video" in out) == (0, True)
    assert err.startswith('note: read as "a red ball"')


def test_all_stories_become_films_in_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "s.JSONL").write_text(STORIES)
    films = tmp_path / "films"
    code, out, _ = run(capsys, "render", tmp_path / "s.JSONL", "-o", films, "--story", "all", "--switch-at", 3)
    assert code == 0
    assert out.count(" s of video") == 2
    assert sorted(p.name for p in films.glob("*.mp4")) == ["story-01.mp4", "story-02.mp4"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--story", "3"], "holds stories 1 to 2, not story 3"),
        (["--story", "0"], "not story 0"),
        (["--story", "-1"], "neither the number of a story, from 1, nor all"),
        (["--story", "every"], "neither the number"),
        (["--story", "all"], "o.mp4: --story all writes a film for each story; give a folder"),
        (["--story", "all", "--sheet", "s.png"], "--sheet is for one film"),
        (["--story", "all", "--from", "3s"], "--from is for one film"),
    ],
)
def test_a_story_that_does_not_exist_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], says: str
) -> None:
    (tmp_path / "s.jsonl").write_text(STORIES)
    refused(run(capsys, "render", tmp_path / "s.jsonl", "-o", tmp_path / "o.mp4", *options), says)
    assert list(tmp_path.glob("*.mp4")) == []


def test_cues_after_the_end_are_noted_and_do_not_land(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("length: 3\ncues:\n  - prompt: a red ball\n  - {at: 99s, prompt: a blue fish}\n")
    code, _, err = run(capsys, "render", tmp_path / "t.yaml", "-o", tmp_path / "o.mp4")
    assert code == 0
    assert "note: the cue at 99s is left out: the take is 3 long and ends before latent 396" in err
    assert [cue.landed for cue in load_take(tmp_path / "o.take.yaml").cues] == [0, None]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.yaml", "cues:\n  - prompt: 赤いボール\n", "the prompt at 0: pocket knows no word of '赤いボール'"),
        (
            "t.yaml",
            "cues:\n  - prompt: a red ball\n  - {at: 9s, prompt: no}\n",
            "the prompt at 9s: pocket knows no word",
        ),
        ("t.txt", "a dragon\n", "near are dragon: fish"),
        ("t.jsonl", '{"prompts": ["\\ud800"]}\n', "t.jsonl:1: half a character"),
        ("t.yaml", "cues:\n  - prompt: a red ball\nsound: a.wav\n", "sound: a.wav is for an avatar"),
    ],
)
def test_a_prompt_that_pocket_cannot_read_is_refused_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    refused(run(capsys, "render", tmp_path / name, "-o", tmp_path / "o.mp4"), says)


def test_switch_at_is_refused_with_a_take_that_has_times(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TAKE)
    refused(run(capsys, "render", tmp_path / "t.yaml", "--switch-at", 9), "--switch-at is for .jsonl and .txt")
