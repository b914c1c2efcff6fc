"""Name the kind of files that are no weights, and refuse damaged headers in one line without using memory."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from models.checkpoints.safetensors_header import read_header
from models.checkpoints.weight_files import CheckpointError, read

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as e:
        read(path)
    message = str(e.value)
    assert message.isprintable()
    assert str(path) in message
    assert "weights_only" not in message
    assert len(message) < 600
    return message.replace(str(path), "")


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"))
    return out.getvalue()


def _torch(content: object, *, zipped: bool = True) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def _npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.ones(3))
    return out.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5676070424\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Log in &amp; go on</title></head></html>"
KINDS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file"),
    "zeros": (bytes(5000), "zeros only"),
    "lfs": (LFS, "git-lfs pointer of 135 bytes for a file of 5,676,070,424 bytes"),
    "lfs with bom": (b"\xef\xbb\xbf" + LFS, "git-lfs pointer"),
    "annex": (b"../.git/annex/objects/x/y/SHA256E-s10--aa.pt", "git-annex pointer"),
    "page": (PAGE, "a web page called 'Log in & go on'"),
    "page after spaces": (b"\r\n\r\n  <HTML>\n<body>denied", "a web page"),
    "page in utf-16": ("<html><body>x".encode("utf-16"), "a web page"),
    "s3 error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "AccessDenied"),
    "hub error": (b'{"error": "Access to model\\n is restricted"}', "'Access to model is restricted'"),
    "api error": (b'{"detail":{"message":"rate limit"}}', "error message of a server"),
    "error in an envelope": (b'{"data":{"message":"rate limit"}}', "error message of a server (JSON: 'rate limit')"),
    "long error in an envelope": (b'{"data":{"message": "' + b"x" * 9000 + b'"}}', "error message of a server"),
    "brace as ninth byte of utf-16": ("abc{def}".encode("utf-16"), "a text (begins with 'abc{def}')"),
    "brace as ninth byte": (b"# notes {not weights}", "a text (begins with '# notes {not weights}')"),
    "page behind a comment": (b"<!-- proxy --><!doctype html><html>", "a web page"),
    "long error": (b'{"error": "' + b"x" * 9000 + b'"}', "error message of a server"),
    "index": (b'{"metadata": {}, "weight_map": {"a": "b"}}', "an index of parts"),
    "json": (b'{"hidden_size": 3}', "a JSON text"),
    "list": (b"[1, 2]", "a JSON text"),
    "text": (b"Sorry, gone.\n", "a text (begins with 'Sorry, gone.')"),
    "gguf": (b"GGUF" + bytes(60), "a GGUF file"),
    "gzip": (b"\x1f\x8b\x08" + bytes(30), "gzip"),
    "bzip2": (b"BZh91AY&SY" + bytes(30), "bzip2"),
    "xz": (b"\xfd7zXZ\x00" + bytes(30), "an xz archive"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(30), "Zstandard"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(30), "7-Zip"),
    "rar": (b"Rar!\x1a\x07" + bytes(30), "RAR"),
    "tar": (_tar(), "a tar archive"),
    "zip": (_zip({"model.safetensors": save(WEIGHTS)}), "a zip archive (1 files, the first is 'model.safetensors')"),
    "npz": (_npz(), "NumPy arrays"),
    "npy": (b"\x93NUMPY\x01\x00", "a NumPy array"),
    "torchscript": (_zip({"w/data.pkl": b"", "w/constants.pkl": b"", "w/code/x.py": b""}), "TorchScript"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(30), "HDF5"),
    "heic": (b"\x00\x00\x00\x18ftypheic" + bytes(30), "a HEIC picture"),
    "avif": (b"\x00\x00\x00\x18ftypavif" + bytes(30), "an AVIF picture"),
    "mp4": (b"\x00\x00\x00\x18ftypisom" + bytes(30), "an MP4 film"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(30), "a PNG picture"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(30), "a JPEG picture"),
    "webp": (b"RIFF\x00\x00\x00\x00WEBP" + bytes(30), "a WebP picture"),
    "pdf": (b"%PDF-1.7\n" + bytes(range(128, 200)), "a PDF"),
    "cut zip": (_torch(WEIGHTS)[:400], "cut short or damaged"),
    "noise": (bytes(range(150, 250)), "begins with the bytes 96 97"),
    "cut safetensors": (save(WEIGHTS)[:-8], "is cut short, 32 of 40 bytes of weights are here"),
    "longer safetensors": (save(WEIGHTS) + b"12345", "5 bytes follow its tensors"),
    "header only": (save(WEIGHTS)[:60], "it is cut short"),
    "no tensor": (save({}), "without a tensor"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_weights_is_called_what_it_is(kind: str, suffix: str, tmp_path: Path) -> None:
    content, says = KINDS[kind]
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert says in refusal(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin", "w.ckpt", "w", "W.SAFETENSORS", "w.png"])
def test_safetensors_are_read_under_any_name(name: str, tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / name)
    assert {k: v.tolist() for k, v in read(tmp_path / name).items()} == {k: v.tolist() for k, v in WEIGHTS.items()}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt", "w"])
def test_pickles_of_tensors_are_read_in_both_formats(name: str, zipped: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(_torch(WEIGHTS, zipped=zipped))
    assert {k: v.tolist() for k, v in read(tmp_path / name).items()} == {k: v.tolist() for k, v in WEIGHTS.items()}


def test_a_pickle_called_safetensors_is_refused(tmp_path: Path) -> None:
    for zipped, what in ((True, "a .pt file that is called"), (False, "a Python pickle that is called")):
        (tmp_path / "w.safetensors").write_bytes(_torch(WEIGHTS, zipped=zipped))
        assert what in refusal(tmp_path / "w.safetensors")


class Runs:
    """Pickle to a call of a function, which happens when the pickle is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("ran",))


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (_torch({"generator": Runs()}), "builtins.print"),
        (_torch({"generator": Runs()}, zipped=False), ""),
        (pickle.dumps(Runs(), protocol=2), ""),
        (_torch({"model": torch.nn.Linear(2, 2)}), "torch.nn.modules.linear.Linear"),
        (_torch({"w": torch.ones(2), "args": Path("x")}), "pathlib"),
    ],
)
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    content: bytes, names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    message = refusal(tmp_path / "w.pt")
    assert "holds more than weights" in message
    assert names in message
    assert "ran" not in capsys.readouterr().out


def test_a_pickle_that_is_cut_short_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(_torch(WEIGHTS, zipped=False)[:200])
    assert "cut short or damaged" in refusal(tmp_path / "w.pt")


def test_types_of_micro_scaled_formats_are_named(tmp_path: Path) -> None:
    header = json.dumps({"a.weight": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert "F8_E8M0" in refusal(tmp_path / "w.safetensors")


def _file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (struct.pack("<Q", 1 << 62) + b'{"a":1}', "its header should have"),
        (struct.pack("<Q", 1 << 40) + b"{" + bytes(99), "its header should have"),
        (_file(b'{"a": }'), "is no JSON"),
        (_file(b"{" + b'"a":[' * 9000 + b"]" * 9000 + b"}"), "is no JSON"),
        (_file(b'{"a": {"dtype": "F32"}, "a": {}}'), "names a twice"),
        (_file({"a": 3}), "cannot be understood"),
        (_file({"a": entry("F31")}, bytes(8)), "cannot be understood"),
        (_file({"a": entry(shape="22")}, bytes(8)), "does not fit the size"),
        (_file({"a": entry(shape=[-2, -1])}, bytes(8)), "does not fit the size"),
        (_file({"a": entry(shape=[1 << 40, 1 << 40])}, bytes(8)), "does not fit the size"),
        (_file({"a": entry(shape=[True, 2])}, bytes(8)), "does not fit the size"),
        (_file({"a": entry(shape=[2.0])}, bytes(8)), "does not fit the size"),
        (
            _file({"a": entry(shape=[10**12], offsets=[0, 4 * 10**12])}, bytes(8)),
            "is cut short, 8 of 4,000,000,000,000",
        ),
        (_file({"a": entry(), "b": entry()}, bytes(8)), "overlap b"),
        (_file({"a": entry(offsets=[8, 16])}, bytes(16)), "a gap before a"),
        (_file({"__metadata__": {"a": 1}}), "metadata are no texts"),
        (_file({"__metadata__": "x"}), "metadata are no texts"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert says in refusal(tmp_path / "w.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b'{"a":{"dtype":"F32","shape":[' + b"9," * 400_000 + b'9],"data_offsets":[0,8]}}', "does not fit the size"),
        (b"{" + b"".join(b'"%d":{},' % n for n in range(100_000)) + b'"99999":{}}', "names 99999 twice"),
    ],
    ids=["a tensor of many dimensions", "many names, the last of them twice"],
)
def test_a_long_header_is_refused_in_a_moment(header: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(_file(header, bytes(8)))
    began = time.process_time()
    assert says in refusal(tmp_path / "w.safetensors")
    assert time.process_time() - began < 3  # it took minutes, which grew with the square of the length


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["F32", "BF16", "I8"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BOOL", "F4", "I64", "?"]) | JSON,
        "shape": st.lists(st.integers(-1, 5) | st.integers(), max_size=4) | JSON,
        "data_offsets": st.lists(st.integers(0, 64) | st.integers(), min_size=2, max_size=2) | JSON,
    },
)
HEADERS = st.dictionaries(st.text(max_size=8) | st.just("__metadata__"), TENSOR | JSON, max_size=4)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=HEADERS | JSON, data=st.binary(max_size=64), length=st.none() | st.integers(0, 2**64 - 1))
def test_no_header_ends_in_anything_but_weights_or_a_line(
    tmp_path: Path, header: Any, data: bytes, length: int | None
) -> None:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    refused = ""
    try:
        assert set(read(tmp_path / "w.safetensors")) == set(read_header(tmp_path / "w.safetensors").tensors)
    except CheckpointError as e:
        refused = str(e)
    assert "\n" not in refused


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), zipped=st.booleans())
def test_no_damage_to_a_pickle_ends_in_anything_but_weights_or_a_line(
    tmp_path: Path, data: st.DataObject, zipped: bool
) -> None:
    whole = bytearray(_torch({"generator": WEIGHTS, "step": 3}, zipped=zipped))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "w.pt").write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    refused = ""
    try:
        read(tmp_path / "w.pt")
    except CheckpointError as e:
        refused = str(e)
    assert "\n" not in refused
    assert "weights_only" not in refused
