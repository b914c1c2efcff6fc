"""Read configurations of models, and refuse invalid ones in one line before they cost time or memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.safetensors_header import read_header

_CONFIG_LIMIT = 4 << 20  # bytes of a configuration
_LARGEST = 1 << 20  # a number in a configuration; a vocabulary is the largest
_MOST_LAYERS = 256


def embedded_config(file: Path) -> dict[str, Any]:
    """Return the configuration in a safetensors file's header, empty if there is none; raise CheckpointError."""
    text = read_header(file).metadata.get("config", "{}")
    return parsed(text, file)


def config_of(path: Path) -> dict[str, Any]:
    """Return a config.json; raise CheckpointError if it cannot be read or a number is out of range."""
    return sound(settings_in(path), path)


def settings_in(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raise CheckpointError if it cannot be read or is none."""
    try:
        if path.stat().st_size > _CONFIG_LIMIT:
            raise CheckpointError(f"{path}: too large for a configuration")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{path}: cannot be read as a configuration") from e
    return parsed(text, path)


def parsed(text: str, path: Path) -> dict[str, Any]:
    """Parse a text as a JSON object; raise CheckpointError if it is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise CheckpointError(f"{path}: its configuration is no JSON") from e
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: its configuration is no table of settings")
    return content


def sound(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Raise CheckpointError for numbers that no model has, since building modules of them could exhaust memory."""
    for name, value in config.items():
        numbers = [v for v in (value if isinstance(value, list) else [value]) if type(v) in (int, float)]
        most = _MOST_LAYERS if "num_" in name else _LARGEST
        if any(not -most <= v <= most for v in numbers) or (isinstance(value, list) and len(value) > 4096):
            raise CheckpointError(f"{path}: {some_of([name])} is {str(value)[:40]}, which no model here can have")
    return config


@contextmanager
def built_of(path: Path, what: str) -> Iterator[None]:
    """Convert any error of a library about a configuration to a CheckpointError (context manager)."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as e:  # constructors of other libraries raise many kinds of errors
        reason = next((line.strip() for line in str(e).splitlines() if line.strip()), "")
        raise CheckpointError(f"{path}: no {what} can be made of it ({type(e).__name__}: {reason[:120]})") from e
