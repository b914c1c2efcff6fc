"""`longtake serve`: the studio and its HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands import ENGINE_HELP, CommandError, LogLevelOption
from app.log_output import LogLevel, configure


def serve(
    host: Annotated[str, typer.Option(help="any address but this machine's own needs a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="no token, although others can reach the address")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="certificate (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="private key (PEM)")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of takes")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Open the studio: a page on which a prompt changes the running video."""
    configure(log_level)
    from app.settings import from_environment

    settings = from_environment()
    local = host in ("127.0.0.1", "::1", "localhost")
    if not local and settings.token is None and not insecure:
        raise CommandError(f"{host} can be reached by others: set LONGTAKE_TOKEN, or say --insecure")
    if (tls_cert is None) != (tls_key is None):
        raise CommandError("--tls-cert and --tls-key go together")
    for file in (tls_cert, tls_key):
        if file is not None and not file.is_file():
            raise CommandError(f"{file}: no such file")
    import torch
    import uvicorn

    from app import gradio_page, server
    from app.engine_choice import check, chosen_or_torch
    from app.model_library import ModelLibrary
    from app.services import Services
    from streaming.live.device import DeviceThread
    from streaming.render_job import torch_device

    where = torch_device(device)
    if engine not in ("auto", "torch"):  # an engine that is missing is reported now, not by a server that is half up
        from models.catalog import POCKET
        from models.checkpoints.assemble import ASSETS, load

        check(load(POCKET, ASSETS, where, torch.float32), engine, settings.engines)
    library = ModelLibrary(
        settings.models,
        where,
        DeviceThread(),
        engine=engine,
        on_engine=lambda model: chosen_or_torch(model, engine, settings.engines),
    )
    services = Services(library, data or settings.data, ice_servers=settings.ice_servers)
    page = gradio_page.mount(server.create(services, settings, local=local))
    scheme = "https" if tls_cert else "http"
    print(f"Longtake listens on {scheme}://{host}:{port}", flush=True)
    uvicorn.run(
        page,
        host=host,
        port=port,
        log_config=None,  # `configure` has set up its loggers
        timeout_graceful_shutdown=3,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
