"""Decode a film's pictures with their times, from its start or from a key picture on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import av
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from models.errors import UserError
from streaming.media.film_alpha import alpha_decoder
from streaming.media.track_limit import GROWING, track_options
from streaming.speech.sound_header import FILMS, is_encrypted

# what FFmpeg calls them; playlists and the like, which name other files, are not among them
FORMATS = {
    "an MP4 file": "mp4",
    "a Matroska or WebM video": "matroska",
    "an AVI video": "avi",
    "an MPEG video": "mpeg",
    "an MPEG transport stream": "mpegts",
    "a GIF picture": "gif",
}
MOST_PIXELS = 4096 * 2304  # of a picture
BOUNDED = {"max_pixels": str(2 * MOST_PIXELS)}  # of a picture with its margins, for decoders, before they take memory
MOST_DAMAGED = 100  # packets that cannot be decoded, one behind the other, until a film counts as broken off
JUMP = 0.5  # seconds by which times have to run back to be a jump
WIDEST = 8  # times as wide as high a pixel may be, or as high as wide; what says more is not believed


class FilmError(UserError):
    """Report, in one line for a person, a film that cannot be read."""


class FilmPictures:
    """Decode the pictures of one film."""

    def __init__(self, file: BinaryIO, kind: str, name: str, note: Callable[[str], None]) -> None:
        """Read from a seekable file of a kind among FORMATS, which errors call `name`; nothing is decoded yet.

        `note` is called with each thing, for a person, that is wrong with the film, perhaps several times.
        """
        self._file, self._kind, self._name, self._note = file, kind, name, note
        self.begins: float | None = None  # time of the first picture on the container's clock, which its sound shares
        self.duration: float | None = None  # in seconds, as the container has it
        self.pixel = 1.0  # width of a pixel as a share of its height
        self._declared: float | None = None  # seconds of pictures, as the header has them
        self._delay: float | None = None  # in seconds, of the decoder of an AVI
        if is_encrypted(file, FILMS):
            raise FilmError(f"{name}: the film is encrypted (DRM); use a copy without")

    def since(self, time: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yield pictures with their times, in seconds from the film's first one, from a key picture near `time` on.

        FilmError if the film cannot be read any further.
        """
        self._file.seek(0)
        try:
            with av.open(
                self._file,
                format=FORMATS[self._kind],
                options=track_options(self._kind) | BOUNDED,  # the latter as what a film has is looked for
                metadata_errors="replace",  # titles need not be UTF-8
            ) as container:
                track = next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)
                if track is None:  # it is a sound, perhaps with a cover
                    return
                if track.codec_context is None:
                    raise FilmError(f"{self._name}: {self._kind} in a coding that cannot be decoded; save it as H.264")
                self._look_at(container, track)
                self._require_pixels(track.codec_context.width, track.codec_context.height)
                if time > 0 and track.time_base:
                    container.seek(int((time + (self.begins or 0)) / track.time_base), stream=track)
                yield from self._decoded(container, track)
        except UserError:
            raise
        except Exception as e:  # PyAV raises many kinds of exceptions on damaged files
            raise FilmError(f"{self._name}: {self._kind} that breaks off or is damaged; save it anew") from e

    def _look_at(self, container: av.container.InputContainer, track: VideoStream) -> None:
        self.duration = None if container.duration is None else container.duration / av.time_base
        pixel = float(track.sample_aspect_ratio or 1)
        self.pixel = pixel if 1 / WIDEST <= pixel <= WIDEST else 1.0
        tagged = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d\.\d{1,9})", track.metadata.get("DURATION", ""), re.ASCII)
        if self._kind == "a Matroska or WebM video" and tagged:  # with what is before the first picture
            hours, minutes, seconds = (float(part) for part in tagged.groups())
            self._declared = (
                3600 * hours + 60 * minutes + seconds - float((track.start_time or 0) * (track.time_base or 0))
            )
        elif self._kind not in GROWING and track.duration is not None and track.time_base:  # which tell no length
            self._declared = float(track.duration * track.time_base)

    def _require_pixels(self, width: int, height: int) -> None:
        if width * height > MOST_PIXELS:
            raise FilmError(f"{self._name}: a film of {width}x{height} is too large; scale it down")

    def _decoded(
        self, container: av.container.InputContainer, track: VideoStream
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        latest, ends = -1.0, 0.0
        for picture in self._of_packets(container, track):
            self._require_pixels(picture.width, picture.height)
            time = self._time(picture, track, latest)
            if time is None:
                continue
            if self.begins is None:
                self.begins = time
            time = max(0.0, time - self.begins)
            if time < latest - JUMP:
                self._note(f"its times jump back after {latest:.1f} s; pictures from there on are left out")
            if time > latest:
                latest, ends = time, time + float((picture.duration or 0) * (picture.time_base or 0))
                yield latest, picture
        if self._declared is not None and latest >= 0 and ends < self._declared - max(JUMP, self._declared / 10):
            self._note(f"it ends after {ends:.1f} s, and says that it has {self._declared:.1f} s; it may be cut off")

    def _of_packets(self, container: av.container.InputContainer, track: VideoStream) -> Iterator[av.VideoFrame]:
        decoder, damaged = alpha_decoder(track) or track.codec_context, 0
        decoder.options = BOUNDED
        packets = container.demux(track)
        while True:
            try:
                packet = next(packets)
                pictures = decoder.decode(packet)
            except StopIteration:
                return
            except IndexError:  # of PyAV, at the end of a film within which tracks appeared
                with contextlib.suppress(FFmpegError):  # it has ended already
                    yield from decoder.decode(None)
                return
            except FFmpegError:
                self._note("parts of it are damaged; pictures are missing or broken")
                damaged += 1
                if damaged > MOST_DAMAGED:
                    return
                continue
            for picture in cast("list[av.VideoFrame]", pictures):
                damaged = 0
                if picture.is_corrupt:
                    self._note("parts of it are damaged; pictures are missing or broken")
                yield picture

    def _time(self, picture: av.VideoFrame, track: VideoStream, before: float) -> float | None:
        """Return the time of a picture on the container's clock, in seconds; `before` is that of the one before it.

        AVI has times of decoding alone. Where pictures are stored in another order than they are shown, those times
        belong to pictures in the order in which the decoder gives them, and the last pictures have none.
        """
        if self._kind != "an AVI video":
            return picture.time
        if picture.dts is None or not track.time_base:
            step = 1 / float(track.average_rate or 25)
            return (self.begins or 0.0) + max(before, -step) + step
        time = float(picture.dts * track.time_base)
        if self._delay is None:  # of the decoder, at the film's first picture
            self._delay = time - float((track.start_time or 0) * (track.time_base or 0))
        return time - self._delay
