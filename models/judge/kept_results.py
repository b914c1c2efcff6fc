"""Keep what was measured of each take on the disk, so that an interrupted measurement goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.checkpoints.synced_files import make_folder, write_whole
from models.errors import UserError

SIZE = 128  # pixels: height and width of a kept picture
Pictures = dict[str, NDArray[np.uint8]]  # by arm: [SIZE, SIZE, 3] RGB
Facts = dict[str, float]


class OtherMeasurementError(UserError):
    """Report results in the folder that another measurement left there."""


class KeptResults:
    """Hold a folder with a file of numbers, and one of pictures, for every take that was measured.

    `conditions` is what must be equal for results to be put together: the record of the model, and lengths.
    """

    def __init__(self, folder: Path, conditions: Mapping[str, str | int]) -> None:
        self._folder, self._conditions = folder, dict(conditions)
        make_folder(folder)

    def measured(
        self, name: str, measure: Callable[[], tuple[dict[str, Facts], Pictures]]
    ) -> tuple[dict[str, Facts], Pictures]:
        """Return the numbers and pictures of take `name`, by arm; measure and keep them if they are not kept yet.

        Raises OtherMeasurementError if what is kept was measured under other conditions.
        """
        numbers, pictures = self._folder / f"{name}.json", self._folder / f"{name}.png"
        if (found := self._read(numbers, pictures)) is not None:
            return found
        facts, shown = measure()
        small = {arm: cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for arm, picture in shown.items()}
        row = np.concatenate(list(small.values()), 1)[..., ::-1]
        write_whole(pictures, cv2.imencode(".png", row)[1].tobytes())
        write_whole(
            numbers, json.dumps({"conditions": self._conditions, "arms": facts}).encode()
        )  # it counts from here
        return facts, {arm: np.asarray(picture, np.uint8) for arm, picture in small.items()}

    def _read(self, numbers: Path, pictures: Path) -> tuple[dict[str, Facts], Pictures] | None:
        if not numbers.exists() or not pictures.exists():
            return None
        kept = json.loads(numbers.read_text(encoding="utf-8"))
        was, now = kept["conditions"], self._conditions
        if other := next((n for n in {**was, **now} if was.get(n) != now.get(n)), None):
            raise OtherMeasurementError(
                f"{numbers} was measured with {other} {was.get(other)}, this is {now.get(other)}: "
                "choose another folder with -o, or delete that one"
            )
        row = cv2.imread(str(pictures))
        if row is None or row.shape != (SIZE, SIZE * len(kept["arms"]), 3):
            return None
        cells = np.split(np.asarray(row, np.uint8)[..., ::-1], len(kept["arms"]), 1)
        return kept["arms"], dict(zip(kept["arms"], cells, strict=True))
