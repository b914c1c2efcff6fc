"""Test that a pull brings the whole files of a model, or reports what it found and leaves no model behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import TINY
from hub_server import Hub, hub
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from app import cli
from models import catalog
from models.checkpoints import download
from models.checkpoints.assemble import load
from models.checkpoints.footprint import disk_bytes
from models.checkpoints.known_hashes import LOCK, KnownHashes
from models.checkpoints.model_files import PULLING, missing_files
from models.checkpoints.pins import PINS, Pin
from models.checkpoints.wan_names import original_name
from models.checkpoints.weight_files import CheckpointError
from models.codecs.tiny import TinyCodec
from models.codecs.tiny_configs import TAE
from models.transformer import CausalWanTransformer

NAME = "longlive-1.3b"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5676070424\n"


@pytest.fixture(scope="module")
def stick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write every file of a small LongLive, in two folders as they are published; return the folder around them."""
    from diffusers import AutoencoderKLWan

    root = tmp_path_factory.mktemp("stick")
    torch.manual_seed(0)
    weights = {f"model.{original_name(k)}": v for k, v in CausalWanTransformer(**TINY).state_dict().items()}
    (root / "LongLive" / "models").mkdir(parents=True)
    torch.save({"generator": weights, "step": 3}, root / "LongLive" / "models" / "longlive_base.pt")
    name = "base_model.model.blocks.0.self_attn.q.lora_"
    lora = {name + "A.weight": torch.ones(2, 48), name + "B.weight": torch.ones(48, 2)}
    torch.save({"generator_lora": lora, "critic_lora": lora}, root / "LongLive" / "models" / "lora.pt")
    AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    ).save_pretrained(root / "wan" / "vae")
    config = UMT5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=4)
    UMT5EncoderModel(config).save_pretrained(root / "wan" / "text_encoder", max_shard_size="4KB")
    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "a": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>").save_pretrained(
        root / "wan" / "tokenizer"
    )
    assert len(list((root / "wan" / "text_encoder").glob("*.safetensors"))) > 2
    (root / "wan" / "readme.md").write_text("not named")
    return root


@pytest.fixture
def source(stick: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stick, tmp_path / "stick")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the small model into the catalog in place of the large one; return its folder."""
    monkeypatch.setenv("LONGTAKE_MODELS", str(tmp_path / "here"))
    monkeypatch.setitem(catalog.ENTRIES, NAME, replace(catalog.LONGLIVE, transformer=TINY))
    for repo in list(PINS):
        monkeypatch.delitem(PINS, repo)
    return tmp_path / "here" / NAME


def run(capsys: pytest.CaptureFixture[str], *args: object, licence: bool = True) -> tuple[int, str, str]:
    accepted = ["--accept-licence"] if args[0] == "pull" and licence else []
    argv, sys.argv = sys.argv, ["longtake", "models", *map(str, args), *accepted]
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main()
    finally:
        sys.argv = argv
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def refusal(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    code, out, err = run(capsys, *args)
    assert code == 1
    assert "is here" not in out
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def listed(capsys: pytest.CaptureFixture[str]) -> str:
    _, out, _ = run(capsys, "list")
    return next(line.removeprefix(NAME).split()[0] for line in out.splitlines() if line.startswith(NAME))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_copied_files_are_checked_and_the_model_loads(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path
) -> None:
    code, out, _ = run(capsys, "pull", NAME, "--from", source)
    assert code == 0
    assert "licence: CC-BY-NC-SA" in out
    assert [line for line in out.splitlines() if line.startswith("checking")][-1] == "checking tokenizer"
    assert out.splitlines()[-1].startswith(f"{NAME} is here")
    assert contents(here) == contents(source / "LongLive") | {
        k: v for k, v in contents(source / "wan").items() if k != "readme.md"
    }
    assert listed(capsys) == "here"
    model = load(catalog.find(NAME), here, torch.device("cpu"), torch.float32)
    base = torch.load(source / "LongLive/models/longlive_base.pt")["generator"]["model.blocks.0.self_attn.q.weight"]
    merged = model.generator.transformer.state_dict()["blocks.0.attn1.to_q.weight"]
    assert torch.equal(merged, base + 2)
    assert model.generator.text("a a").embeddings.shape == (1, 512, 16)


def test_a_pull_that_was_cut_off_leaves_no_model_and_can_go_on(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_BLOCK", 1000)
    whole = sum(len(v) for v in contents(source).values())
    entry = catalog.find(NAME)
    for stop in range(1, whole - 3000, whole // 7):

        def cut(done: int, total: int, stop: int = stop) -> None:
            if done >= stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            download.from_folder(entry, here, source, cut, KnownHashes(entry, here.parent / "none"))
        assert missing_files(entry, here)
        assert listed(capsys) == "to"  # to pull
        assert disk_bytes(entry, here.parent) is None
    with pytest.raises(CheckpointError, match="models pull longlive"):
        load(entry, here, torch.device("cpu"), torch.float32)
    assert run(capsys, "pull", NAME, "--from", source)[0] == 0
    assert set(contents(here)) == {k.split("/", 1)[1] for k in contents(source)} - {"readme.md"}


def test_a_partial_file_of_another_copy_is_not_continued(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path
) -> None:
    base = here / "models" / "longlive_base.pt"
    base.parent.mkdir(parents=True)
    wanted = (source / "LongLive/models/longlive_base.pt").read_bytes()
    base.with_name("longlive_base.pt.partial").write_bytes(wanted[:500] + b"x" * 700)
    (here / "models" / "lora.pt").write_bytes(b"x" * (source / "LongLive/models/lora.pt").stat().st_size)
    assert run(capsys, "pull", NAME, "--from", source)[0] == 0
    assert base.read_bytes() == wanted
    assert (here / "models/lora.pt").read_bytes() == (source / "LongLive/models/lora.pt").read_bytes()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _resave(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


VAE = "wan/vae/diffusion_pytorch_model.safetensors"
BASE = "LongLive/models/longlive_base.pt"
TEXT = "wan/text_encoder/model-00002-of-"


def _text_part(source: Path) -> Path:
    return next((source / "wan/text_encoder").glob("model-00002-of-*"))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "pointers": (lambda s: [p.write_bytes(LFS) for p in s.rglob("*") if p.suffix in (".pt", ".safetensors")],
                 "it is a git-lfs pointer"),
    "one pointer": (lambda s: _text_part(s).write_bytes(LFS), "it is a git-lfs pointer"),
    "a page": (lambda s: (s / "wan/vae/config.json").write_bytes(b"<!DOCTYPE html><html>"), "it is a web page"),
    "a page for a vocabulary": (lambda s: (s / "wan/tokenizer/tokenizer.json").write_bytes(b"<html>"), "a web page"),
    "empty": (lambda s: (s / BASE).write_bytes(b""), "an empty file"),
    "cut safetensors": (lambda s: _cut(s / VAE), "is cut short"),
    "cut pickle": (lambda s: _cut(s / BASE), "cut short or damaged"),
    "no part": (lambda s: _text_part(s).unlink(), "has not come"),
    "no configuration": (lambda s: (s / "wan/vae/config.json").unlink(), "vae/config.json: has not come"),
    "no vocabulary": (lambda s: (s / "wan/tokenizer/tokenizer.json").unlink(), "tokenizer/tokenizer.json: has not"),
    "no codec": (lambda s: shutil.rmtree(s / "wan/vae"), "holds no vae/*"),
    "lost key": (lambda s: _resave(s / VAE, lambda t: t.pop("quant_conv.bias")), "missing quant_conv.bias"),
    "more keys": (lambda s: _resave(s / VAE, lambda t: t.update(x=torch.ones(1))), "unexpected x"),
    "another size": (lambda s: _resave(s / VAE, lambda t: t.update({"quant_conv.bias": torch.ones(3)})),
                     "quant_conv.bias is (3,) instead of (8,)"),
    "nonsense": (lambda s: (s / "wan/vae/config.json").write_text('{"base_dim": "x"}'), "no Wan codec can be made"),
    "a huge number": (lambda s: (s / "wan/vae/config.json").write_text('{"num_res_blocks": 100000000}'),
                      "num_res_blocks is 100000000"),
    "a list": (lambda s: (s / "wan/text_encoder/config.json").write_text("[]"), "no table of settings"),
    "broken vocabulary": (lambda s: (s / "wan/tokenizer/tokenizer.json").write_text("{}"), "no tokenizer can be made"),
    "another model": (lambda s: torch.save({"generator": {"patch_embedding.weight": torch.ones(8, 36, 1, 2, 2),
                      "blocks.0.self_attn.q.weight": torch.ones(8, 8)}}, s / BASE), "36 channels in, 1 layers"),
    "no generator": (lambda s: torch.save({"critic": {"a": torch.ones(1)}}, s / BASE), "no weights of a model"),
    "no LoRA": (lambda s: torch.save({"a": torch.ones(1)}, s / "LongLive/models/lora.pt"), "holds no LoRA"),
    "two codecs": (lambda s: shutil.copytree(s / "wan/vae", s / "other/vae"), "holds vae/* in several places"),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_damaged_or_foreign_files_are_refused_and_not_listed(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path, what: str
) -> None:
    spoil, says = SPOILT[what]
    spoil(source)
    assert says in refusal(capsys, "pull", NAME, "--from", source)
    assert listed(capsys) == "to"  # to pull


def test_pointers_are_refused_before_anything_is_copied(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path
) -> None:
    _text_part(source).write_bytes(LFS)
    refusal(capsys, "pull", NAME, "--from", source)
    assert contents(here) == {}


def test_a_disk_that_is_too_small_is_reported_before_anything_is_copied(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=70 << 20))
    (source / BASE).write_bytes((source / BASE).read_bytes())
    with (source / "wan/vae/large.bin").open("wb") as f:
        f.write(b"PK")
        f.truncate(1 << 30)
    (source / "wan/vae/large.bin").rename(source / "wan/vae/large.dat")
    assert "the disk has 0.1 GB free" in refusal(capsys, "pull", NAME, "--from", source)
    assert contents(here) == {}


def test_a_missing_folder_is_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path, here: Path) -> None:
    assert "no such folder" in refusal(capsys, "pull", NAME, "--from", tmp_path / "none")
    assert not here.exists()


def offline(*_: object, dry_run: bool = False, **__: object) -> object:
    raise ConnectionError("Name or service not known\nand more")


def lost(*_: object, dry_run: bool = False, **__: object) -> object:
    if dry_run:
        return [SimpleNamespace(file_size=10, will_download=True)]
    raise ConnectionError("Connection reset")


@pytest.mark.parametrize("hub", [offline, lost])
@pytest.mark.parametrize("where", ["hub", "wrong folder", "changed file, and no room on the disk"])
def test_a_failed_pull_leaves_the_model_as_it_was(
    capsys: pytest.CaptureFixture[str],
    source: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    hub: Callable[..., object],
    where: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    assert run(capsys, "pull", NAME, "--from", source)[0] == 0
    before = contents(here)
    if where == "hub":
        refusal(capsys, "pull", NAME)
    elif where == "wrong folder":
        refusal(capsys, "pull", NAME, "--from", source / "wan" / "vae")
    else:
        (source / BASE).write_bytes((source / BASE).read_bytes() + b"x")
        (here.parent / LOCK).unlink()  # so that the other file is trusted
        monkeypatch.setattr("os.fsync", full)
        refusal(capsys, "pull", NAME, "--from", source)
        (here / "models" / "longlive_base.pt.partial").unlink()
    assert contents(here) == before
    assert listed(capsys) == "here"


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_pull_that_is_cut_off_between_two_files_leaves_no_model(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, "pull", NAME, "--from", source)[0] == 0
    for file in (source / BASE, source / "LongLive/models/lora.pt"):
        file.write_bytes(file.read_bytes() + b"x")
    replace_file = os.replace

    def cut(partial: Path, goal: Path) -> None:
        if goal.name == "lora.pt":
            raise KeyboardInterrupt
        replace_file(partial, goal)

    monkeypatch.setattr("os.replace", cut)
    entry = catalog.find(NAME)
    with pytest.raises(KeyboardInterrupt):
        download.from_folder(entry, here, source, lambda *_: None, KnownHashes(entry, here.parent / "none"))
    assert PULLING in missing_files(catalog.find(NAME), here)


def test_a_model_whose_files_do_not_fit_is_no_longer_listed_as_here(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, "pull", NAME, "--from", source)[0] == 0
    _cut(here / "vae/diffusion_pytorch_model.safetensors")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: [])
    assert "cut short" in refusal(capsys, "pull", NAME)
    assert listed(capsys) == "to"  # to pull
    assert run(capsys, "pull", NAME, "--from", source)[0] == 0
    assert listed(capsys) == "here"


def test_without_a_network_a_pull_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    message = refusal(capsys, "pull", "self-forcing")
    assert "gdhe17/Self-Forcing" in message
    assert "--from FOLDER" in message


def test_a_download_is_compared_with_the_free_space_and_checked(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 10

    def hub(
        repo: str, *, revision: str | None, allow_patterns: list[str], local_dir: Path, dry_run: bool = False
    ) -> object:
        if dry_run:
            return [SimpleNamespace(file_size=size, will_download=True)]
        return shutil.copytree(source / ("LongLive" if "LongLive" in repo else "wan"), local_dir, dirs_exist_ok=True)

    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    assert run(capsys, "pull", NAME)[0] == 0
    assert listed(capsys) == "here"
    shutil.rmtree(here)
    (source / BASE).write_bytes(LFS)
    assert "git-lfs pointer" in refusal(capsys, "pull", NAME)
    assert listed(capsys) == "to"  # to pull
    size = 10**15
    assert "2000000.0 GB are needed" in refusal(capsys, "pull", NAME)


def test_parts_of_files_do_not_count_as_files(here: Path) -> None:
    entry = catalog.find(NAME)
    for name in ("models/longlive_base.pt.partial", "vae/config.json.partial", "tokenizer/.tokenizer.json"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("{}")
    assert len(missing_files(entry, here)) == 5
    for name in ("vae/config.json", "text_encoder/config.json", "tokenizer/readme.md"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("{}")
    assert missing_files(entry, here)[2:] == [
        "vae/*.safetensors", "text_encoder/*.safetensors", "tokenizer/tokenizer.json",
    ]  # fmt: skip
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (here / "text_encoder/model.safetensors.index.json").write_text(json.dumps(index))
    (here / "text_encoder/model-1-of-2.safetensors").touch()
    assert missing_files(entry, here)[3] == "text_encoder/model-2-of-2.safetensors"


# -- from a hub: revisions and hashes ------------------------------------------------------------------------------

LONGLIVE_REPO, WAN_REPO = (source.repo for source in catalog.LONGLIVE.sources)
COMMITS = {LONGLIVE_REPO: "c" * 40, WAN_REPO: "d" * 40}


@pytest.fixture
def served(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve the small model as the hub does, and pin its hashes at the commit that is served."""
    folders = {LONGLIVE_REPO: source / "LongLive", WAN_REPO: source / "wan"}
    with hub({repo: (COMMITS[repo], folder) for repo, folder in folders.items()}) as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        for repo, (commit, folder) in server.repositories.items():
            files = {n: hashlib.sha256(data).hexdigest() for n, data in contents(folder).items()}
            monkeypatch.setitem(PINS, repo, Pin(commit, files))
        yield server


def test_a_pull_fetches_the_pinned_revision_and_compares_every_hash(
    capsys: pytest.CaptureFixture[str], served: Hub, source: Path, here: Path
) -> None:
    code, out, err = run(capsys, "pull", NAME)
    assert code == 0, err
    assert "not pinned" not in out
    assert not (here.parent / LOCK).exists()  # nothing was trusted
    assert {k for k in contents(here) if not k.startswith(".cache")} == {
        k.split("/", 1)[1] for k in contents(source)
    } - {"readme.md"}
    fetched = [path for path in served.asked if "/resolve/" in path]
    assert all(any(f"/{repo}/resolve/{commit}/" in path for repo, commit in COMMITS.items()) for path in fetched)
    assert all(f"pinned    {commit}, " in run(capsys, "show", NAME)[1] for commit in COMMITS.values())


def test_a_file_with_another_hash_is_refused_in_one_line_and_not_left_behind(
    capsys: pytest.CaptureFixture[str], served: Hub, source: Path, here: Path
) -> None:
    right = (source / BASE).read_bytes()
    (source / BASE).write_bytes(right + b"x")
    message = refusal(capsys, "pull", NAME)
    assert "models/longlive_base.pt: has the SHA-256" in message
    assert message.endswith(f"not the file of {LONGLIVE_REPO}")
    assert not (here / "models" / "longlive_base.pt").exists()
    assert listed(capsys) == "to"  # to pull
    assert "instead of" in refusal(
        capsys, "pull", NAME, "--expect", f"sha256:{hashlib.sha256(right + b'x').hexdigest()}"
    )
    assert "instead of" in refusal(capsys, "pull", NAME, "--from", source)
    (source / BASE).write_bytes(right)
    before = len(served.asked)
    assert run(capsys, "pull", NAME)[0] == 0
    fetched = [path for path in served.asked[before:] if path.endswith("longlive_base.pt")]
    assert fetched  # only this file comes again
    assert listed(capsys) == "here"


def test_a_revision_that_the_hub_no_longer_has_is_reported(
    capsys: pytest.CaptureFixture[str], served: Hub, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PINS, LONGLIVE_REPO, Pin("0" * 40, {}))
    assert LONGLIVE_REPO in refusal(capsys, "pull", NAME)
    assert not here.exists() or not [n for n in contents(here) if not n.startswith(".cache")]


def test_what_is_not_pinned_is_said_trusted_once_and_compared_from_then_on(
    capsys: pytest.CaptureFixture[str], served: Hub, source: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(PINS, LONGLIVE_REPO)
    old = hashlib.sha256((source / BASE).read_bytes()).hexdigest()
    out = run(capsys, "pull", NAME)[1]
    assert "not pinned: models/longlive_base.pt" in out
    assert "not pinned: vae" not in out
    assert f"models/longlive_base.pt: sha256:{old} is kept in" in out
    assert json.loads((here.parent / LOCK).read_text())[LONGLIVE_REPO]["models/longlive_base.pt"] == old
    weights = torch.load(source / BASE)
    torch.save({**weights, "step": 4}, source / BASE)
    new = hashlib.sha256((source / BASE).read_bytes()).hexdigest()
    shutil.rmtree(here)
    served.repositories[LONGLIVE_REPO] = ("e" * 40, source / "LongLive")
    message = refusal(capsys, "pull", NAME)
    assert f"at its first pull it had {old}; if the change is meant, say --expect sha256:{new}" in message
    assert not (here / "models" / "longlive_base.pt").exists()
    lora = hashlib.sha256((source / "LongLive/models/lora.pt").read_bytes()).hexdigest()
    assert "which --expect does not name" in refusal(capsys, "pull", NAME, "--expect", f"sha256:{lora}")
    assert run(capsys, "pull", NAME, "--expect", f"sha256:{lora}", "--expect", f"sha256:{new}")[0] == 0
    assert run(capsys, "pull", NAME)[0] == 0  # now this one is known


@pytest.mark.parametrize("text", ["sha256:00", "md5:" + "0" * 32, "0" * 64])
def test_an_expected_hash_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert "--expect" in refusal(capsys, "pull", NAME, "--expect", text)


def test_an_empty_expected_hash_is_a_mistake_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "pull", NAME, "--expect", "")
    assert code == 2
    assert "--expect" in err


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"b": 1}}'])
def test_a_damaged_list_of_known_hashes_is_reported_and_not_ignored(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path, text: str
) -> None:
    here.parent.mkdir(parents=True, exist_ok=True)
    (here.parent / LOCK).write_text(text)
    assert LOCK in refusal(capsys, "pull", NAME, "--from", source)


def test_a_licence_that_is_not_free_is_confirmed_once(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path
) -> None:
    code, _, err = run(capsys, "pull", NAME, "--from", source, licence=False)
    assert code == 1
    assert "CC-BY-NC-SA-4.0" in err
    assert "say --accept-licence" in err
    assert not here.exists()
    assert run(capsys, "pull", NAME, "--from", source)[0] == 0
    assert run(capsys, "pull", NAME, "--from", source, licence=False)[0] == 0


def test_a_model_with_the_tiny_codec_asks_for_its_file(
    capsys: pytest.CaptureFixture[str], source: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TAE, TINY["out_channels"], TAE[16])
    assert "holds no taew2_1.pth" in refusal(capsys, "pull", NAME, "--codec", "tae", "--from", source)
    torch.save(TinyCodec(TAE[16]).state_dict(), source / "taew2_1.pth")
    shutil.rmtree(source / "wan" / "vae")
    assert run(capsys, "pull", NAME, "--codec", "tae", "--from", source)[0] == 0
    assert (here / "taew2_1.pth").is_file()
