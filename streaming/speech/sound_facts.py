"""Hold what one pass over a sound file found, and describe losses and oddities in lines for a person."""

from __future__ import annotations

from dataclasses import dataclass

NOTABLE = 0.05  # seconds of loss up to which no note is made, since an encoder's delay is as long


@dataclass
class SoundFacts:
    """Hold rate, channels, length, losses and peak of a sound file, as one pass over it found them."""

    rate: int = 0  # samples a second
    names: tuple[str, ...] = ()  # channel names such as FL, FR, LFE
    codec: str = ""
    streams: int = 1  # sound tracks in the file
    samples: int = 0  # decoded, including the silence that stands for missing sound
    begins: float = 0.0  # time stamp of the first sample, in seconds
    declared: float | None = None  # seconds that the file's header promises
    filled: float = 0.0  # seconds of silence that stand for missing sound
    failed: int = 0  # packets that could not be decoded
    jumps: int = 0  # time stamps that jump by more than MOST_GAP
    broken: int = 0  # samples that were NaN, infinite or beyond LOUDEST
    peak: float = 0.0  # largest absolute sample; 1 is full scale, which floats may exceed

    @property
    def seconds(self) -> float:
        """Return the length of what was decoded, filled silence included, in seconds; 0 before the first sample."""
        return self.samples / self.rate if self.rate else 0.0

    @property
    def intact(self) -> bool:
        """Return whether every packet was decoded and all of them follow one another."""
        return not (self.filled or self.failed or self.jumps or self.broken)

    def notes(self) -> list[str]:
        """Return one line for each thing a person should know: damage, jumps, invalid samples, further tracks."""
        out = []
        missing = max(0.0, (self.declared or 0.0) - self.seconds)
        lost = self.filled + missing
        if lost > NOTABLE or self.failed:
            whole = f"{max(self.declared or 0.0, self.seconds):.1f} s"
            left = "silent" if self.filled > missing else "left out"
            if missing > NOTABLE and not self.filled and not self.failed:
                out.append(f"the file breaks off: {self.seconds:.1f} s of {whole} are there")
            else:
                out.append(f"the file is damaged: {max(lost, 0.01):.2f} s of {whole} cannot be decoded and are {left}")
        if self.jumps:
            out.append("its time stamps jump; the parts are joined")
        if self.broken:
            out.append(f"{self.broken} of its samples are no numbers and are silent")
        if self.streams > 1:
            out.append(f"it holds {self.streams} sound tracks; one of them is used")
        return out
