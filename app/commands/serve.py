"""Serve the studio and its HTTP API (`longtake serve`)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import CommandError
from app.commands.options import (
    CodecOption,
    DeviceOption,
    EngineOption,
    LogLevelOption,
    LoraOption,
    PortOption,
    VramOption,
    fitting_of,
)
from app.commands.outputs import require_folder
from app.log_output import LogLevel, configure
from app.shared_heaps import share_heaps

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.fitting import Fitting
    from app.settings import Settings
    from streaming.speech.voices.text_voice import TextVoice

LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(
    host: Annotated[str, typer.Option(help="any address but this machine's own needs a token")] = "127.0.0.1",
    port: PortOption = 7860,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="no token, although others can reach the address")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="certificate (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="private key (PEM)")] = None,
    public_url: Annotated[
        str | None, typer.Option(help="where browsers find this server behind a proxy: https://example.org/longtake")
    ] = None,
    publish_to: Annotated[
        str | None,
        typer.Option(help="send each session's film to a WHIP receiver too: https://example.org/whip/{session}"),
    ] = None,
    osc: Annotated[
        str | None, typer.Option(help="obey Open Sound Control at this UDP port of this machine, or at HOST:PORT")
    ] = None,
    voice: Annotated[
        str,
        typer.Option(
            help="reads texts for avatars: espeak-ng, hibari (neural, English), an http address that answers "
            "as OpenAI's /v1/audio/speech, or a command that reads text and writes raw sound: 'piper --output-raw …'"
        ),
    ] = "espeak-ng",
    voice_rate: Annotated[
        int | None,
        typer.Option(min=8000, max=48_000, help="samples a second (16 bits, mono) of a command or an address"),
    ] = None,
    voice_body: Annotated[
        str | None, typer.Option(help="""further fields of the requests to an address: '{"model": …, "voice": …}'""")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="folder of takes")] = None,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    codec: CodecOption = None,
    vram: VramOption = None,
    lora: LoraOption = None,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Open the studio: a page on which a prompt changes the running video.

    Environment variables: LONGTAKE_TOKEN (what requests must carry), LONGTAKE_ICE (STUN and TURN servers, JSON),
    LONGTAKE_TURN_SECRET (shared with TURN servers, for credentials that expire), LONGTAKE_ORIGINS (other sites whose
    pages may use the API), LONGTAKE_PROXIES (addresses whose X-Forwarded-For is believed), LONGTAKE_GRACE (seconds that
    a session outlives its last viewer and command), LONGTAKE_KEEP_SPEECH (no: speech is deleted with its session),
    LONGTAKE_VOICE_TOKEN (for the address of --voice), LONGTAKE_PUBLISH_TOKEN (for that of --publish-to),
    LONGTAKE_VIDEO_KEYS (NAME:KEY pairs that order films by /v1/videos), LONGTAKE_MODELS (folder of models).
    """
    configure(log_level)
    share_heaps()
    from app import listening
    from app.data_folder import require_alone
    from app.settings import from_environment, public_address, publish_target

    settings = replace(from_environment(), public=public_address(public_url))
    settings = replace(settings, publish=publish_target(publish_to, settings.publish_token))
    reached = public_url or (None if host.lower() in LOCAL else host)
    if reached is not None and settings.token is None and not insecure:
        raise CommandError(f"{reached} can be reached by others: set LONGTAKE_TOKEN, or say --insecure")
    if insecure and settings.token is not None:
        raise CommandError("--insecure and LONGTAKE_TOKEN exclude each other: leave one of them out")
    listening.require_certificate(tls_cert, tls_key)
    folder = data or settings.data
    require_folder(folder)
    os.umask(0o077)  # takes, speech and films are for the user of the server alone
    sockets = listening.bound(host, port)
    require_alone(folder)
    control = listening.bound_datagrams(osc) if osc is not None else None
    from app.voice_choice import voice_of  # it imports PyAV, which mistakes in other options need not wait for

    reader = voice_of(voice, voice_rate, voice_body, settings.voice_token)
    shown = settings.public or listening.url(host, port, secure=tls_cert is not None)
    print(f"Longtake listens on {shown}", flush=True)
    import uvicorn

    from app.answer_headers import AnswerHeaders
    from app.bounded_connections import BACKLOG, BoundedConnection, raise_descriptors
    from app.opening import Opening
    from app.paced_socket import PacedSocket
    from app.security import BODY_LIMIT
    from app.standing_objects import set_standing_objects_aside

    raise_descriptors()
    BoundedConnection.proxies = settings.proxies

    def build(say: Callable[[str], None]) -> FastAPI:
        chosen = "torch" if lora and engine == "auto" else engine  # where the scales can change
        fitting = replace(fitting_of(codec, vram), among_others=True)
        studio = _studio(
            settings, folder, device, chosen, fitting, lora or (), say, local=reached is None, osc=control, voice=reader
        )
        set_standing_objects_aside()
        return studio

    def stop() -> None:
        server.should_exit = True

    opening = Opening(build, stop)
    server = uvicorn.Server(
        uvicorn.Config(
            AnswerHeaders(opening),
            http=BoundedConnection,
            ws=PacedSocket,
            ws_max_size=BODY_LIMIT,
            backlog=BACKLOG,
            proxy_headers=False,  # `app.server` believes those of the proxies that are listed, and no others
            server_header=False,
            log_config=None,  # `configure` has set up its loggers
            timeout_graceful_shutdown=3,
            ssl_certfile=tls_cert,
            ssl_keyfile=tls_key,
        )
    )
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        if opening.loading:  # the thread that imports cannot be stopped, and a normal exit would wait for it
            print("interrupted", file=sys.stderr, flush=True)
            os._exit(130)
        raise
    if opening.failure is not None:
        raise opening.failure


def _studio(
    settings: Settings,
    data: Path,
    device: str,
    engine: str,
    fitting: Fitting,
    loras: Sequence[str],
    say: Callable[[str], None],
    *,
    local: bool,
    osc: socket.socket | None,
    voice: TextVoice,
) -> FastAPI:
    """Import the studio's modules and build it; `say` is called with the name of each part as it loads."""
    say("PyTorch")
    import torch

    say("the server")
    from app import server
    from app.engine_choice import check, chosen_or_torch, require_installed, runs_in_torch
    from app.loaded_model import torch_device
    from app.model_library import ModelLibrary
    from app.services import Services
    from models.checkpoints.added import register
    from streaming.live.device import DeviceThread
    from streaming.speech.voices.hibari_voice import HibariVoice
    from streaming.take.take_loras import merged_loras, offered

    register(settings.models)
    where = torch_device(device)
    # an engine that is missing is reported now, not by a server that is half up
    if engine != "auto" and not runs_in_torch(engine):
        from models.catalog import POCKET
        from models.checkpoints.assemble import ASSETS, load

        require_installed(engine)
        say(f"the engine {engine}")
        model = load(POCKET, ASSETS, where, torch.float32)
        if loras:
            model, _ = merged_loras(model, loras)  # an engine has them for good
        check(model, engine, settings.engines)
    library = ModelLibrary(
        settings.models,
        where,
        DeviceThread(),
        engine=engine,
        loras=offered(loras),
        fitting=fitting,
        on_engine=lambda read: chosen_or_torch(read, engine, settings.engines),
    )
    if isinstance(voice, HibariVoice):
        say("the voice hibari")
        voice.load()
    services = Services.of(settings, library, data, voice)
    say("the page")
    from app import gradio_page

    page = gradio_page.mount(server.create(services, settings, local=local, osc=osc))
    say("the model pocket")
    return page
