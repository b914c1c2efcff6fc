"""Check a portrait: draw a second of it in silence and a second at a vowel-like sound, and judge both."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.catalog import AVATAR_PROMPT
from models.checkpoints.assemble import ASSETS, Model
from models.checkpoints.matte_file import installed_matte
from models.checkpoints.weight_files import CheckpointError
from models.cue import Cue, Prompt, Reference
from models.driving_signal import RATE, DrivingSignal
from models.judge import face_reader
from models.judge.face_reader import FaceReader
from models.matte import alpha_of, separable
from streaming.speech.portrait_file import PortraitError

CHUNKS = 2  # chunks of each take, about a second
DRAWS = 2 * CHUNKS
LOUD = 0.2  # root mean square of the vowel
# the worst of 30 faces of its world keeps a likeness of .92 at 18 dB and opens its mouth by .80; scenes of pocket's
# world keep 15 to 23 dB and "open" by .12 to .48, noise keeps a likeness of .05 at 10 dB, plain grey one of .27 or a
# shut mouth
LIKENESS, SAME_PICTURE, OPENS = 0.75, 14.0, 0.65


def installed_face_reader() -> FaceReader | None:
    """Return the reader of avatars' faces; None where its weights are not installed."""
    try:
        return face_reader.load(ASSETS / "judge" / "face.safetensors")
    except CheckpointError:
        return None


def require_separable(portrait: Reference) -> None:
    """Raise PortraitError if the ground of a portrait cannot be told from the person, so that none can replace it."""
    picture = np.frombuffer(portrait.pixels, np.uint8).reshape(1, portrait.height, portrait.width, 3)
    if not separable(picture[0], alpha_of(installed_matte(), picture)[0]):
        raise PortraitError(
            "background: the ground of this portrait cannot be told from the person; leave background out, or send a "
            "drawn head and shoulders in front of a calm ground that is seen above both shoulders"
        )


class Trial:
    """Draw two short takes of a portrait, in silence and at a vowel; each of DRAWS calls of `draw` draws one chunk."""

    def __init__(self, model: Model, portrait: Reference) -> None:
        self._model, self._portrait = model, portrait
        self._takes = [model.generator.new_take(0, portrait.width, portrait.height) for _ in range(2)]
        self._last: list[NDArray[np.uint8]] = []
        t = np.arange(2 * RATE) / RATE
        vowel = sum(np.sin(2 * np.pi * 140 * n * t) / n for n in range(1, 20))
        self._drives = DrivingSignal(), DrivingSignal()
        self._drives[1].hear((vowel * LOUD / np.sqrt(np.square(vowel).mean())).clip(-1, 1).astype(np.float32))

    def draw(self) -> None:
        """Draw the next chunk of the shorter of the two takes."""
        generator = self._model.generator
        state, drive = min(zip(self._takes, self._drives, strict=True), key=lambda take: take[0].index)
        cues: list[Cue] = [] if state.index else [Prompt(AVATAR_PROMPT), self._portrait]
        heard = drive.latents(state.index, generator.config.latents_drawn(state.index))
        latents = generator.draw(state, cues, torch.from_numpy(heard)[None].to(generator.device))
        self._last = [*self._last, state.codec.decode(latents).numpy()[-1]][-2:]
        generator.commit(state)

    def doubt(self, reader: FaceReader) -> str | None:
        """Return one line for a person if the picture is not preserved, or no mouth opens at the vowel.

        Return None for a face that the model can animate.
        """
        silent, loud = self._last
        given = np.frombuffer(self._portrait.pixels, np.uint8).reshape(silent.shape)
        who, still = reader.identity(np.stack([given, silent]))
        name = self._model.entry.name
        if float(who @ still) < LIKENESS or cv2.PSNR(given, silent) < SAME_PICTURE:
            wrong = f"this picture is not of the world that {name} was trained on, and does not stay itself"
        elif float(np.diff(reader.pose(np.stack([silent, loud]))["mouth"])[0]) < OPENS:
            wrong = f"{name} finds no face in this picture: no mouth opens at a voice"
        else:
            return None
        return f"{wrong}; take a face of the gallery with --face ada, or design one with --face hair=curly,skin=deep"


def doubt(model: Model, portrait: Reference) -> str | None:
    """Run a whole trial and return its doubt; None also if no reader of faces is installed."""
    reader = installed_face_reader()
    if reader is None:
        return None
    trial = Trial(model, portrait)
    for _ in range(DRAWS):
        trial.draw()
    return trial.doubt(reader)
