"""Read weights strictly from files in every layout in which causal Wan models are published.

Original Wan and Self-Forcing `.pt` files, LongLive's base + LoRA, diffusers folders and single safetensors files are
all converted to a diffusers state dict. The kind of a file is recognised by its content, not by its name.
"""

from __future__ import annotations

import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.file_kind import WeightFormat, found
from models.checkpoints.model_parts import parts_of, parts_of_index
from models.checkpoints.quantised_weights import FLOAT8, dequantised, dtype_name
from models.checkpoints.safetensors_header import UNREADABLE, read_header
from models.checkpoints.training_wrappers import LeftOut, StateDict, note, stripped, unwrapped
from models.checkpoints.wan_family import seems_to_be
from models.checkpoints.wan_names import diffusers_name


@dataclass(frozen=True)
class FileContent:
    """Hold the weights of a file, the metadata of its header, and its unused keys."""

    tensors: StateDict
    metadata: dict[str, str]
    left_out: tuple[LeftOut, ...]


def read(path: Path, wrapper: str | None = None) -> StateDict:
    """Return the tensors of a file, a diffusers folder or an index of parts: plain, without prefixes of wrappers.

    `wrapper` names the set of weights to take where a file holds several (`generator`, `generator_ema`); without it
    there must be exactly one. Unused keys are logged. Raises CheckpointError, which names what the file is instead.
    """
    content = read_content(path, wrapper)
    tensors, scales = dequantised(content.tensors, path)
    note(path, (*content.left_out, *scales))
    return tensors


def read_content(path: Path, wrapper: str | None = None) -> FileContent:
    """Return tensors as `read` does, but still quantised if the file is, with metadata and unused keys."""
    if path.is_dir() or path.name.endswith(".index.json"):
        files = parts_of(path) if path.is_dir() else parts_of_index(path)
        parts = [_loaded(file, wrapper) for file in files]
        joined = FileContent(
            {k: v for part in parts for k, v in part.tensors.items()},
            parts[0].metadata,
            tuple(out for part in parts for out in part.left_out),
        )
    else:
        joined = _loaded(path, wrapper)
    tensors, others = stripped(joined.tensors, path, wrapper)
    return FileContent(tensors, joined.metadata, (*joined.left_out, *others))


def _loaded(path: Path, wrapper: str | None) -> FileContent:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file")
    finding = found(path)
    if finding.format is None:
        raise CheckpointError(f"{path}: not weights; it is {finding.description}")
    if finding.format is WeightFormat.SAFETENSORS:
        header = read_header(path)
        strange = [k for k, t in header.tensors.items() if t.dtype in UNREADABLE]
        if strange:
            raise CheckpointError(
                f"{path}: holds micro-scaled weights ({some_of(strange, 1)} is {header.tensors[strange[0]].dtype}), "
                f"a format that is not read here; use the file with weights in bf16, fp16 or fp32"
            )
        if not header.tensors:
            raise CheckpointError(f"{path}: a safetensors file without a tensor in it")
        try:
            return FileContent(load_file(path), header.metadata, ())
        except Exception as e:  # the library's errors have no class in common
            raise CheckpointError(f"{path}: cannot be read as weights ({type(e).__name__})") from e
    if path.suffix == ".safetensors":
        raise CheckpointError(
            f"{path}: {finding.description} that is called .safetensors; a pickle is read only under its own name, "
            f"so call it .pt if it comes from where you trust"
        )
    tensors, left_out = unwrapped(_unpickled(path, finding.format), path, wrapper)
    odd = {k: what for k, t in tensors.items() if (what := _odd(t)) is not None}
    if odd:
        key, what = next(iter(odd.items()))
        raise CheckpointError(f"{path}: {some_of([key])} is a {what} tensor; use a file of plain weights")
    return FileContent(tensors, {}, tuple(left_out))


def _odd(tensor: Tensor) -> str | None:
    """Return the kind of a pickled tensor that is not plain or lacks its data; None for a plain one."""
    if tensor.is_meta:
        return "meta (empty)"
    if tensor.is_nested or tensor.is_quantized:
        return "nested" if tensor.is_nested else "quantised"
    return None if tensor.layout is torch.strided else str(tensor.layout).removeprefix("torch.")


def _unpickled(path: Path, form: WeightFormat) -> object:
    """Load a file of `torch.save` that holds only tensors and plain values; raise CheckpointError otherwise."""
    mapped = form is WeightFormat.TORCH_ZIP
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch asks for an issue to be filed when it sees an older pickle
            loaded: object = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as e:
        if "GLOBAL" not in str(e) and "unsupported" not in str(e).lower():
            raise CheckpointError(f"{path}: a .pt file that is cut short or damaged; fetch it again") from e
        raise CheckpointError(
            f"{path}: a pickle that holds more than weights{_foreign(path)}; reading that can run any program, so it "
            f"is refused: save its weights alone, or use a safetensors file"
        ) from e
    except Exception as e:  # a damaged file fails in many ways, an unpickler's stack that runs empty among them
        raise CheckpointError(f"{path}: a .pt file that is cut short or damaged; fetch it again") from e
    return loaded


def _foreign(path: Path) -> str:
    """Return the code that a pickle would run as a clause in brackets; empty if it cannot be determined."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # only a pickle in the zip format can be listed
        return ""
    return f" ({some_of(sorted(names))})" if names else ""


def as_diffusers(tensors: StateDict, path: Path | None = None) -> StateDict:
    """Return weights of a Wan transformer in diffusers' naming, leaving names that already follow it.

    Rotary tables are left out: they are computed here. CheckpointError if two names become one.
    """
    renamed: StateDict = {}
    for key, tensor in tensors.items():
        name = diffusers_name(key)
        if name in renamed:
            raise CheckpointError(f"{path or 'weights'}: holds {some_of([name])} twice, once as {some_of([key])}")
        renamed[name] = tensor
    return {k: v for k, v in renamed.items() if k not in ("freqs", "rope.freqs", "rope.freqs_cos", "rope.freqs_sin")}


def load_into(module: nn.Module, tensors: StateDict, path: Path, dtype: torch.dtype | None = None) -> None:
    """Load weights into a module strictly, as `dtype` or with the module's dtypes.

    Raises CheckpointError with the keys that are missing, unknown, of another shape, of integers or not finite.
    """
    wanted = module.state_dict()
    check_fit(wanted, tensors, path)
    converted = {k: t.to(dtype or wanted[k].dtype) if wanted[k].is_floating_point() else t for k, t in tensors.items()}
    endless = [k for k, t in converted.items() if not _finite(t)]
    if endless:
        raise CheckpointError(
            f"{path}: holds values that are no numbers (NaN or infinite) in {some_of(endless)}; "
            f"the file is damaged, or its training failed"
        )
    module.load_state_dict(converted, assign=any(p.is_meta for p in module.parameters()))


def check_fit(wanted: StateDict, tensors: StateDict, path: Path) -> None:
    """Check names, shapes and dtypes of `tensors` against a module; raise CheckpointError with the differences."""
    missing = [k for k in wanted if k not in tensors]
    unexpected = [k for k in tensors if k not in wanted]
    shapes = [k for k in wanted if k in tensors and tensors[k].shape != wanted[k].shape]
    whole = [k for k in wanted if k in tensors and wanted[k].is_floating_point() and not tensors[k].is_floating_point()]
    if whole:
        raise CheckpointError(
            f"{path}: {some_of(whole, 1)} is {dtype_name(tensors[whole[0]])} instead of floating point: quantised "
            f"weights of a kind that is not known here; use the file with weights in bf16, fp16 or fp32"
        )
    if not (missing or unexpected or shapes):
        return
    parts = [f"{label} {some_of(keys)}" for label, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    if shapes:
        k = shapes[0]
        more = f" and {len(shapes) - 1} more differ" if len(shapes) > 1 else ""
        parts.append(f"{k} is {tuple(tensors[k].shape)} instead of {tuple(wanted[k].shape)}{more}")
    raise CheckpointError(f"{path}: {'; '.join(parts)} — {_cause(wanted, tensors, missing, unexpected, shapes)}")


def _cause(wanted: StateDict, tensors: StateDict, missing: list[str], unexpected: list[str], shapes: list[str]) -> str:
    if missing and not unexpected and not shapes and len(missing) < len(wanted):
        return "probably an incomplete file, or one part of several"
    known = seems_to_be(tensors)
    expected = seems_to_be(wanted)
    if known is not None and known != expected:
        return f"this seems to be {known}" + (f", and what is wanted is {expected}" if expected else "")
    if any(tensors[k].numel() == 0 for k in shapes):
        return "empty places of a DeepSpeed ZeRO-3 training: join its pieces with zero_to_fp32.py"
    if len(missing) == len(wanted):
        return "probably these are the weights of something else"
    if shapes:
        return "probably a model of another size"
    return "probably another version or variant of the model"


def _finite(tensor: Tensor) -> bool:
    """Return whether all values are finite; a sum tells it at once, unless it overflows."""
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    plain = tensor.bfloat16() if tensor.dtype in FLOAT8 else tensor
    return bool(plain.sum(dtype=torch.float32).isfinite()) or bool(plain.isfinite().all())
