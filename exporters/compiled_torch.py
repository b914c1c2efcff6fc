"""Run a model in torch with compiled blocks: what lies before, between and after their attentions is one kernel each.

The compiler is torch.compile's inductor. What it makes is kept in a folder, so that a later start only loads it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from torch._dynamo.exc import TorchDynamoException
from torch._inductor.exc import InductorError

from exporters.artifacts import ExportError
from exporters.engine_modules import Say
from exporters.rollouts import roll, script
from models.checkpoints.assemble import Model
from models.transformer import CausalWanTransformer

FOLDER = "compiled"
KEPT_IN = "TORCHINDUCTOR_CACHE_DIR"  # the variable that torch reads


def compiled(model: Model, folder: Path, say: Say) -> Model:
    """Compile the blocks of a model that torch runs, and draw two chunks so that nobody waits for the compiler later.

    What is compiled is kept in `folder`, unless the environment names another place; `say` is called with the seconds
    that it took. ExportError if the compiler fails.
    """
    network = model.generator.transformer
    assert isinstance(network, CausalWanTransformer), "engines have their own compilers"
    if network.compiled:
        return model
    os.environ.setdefault(KEPT_IN, str(folder / FOLDER))
    network.compile_blocks()
    began = time.monotonic()
    try:
        for _ in roll(model, script(0, 2, (1,))):  # a first chunk, a switch with its recache, and a chunk with a past
            pass
    except (TorchDynamoException, InductorError, OSError) as e:
        network.leave_blocks_uncompiled()
        reason = next(iter(str(e).strip().splitlines()), type(e).__name__)
        raise ExportError(f"torch cannot compile blocks here ({reason[:200]}); use --engine torch") from e
    say(f"engine: torch with compiled blocks, ready after {time.monotonic() - began:.1f} s")
    return model
