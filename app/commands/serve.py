"""The command that opens the studio."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from app.commands import ENGINE_HELP, CommandError
from models.checkpoints.folders import engines_folder, models_folder


def serve(
    host: Annotated[str, typer.Option(help="another address than this machine's own needs a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    insecure: Annotated[bool, typer.Option("--insecure", help="no token, whoever may reach the address")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="certificate (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="private key (PEM)")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of takes")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
) -> None:
    """Open the studio: a page on which a prompt turns the running video."""
    token = os.environ.get("LONGTAKE_TOKEN") or None
    local = host in ("127.0.0.1", "::1", "localhost")
    if not local and token is None and not insecure:
        raise CommandError(f"{host} can be reached by others: set LONGTAKE_TOKEN, or say --insecure")
    if (tls_cert is None) != (tls_key is None):
        raise CommandError("--tls-cert and --tls-key go together")
    for file in (tls_cert, tls_key):
        if file is not None and not file.is_file():
            raise CommandError(f"{file}: no such file")
    from app import gradio_page, server
    from app.engine_choice import check, chosen_or_torch
    from app.services import Studio, ice_servers
    from streaming.render_job import torch, torch_device

    where = torch_device(device)
    if engine not in ("auto", "torch"):  # what is missing is better said now than by a server that is half up
        from models.catalog import POCKET
        from models.checkpoints.assemble import ASSETS, load

        check(load(POCKET, ASSETS, where, torch.float32), engine, engines_folder())
    ice = ice_servers(os.environ.get("LONGTAKE_ICE"))
    studio = Studio(models_folder(), data or models_folder().parent / "studio", where, ice=ice)
    studio.engine_asked = engine
    studio.engine = lambda model: chosen_or_torch(model, engine, engines_folder())
    page = gradio_page.mount(server.create(studio, token, local=local))
    import uvicorn

    scheme = "https" if tls_cert else "http"
    print(f"Longtake listens on {scheme}://{host}:{port}", flush=True)
    tls = {"ssl_certfile": tls_cert, "ssl_keyfile": tls_key}
    uvicorn.run(page, host=host, port=port, log_level="warning", timeout_graceful_shutdown=3, **tls)
