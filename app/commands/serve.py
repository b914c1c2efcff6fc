"""Serve the studio and its HTTP API (`longtake serve`)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import CommandError
from app.commands.cluster_options import numbers_of
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

    from app.built_services import StudioOptions

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
    ray: Annotated[
        str | None,
        typer.Option(
            help="have the sessions in workers of a Ray cluster: its address, auto, or local for one on this machine; "
            "--data is then a folder that all of its nodes share"
        ),
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="with --ray: how many workers there may be, such as 2; 1..8 without it")
    ] = None,
    spare: Annotated[
        int | None, typer.Option(min=0, help="with --ray: workers kept free for the next sessions; 1 without it")
    ] = None,
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
    numbers = numbers_of(ray, workers, spare, osc)
    from app import listening
    from app.built_services import StudioOptions, VoiceChoice
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
    require_alone(folder, workers=ray is not None)
    control = listening.bound_datagrams(osc) if osc is not None else None
    reader = VoiceChoice(voice, voice_rate, voice_body, settings.voice_token)
    reader.made()  # a mistake in it is told now
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

    chosen = "torch" if lora and engine == "auto" else engine  # where the scales can change
    fitting = replace(fitting_of(codec, vram), among_others=True)
    options = StudioOptions(settings, folder, device, chosen, fitting, tuple(lora or ()), reader)

    def build(say: Callable[[str], None]) -> FastAPI:
        studio = (
            _studio(options, say, local=reached is None, osc=control)
            if ray is None
            else _ingress(options, say, ray, numbers, log_level, local=reached is None)
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


def _studio(options: StudioOptions, say: Callable[[str], None], *, local: bool, osc: socket.socket | None) -> FastAPI:
    """Build the studio with its sessions in this process; `say` is called with the name of each part as it loads."""
    from app.built_services import built_services

    services = built_services(options, say)
    say("the page")
    from app import gradio_page, server

    page = gradio_page.mount(server.create(services, options.settings, local=local, osc=osc))
    say("the model pocket")
    return page


def _ingress(
    options: StudioOptions,
    say: Callable[[str], None],
    address: str,
    numbers: tuple[int, int, int],
    log_level: LogLevel,
    *,
    local: bool,
) -> FastAPI:
    """Build the studio with its sessions in workers of the Ray cluster at an address: least, most and spare ones."""
    from app.built_services import built_services

    services = built_services(options, say, alone=False)
    say("the page")
    from app import gradio_page, server
    from app.cluster.ingress import Ingress
    from app.cluster.placement import Bounds
    from app.cluster.ray_fleet import RayFleet
    from app.cluster.shared_secrets import secret_of, worker_options

    secret = secret_of(options.data)
    shared = worker_options(options, log_level, secret)
    ingress = Ingress(RayFleet(address, shared), Bounds(*numbers), services, shared)
    say("the workers")
    return gradio_page.mount(server.create(services, options.settings, local=local, ingress=ingress), endpoints=False)
