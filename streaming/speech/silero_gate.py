"""Detect speech with Silero VAD (github.com/snakers4/silero-vad, MIT), a network of 0.3 million parameters.

The weights come with the package silero-vad and run in ONNX Runtime: 0.3 ms on one core for a window of 32 ms. Nothing
of the package is imported, since it would import torch's audio part.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.speech.energy_gate import level_of
from streaming.speech.voice_activity import Block, Detector, Gate

RATE = 16_000
WINDOW = 512  # samples that the network judges at a time: 32 ms
CONTEXT = 64  # samples before them that it sees as well
STATE = (2, 1, 128)  # shape of what it remembers
SPEECH = 0.6  # probability from which a window is speech
PAUSE = 0.4  # probability below which it is a pause
OPENS_AFTER = 2  # windows: 64 ms; measured: 1 is 32 ms sooner and opens on clicks
OPENS_AFTER_IN_ECHO = 5  # windows: 160 ms
CLOSES_AFTER = 10  # windows: 320 ms
WEIGHTS = "silero_vad.onnx"


def silero_weights() -> Path | None:
    """Return the file with the network's weights, or None where it or ONNX Runtime is not installed."""
    found = find_spec("silero_vad")
    if found is None or not found.submodule_search_locations or find_spec("onnxruntime") is None:
        return None
    file = Path(found.submodule_search_locations[0]) / "data" / WEIGHTS
    return file if file.is_file() else None


@lru_cache(maxsize=1)
def _network(file: Path) -> Any:
    """Return the network as a session of ONNX Runtime, which all detectors share; it keeps nothing between runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


class SileroGate:
    """Detect what sounds like a voice (VoiceActivityDetector)."""

    kind = Detector.SILERO

    def __init__(self, weights: Path) -> None:
        """Load the network from its file."""
        self._run = _network(weights).run
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self.level = -120.0  # dBFS of the newest block
        self._gate = Gate(opens_after=OPENS_AFTER, opens_in_echo=OPENS_AFTER_IN_ECHO, closes_after=CLOSES_AFTER)
        self._state = np.zeros(STATE, np.float32)
        self._sound = np.zeros(CONTEXT, np.float32)  # the context, and samples that are not yet a window

    @property
    def open(self) -> bool:
        """Return the newest decision."""
        return self._gate.open

    @property
    def over_echo(self) -> bool:
        """Return whether speech has lasted long enough over the avatar's own sound to interrupt it."""
        return self._gate.over_echo

    def hear(self, block: Block, *, echo: bool) -> bool:
        """Take a block, and return whether speech begins with it; `echo`: the avatar speaks meanwhile."""
        self.level = level_of(block)
        self._sound = np.concatenate([self._sound, block.astype(np.float32) / np.float32(32768)])
        if len(self._sound) < CONTEXT + WINDOW:  # a block completes one window at most
            return False
        speech = self._probability(self._sound[: CONTEXT + WINDOW])
        self._sound = self._sound[WINDOW:]
        return self._gate.step(loud=speech >= SPEECH, quiet=speech < PAUSE, echo=echo)

    def _probability(self, sound: NDArray[np.float32]) -> float:
        """Return how likely the newest WINDOW of these samples [CONTEXT + WINDOW] is speech, 0…1."""
        inputs = {"input": sound[None], "state": self._state, "sr": np.array(RATE, np.int64)}
        probability, self._state = self._run(None, inputs)
        return float(probability[0, 0])
