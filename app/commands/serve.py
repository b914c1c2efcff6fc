"""`longtake serve`: the studio and its HTTP API."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import CommandError
from app.commands.options import DeviceOption, EngineOption, LogLevelOption, PortOption
from app.commands.outputs import require_folder
from app.log_output import LogLevel, configure

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.settings import Settings

LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(
    host: Annotated[str, typer.Option(help="any address but this machine's own needs a token")] = "127.0.0.1",
    port: PortOption = 7860,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="no token, although others can reach the address")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="certificate (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="private key (PEM)")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of takes")] = None,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Open the studio: a page on which a prompt changes the running video."""
    configure(log_level)
    from app import listening
    from app.settings import from_environment

    settings = from_environment()
    local = host.lower() in LOCAL
    if not local and settings.token is None and not insecure:
        raise CommandError(f"{host} can be reached by others: set LONGTAKE_TOKEN, or say --insecure")
    if insecure and settings.token is not None:
        raise CommandError("--insecure and LONGTAKE_TOKEN exclude each other: leave one of them out")
    listening.require_certificate(tls_cert, tls_key)
    folder = data or settings.data
    require_folder(folder)
    sockets = listening.bound(host, port)
    print(f"Longtake listens on {listening.url(host, port, secure=tls_cert is not None)}", flush=True)
    import uvicorn

    from app.opening import Opening

    def build(say: Callable[[str], None]) -> FastAPI:
        return _studio(settings, folder, device, engine, say, local=local)

    def stop() -> None:
        server.should_exit = True

    opening = Opening(build, stop)
    server = uvicorn.Server(
        uvicorn.Config(
            opening,
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
    settings: Settings, data: Path, device: str, engine: str, say: Callable[[str], None], *, local: bool
) -> FastAPI:
    """Import what the studio is made of, and build it; `say` gets what is loading now."""
    say("PyTorch")
    import torch

    say("the server")
    from app import server
    from app.engine_choice import check, chosen_or_torch, require_installed
    from app.loaded_model import torch_device
    from app.model_library import ModelLibrary
    from app.services import Services
    from streaming.live.device import DeviceThread

    where = torch_device(device)
    if engine not in ("auto", "torch"):  # an engine that is missing is reported now, not by a server that is half up
        from models.catalog import POCKET
        from models.checkpoints.assemble import ASSETS, load

        require_installed(engine)
        say(f"the engine {engine}")
        check(load(POCKET, ASSETS, where, torch.float32), engine, settings.engines)
    library = ModelLibrary(
        settings.models,
        where,
        DeviceThread(),
        engine=engine,
        on_engine=lambda model: chosen_or_torch(model, engine, settings.engines),
    )
    services = Services(library, data, ice_servers=settings.ice_servers)
    say("the page")
    from app import gradio_page

    page = gradio_page.mount(server.create(services, settings, local=local))
    say("the model pocket")
    return page
