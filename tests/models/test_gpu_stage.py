"""The lease's training at a small fraction of its size, on the CPU."""

import re
from pathlib import Path

import pytest
import torch

from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.pocket import weights
from models.pocket.training.clips import draw_pair
from models.pocket.training.drawing_pool import DrawingPool
from models.pocket.training.gpu_stage import train_on_device


@pytest.mark.long
@pytest.mark.timeout(400)
def test_clips_are_drawn_encoded_and_learned_from_within_the_lease(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    config = TinyCodecConfig(
        latent_channels=32, patch_size=4, encoder_width=16, encoder_strides=(2, 2, 1),
        decoder_widths=(16, 16, 8, 8), decoder_scales=(2, 2, 1),
    )  # fmt: skip
    with DrawingPool(draw_pair, 1, 4, 0) as pool:
        train_on_device(TinyCodec(config), tmp_path, 110, torch.device("cpu"), pool)
        losses = [float(x) for x in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)]
        assert losses[-1] < 0.6 * losses[0]
        file = tmp_path / "transformer.safetensors"
        first = weights.history(file)[-1]
        assert float(first["steps"]) > 0
        assert (tmp_path / "sheet.png").stat().st_size > 10_000
        later = tmp_path / "later"
        later.mkdir()
        train_on_device(TinyCodec(config), later, 60, torch.device("cpu"), pool, start=file)
    assert weights.history(later / file.name)[0] == first
    again = [float(x) for x in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)]
    assert again[0] < 0.8 * losses[0]
