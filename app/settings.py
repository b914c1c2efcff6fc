"""Read and check the settings that environment variables hold.

`LONGTAKE_MODELS` and `XDG_DATA_HOME` are read by `models.checkpoints.folders`, because the programs of `exporters` and
`models.pocket` need them without this package.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import TypeAdapter, ValidationError

from app.origins import Origin, PublicAddress, address_of, origin_of
from models.checkpoints.folders import engines_folder, models_folder
from models.errors import UserError
from streaming.transport.ice_server import IceServer
from streaming.transport.publish_target import PublishTarget

TOKEN, ICE, TURN_SECRET = "LONGTAKE_TOKEN", "LONGTAKE_ICE", "LONGTAKE_TURN_SECRET"
ORIGINS, PROXIES = "LONGTAKE_ORIGINS", "LONGTAKE_PROXIES"
GRACE, SPEECH, VOICE_TOKEN = "LONGTAKE_GRACE", "LONGTAKE_KEEP_SPEECH", "LONGTAKE_VOICE_TOKEN"
VIDEO_KEYS, PUBLISH_TOKEN = "LONGTAKE_VIDEO_KEYS", "LONGTAKE_PUBLISH_TOKEN"
LEAST_KEY = 16  # characters
GRACE_SECONDS = 20  # the default
MOST_GRACE = 24 * 3600
OWN_PATHS = (
    "api",
    "v1",
    "avatar",
    "page",
    "watch",
    "whep",
    "login",
    "logout",
    "docs",
    "assets",
    "static",
    "gradio_api",
)


class SettingsError(UserError):
    """Report an environment variable with an invalid value."""


_ICE_SERVERS = TypeAdapter(list[IceServer])


@dataclass(frozen=True)
class Settings:
    """Hold the values of environment variables, with defaults for those not set."""

    token: str | None  # LONGTAKE_TOKEN: what a request must carry; None: no token is needed
    ice_servers: list[IceServer]  # LONGTAKE_ICE: for peers and for the server's own connections
    models: Path  # LONGTAKE_MODELS: folder of pulled models
    engines: Path  # folder of exported engines, beside the models
    data: Path  # folder of the studio's takes, beside the models
    origins: tuple[Origin, ...] = ()  # LONGTAKE_ORIGINS: pages of other sites that may use the API
    proxies: tuple[str, ...] = ()  # LONGTAKE_PROXIES: addresses or networks whose X-Forwarded-… headers are believed
    grace: float = GRACE_SECONDS  # LONGTAKE_GRACE: seconds that a session outlives its last viewer and command
    keep_speech: bool = True  # LONGTAKE_KEEP_SPEECH: whether an avatar's sound stays after its session
    turn_secret: str | None = None  # LONGTAKE_TURN_SECRET: makes the credentials of TURN servers that have none
    voice_token: str | None = None  # LONGTAKE_VOICE_TOKEN: for the server that reads texts, if there is one
    video_keys: Mapping[str, str] = field(default_factory=dict)  # LONGTAKE_VIDEO_KEYS: owner → key for /v1/videos
    publish_token: str | None = None  # LONGTAKE_PUBLISH_TOKEN: for the receiver of --publish-to
    publish: PublishTarget | None = None  # where films are published
    public: PublicAddress | None = None  # where browsers reach the server, if not where it listens


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; raise SettingsError with the name of a variable whose value is invalid."""
    models = models_folder()
    return Settings(
        token=token(environment.get(TOKEN)),
        ice_servers=ice_servers(environment.get(ICE), environment.get(TURN_SECRET)),
        turn_secret=environment.get(TURN_SECRET) or None,
        models=models,
        engines=engines_folder(),
        data=models.parent / "studio",
        origins=origins(environment.get(ORIGINS)),
        proxies=proxies(environment.get(PROXIES)),
        grace=grace(environment.get(GRACE)),
        voice_token=environment.get(VOICE_TOKEN) or None,
        publish_token=token(environment.get(PUBLISH_TOKEN), PUBLISH_TOKEN),
        keep_speech=switch(SPEECH, environment.get(SPEECH), default=True),
        video_keys=video_keys(environment.get(VIDEO_KEYS), environment.get(TOKEN)),
    )


def render_threads(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the threads of a render that OMP_NUM_THREADS asks for; None if it names no single number of them."""
    text = environment.get("OMP_NUM_THREADS", "")
    return int(text) if re.fullmatch(r"[1-9]\d{0,3}", text, re.ASCII) else None


def token(text: str | None, name: str = TOKEN) -> str | None:
    """Return a token, or None for an empty one; raise SettingsError if a header or form would change it."""
    if text and (text != text.strip() or not text.isprintable()):
        raise SettingsError(f"{name} must not begin or end with spaces, or hold control characters")
    return text or None


def origins(text: str | None) -> tuple[Origin, ...]:
    """Parse origins separated by spaces or commas; raise SettingsError for anything else, `*` included."""
    read = []
    for word in _words(text):
        origin = origin_of(word)
        if origin is None:
            raise SettingsError(
                f"{ORIGINS}: {word[:60]!r} is no origin such as https://example.org or http://host:8000"
            )
        read.append(origin)
    return tuple(read)


def proxies(text: str | None) -> tuple[str, ...]:
    """Parse IP addresses and networks separated by spaces or commas; raise SettingsError for anything else."""
    for word in _words(text):
        try:
            ipaddress.ip_network(word)
        except ValueError:
            raise SettingsError(f"{PROXIES}: {word[:60]!r} is no address such as 10.0.0.7 or 10.0.0.0/24") from None
    return tuple(_words(text))


def public_address(text: str | None) -> PublicAddress | None:
    """Parse `--public-url`, where None means no proxy; raise SettingsError for an address that cannot be served."""
    if text is None:
        return None
    address = address_of(text)
    if address is None:
        raise SettingsError(f"--public-url: {text[:200]!r} is no address such as https://example.org/longtake")
    if address.path.partition("/")[2].partition("/")[0] in OWN_PATHS:
        raise SettingsError(f"--public-url: the server has {address.path} as a path of its own; choose another")
    return address


def publish_target(text: str | None, token: str | None) -> PublishTarget | None:
    """Parse `--publish-to`, where None means nowhere; raise SettingsError for what is no address of a receiver."""
    if text is None:
        return None
    try:
        url = httpx.URL(text.replace("{session}", "session"))
        known = url.scheme in ("http", "https") and bool(url.host) and (url.port is None or 0 < url.port < 65536)
    except (httpx.InvalidURL, UnicodeError):  # UnicodeError is that of IDNA
        known = False
    if not known or re.search(r"[{}\s#]", text.replace("{session}", "")):
        raise SettingsError(f"--publish-to: {text[:200]!r} is no address such as https://example.org/whip/{{session}}")
    if url.userinfo:
        raise SettingsError(f"--publish-to: an address without user and password, please; set {PUBLISH_TOKEN}")
    if token is not None and not token.isascii():
        raise SettingsError(f"{PUBLISH_TOKEN} has characters that no header carries; use ASCII")
    return PublishTarget(text, token)


def grace(text: str | None) -> float:
    """Parse a number of seconds; raise SettingsError unless it lies between 1 and a day."""
    try:
        seconds = float(text or GRACE_SECONDS)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= MOST_GRACE:
        raise SettingsError(f"{GRACE} must be a number of seconds from 1 to {MOST_GRACE}, not {text!r}")
    return seconds


def video_keys(text: str | None, token: str | None) -> dict[str, str]:
    """Parse NAME:KEY pairs separated by spaces or commas; raise SettingsError for a key that could be guessed."""
    keys: dict[str, str] = {}
    for word in _words(text):
        name, colon, key = word.partition(":")
        if not colon or not re.fullmatch(r"[\w-]{1,40}", name, re.ASCII) or name in keys:
            raise SettingsError(f"{VIDEO_KEYS} must be pairs such as alice:KEY bob:KEY, each name once")
        if len(key) < LEAST_KEY or not key.isprintable():
            raise SettingsError(f"{VIDEO_KEYS}: the key of {name} needs at least {LEAST_KEY} characters")
        if key in keys.values() or key == token:
            raise SettingsError(f"{VIDEO_KEYS}: the key of {name} is another's too, or {TOKEN}")
        keys[name] = key
    return keys


def switch(name: str, text: str | None, *, default: bool) -> bool:
    """Parse yes or no; raise SettingsError for another word."""
    if not text:
        return default
    if text.lower() not in ("yes", "no"):
        raise SettingsError(f"{name} must be yes or no, not {text[:60]!r}")
    return text.lower() == "yes"


def _words(text: str | None) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text or "") if word]


def ice_servers(text: str | None, secret: str | None = None) -> list[IceServer]:
    """Parse a JSON list of ICE servers, empty for an empty text; raise SettingsError if a browser would refuse it.

    With a secret the TURN servers may have no user name and credential, and at least one of them has none.
    """
    try:
        servers = _ICE_SERVERS.validate_json(text) if text else []
    except ValidationError:
        example = '[{"urls": "turn:HOST", "username": "U", "credential": "C"}]'
        raise SettingsError(f"{ICE} must be a JSON list such as {example}") from None
    lacking = any(server.lacks_credentials for server in servers)
    if lacking and not secret:
        raise SettingsError(f"{ICE}: a TURN server needs username and credential, or {TURN_SECRET}")
    if secret and not lacking:
        raise SettingsError(f"{TURN_SECRET} is set, and {ICE} has no TURN server without username and credential")
    return servers
