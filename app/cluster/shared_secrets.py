"""Keep what an ingress and its workers share, so that a new ingress reaches the workers of the last one."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import replace
from pathlib import Path

from app import __version__
from app.built_services import StudioOptions
from app.cluster.worker_server import WorkerOptions
from app.log_output import LogLevel

BYTES = 32


def secret_of(data: Path) -> bytes:
    """Return the secret in the shared folder of takes, which is made if there is none; OSError as of the folder."""
    path = data / "cluster.key"
    with contextlib.suppress(FileExistsError):
        made = data / f".cluster.key.{secrets.token_hex(4)}"
        made.touch(mode=0o600)
        made.write_bytes(secrets.token_bytes(BYTES))
        try:
            os.link(made, path)  # whole, and one alone where two are made at once
        finally:
            made.unlink()
    return path.read_bytes()


def worker_options(studio: StudioOptions, log_level: LogLevel, secret: bytes) -> WorkerOptions:
    """Return the options of the workers of an ingress with this secret."""
    inner, links = (hmac.digest(secret, purpose, hashlib.sha256) for purpose in (b"ingress", b"links"))
    # where it answers and whom it believes is the ingress's own affair
    studio = replace(studio, settings=replace(studio.settings, token=None, video_keys={}))
    described = f"{__version__} {studio} {log_level}"
    release = hmac.digest(secret, described.encode(), hashlib.sha256).hex()[:12]
    return WorkerOptions(studio, log_level, inner.hex(), links, release)
