"""Choose the detector of speech for an avatar's microphone."""

from __future__ import annotations

from models.errors import ErrorKind, UserError
from streaming.speech.energy_gate import EnergyGate
from streaming.speech.silero_gate import SileroGate, silero_weights
from streaming.speech.voice_activity import Detector, VoiceActivityDetector


class DetectorError(UserError):
    """Report a detector that is not installed."""

    kind = ErrorKind.CONFLICT


def best_detector() -> Detector:
    """Return the better of the detectors that are installed; docs/agents.md has what was measured."""
    return Detector.ENERGY if silero_weights() is None else Detector.SILERO


def new_detector(detector: Detector) -> VoiceActivityDetector:
    """Return a new detector; DetectorError if its package is not installed."""
    if detector is Detector.ENERGY:
        return EnergyGate()
    weights = silero_weights()
    if weights is None:
        raise DetectorError(
            'the detector silero is not installed here; install it with: pip install "longtake[listen]",'
            " or choose the detector energy"
        )
    return SileroGate(weights)
