"""Read the settings of the environment, in one place and typed.

`LONGTAKE_MODELS` and `XDG_DATA_HOME` are read by `models.checkpoints.folders`, because the programs of `exporters` and
`models.pocket` need them without this package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from models.checkpoints.folders import engines_folder, models_folder
from models.errors import UserError

TOKEN, ICE = "LONGTAKE_TOKEN", "LONGTAKE_ICE"


class SettingsError(UserError):
    """Report a value of the environment that cannot be used."""


class IceServer(BaseModel):
    """A STUN or TURN server as a browser's `RTCPeerConnection` takes it (W3C WebRTC, RTCIceServer)."""

    model_config = ConfigDict(extra="forbid")

    urls: str | list[str]
    username: str | None = None
    credential: str | None = None


_ICE_SERVERS = TypeAdapter(list[IceServer])


@dataclass(frozen=True)
class Settings:
    """Hold the values of the environment, with defaults for variables that are not set."""

    token: str | None  # LONGTAKE_TOKEN: what a request must carry; None: no token is needed
    ice_servers: list[IceServer]  # LONGTAKE_ICE: for browsers; the server itself uses none
    models: Path  # LONGTAKE_MODELS: folder of pulled models
    engines: Path  # folder of exported engines, beside the models
    data: Path  # folder of the studio's takes, beside the models


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; SettingsError names the variable whose value cannot be used."""
    models = models_folder()
    token = environment.get(TOKEN) or None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise SettingsError(f"{TOKEN} must be ASCII letters, digits and signs without spaces: a header carries it")
    return Settings(
        token=token,
        ice_servers=ice_servers(environment.get(ICE)),
        models=models,
        engines=engines_folder(),
        data=models.parent / "studio",
    )


def ice_servers(text: str | None) -> list[IceServer]:
    """Parse a JSON list of ICE servers; nothing gives an empty list, SettingsError if a browser would not take it."""
    if not text:
        return []
    try:
        return _ICE_SERVERS.validate_json(text)
    except ValidationError:
        example = '[{"urls": "turn:HOST", "username": "U", "credential": "C"}]'
        raise SettingsError(f"{ICE} must be a JSON list such as {example}") from None
