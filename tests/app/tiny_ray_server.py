"""Run the command line with a tiny random model in the place of pocket, also in the workers of a Ray cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.cluster import placement
from app.model_library import ModelLibrary
from models.checkpoints.assemble import Model
from streaming.live import admission

_made: dict[str, Model] = {}


async def load(library: ModelLibrary, name: str) -> Model:
    """Return the tiny model, whatever is asked for."""
    from conftest import tiny_model

    if name not in _made:
        _made[name] = tiny_model()
    library._loaded[name] = _made[name]
    return _made[name]


def tiny() -> None:
    """Have every library load the tiny model."""
    ModelLibrary.load = load  # type: ignore[method-assign]
    # a busy machine measures that nothing fits, and the tests are of what moves
    placement.CAPACITY = admission.CAPACITY = 20.0  # type: ignore[misc,assignment]


def serve() -> None:
    """Run the command line, with workers that have the tiny model too."""
    from app.cluster import ray_fleet

    class WorkerActor(ray_fleet.WorkerActor):
        def __init__(self, *given: Any) -> None:
            import tiny_ray_server

            tiny_ray_server.tiny()
            super().__init__(*given)

    ray_fleet.WorkerActor = WorkerActor  # type: ignore[misc]
    tiny()
    from app.cli import main

    main()


if __name__ == "__main__":
    serve()
