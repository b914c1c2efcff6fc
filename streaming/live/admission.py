"""Admit sessions while the device carries them in real time, queue the others, and end those without viewers.

A session starts if its predicted share of the device's time and the measured shares of those that run fit together; the
first one starts in any case. The others wait in the order of their tickets. One that fits may pass others that do not
fit yet, but each ticket is passed MOST_PASSED times at most: after that the line stands still until it fits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.catalog import ENTRIES
from models.checkpoints.assemble import Model
from models.cue import Reference
from models.errors import ErrorKind, UserError
from models.judge.face_reader import FaceReader
from streaming.live.clock import MONOTONIC, Clock
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.session import Session
from streaming.live.session_state import SessionState
from streaming.live.speed_forecast import UNKNOWN, SpeedForecast
from streaming.live.waiting_line import WaitingLine
from streaming.measured_speeds import Size
from streaming.speech.any_avatar import AvatarMaker
from streaming.speech.avatar import Avatar
from streaming.speech.barge_in import Listening
from streaming.speech.detectors import best_detector, new_detector
from streaming.speech.live_dialogue import LiveDialogue
from streaming.take.history import TakeHistory
from streaming.take.take_file import Take

log = logging.getLogger(__name__)

GRACE = 20.0  # seconds that a session outlives its last viewer, its last command and its last sound
CAPACITY = 0.95  # share of the device's time that sessions may take
MOST_PASSED = 3  # later sessions that may start before a ticket because they fit while it does not


class FullError(UserError):
    """Report that the device cannot carry another session in real time."""

    kind = ErrorKind.BUSY

    def __init__(self, ticket: str, place: int, why: str = "") -> None:
        """Report the place in line, from 1, of this ticket, which the next request should show, and the reason."""
        super().__init__(f"the device is busy; place {place} in line" + (f": {why}" if why else ""))
        self.ticket, self.place = ticket, place


@dataclass(frozen=True)
class Load:
    """Tell what share of the device's time the running sessions take, and how many requests wait in line."""

    share: float  # 1 is all of it; beyond that films are slower than real time
    sessions: int
    waiting: int
    words: str  # the same in a line for a person


@dataclass(frozen=True)
class Admission:
    """Hold what was predicted of a session that may start."""

    size: Size | None = None  # None: its model is not in the catalog
    expected: float = UNKNOWN  # real-time factor
    note: str = ""  # a line for a person if it will be slower than real time


@dataclass
class HostedSession:
    """Hold a session with the key that gives control of it."""

    session: Session
    key: str
    unwatched_since: float
    admission: Admission = Admission()
    requests: int = 0  # that carry its key and are being answered
    _seat: object = None

    @property
    def factor(self) -> float:
        """Return its real-time factor: measured, or as predicted until two chunks were drawn.

        The first chunks see little of the past and are cheaper, so until the window is full the larger of both holds.
        """
        measured, expected = self.session.real_time_factor, self.admission.expected
        if measured is None:
            return expected
        return measured if self.settled else max(measured, expected)

    @property
    def chunk_cost(self) -> float:
        """Return the seconds of the device's time that its next chunk will take."""
        entry = self.session.model.entry
        return self.factor * entry.rollout.grid.frames / entry.fps

    @property
    def settled(self) -> bool:
        """Return whether chunks with a full window were measured, or nothing was predicted."""
        if self.admission.size is None:
            return True
        rollout = self.session.model.entry.rollout
        return self.session.index > rollout.window + 2 * rollout.grid.chunk

    def take_seat(self) -> Callable[[], bool]:
        """Give a connection control until another one takes it; the returned function says whether it has it still."""
        mine = self._seat = object()
        return lambda: self._seat is mine


class SessionRegistry:
    """Start, find and end the sessions of a server, which share one device thread."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[Model]],
        device: DeviceThread,
        folder: Path | None = None,
        *,
        clock: Clock = MONOTONIC,
        grace: float = GRACE,
        begun: Callable[[Session], None] = lambda session: None,
        ended: Callable[[Session], None] = lambda session: None,
        closed: Callable[[Session], None] = lambda session: None,
        forecast: SpeedForecast | None = None,
    ) -> None:
        """Start sessions of the models that `load` returns by name; `forecast` predicts what they take of the device.

        `begun` is called with every session that runs, `ended` with every one that ends, and `closed` once all of it is
        written.
        """
        self._load, self.device, self.folder = load, device, folder
        self._clock, self._grace, self._tell_begun, self._ended, self._closed = clock, grace, begun, ended, closed
        self.hosted: dict[str, HostedSession] = {}
        self._forecast = forecast or SpeedForecast()
        self._starting: list[Admission] = []  # of sessions that wait for their model to load
        self._line = WaitingLine()

    async def create(
        self,
        take: Take,
        look_ahead: LookAhead,
        ticket: str | None = None,
        past: TakeHistory | None = None,
        *,
        askers: Collection[str] = (),
        loras: Sequence[str] = (),
    ) -> HostedSession:
        """Start a session; FullError names the place in line if the device could not carry all sessions in real time.

        With a `past` the session continues that history, which began as `take`. CrowdedLineError if the `askers` (see
        `WaitingLine.stand`) get no place in line. The `loras` were added to the model for this session alone, which has
        the model forget them when it ends.
        """
        with self._admitted(take, ticket, askers) as admission:
            model = await self._load(take.model)
            session = Session(
                model,
                take,
                self.device,
                folder=self.folder,
                look_ahead=look_ahead,
                clock=self._clock,
                past=past,
                spare=lambda: self._spare(session),
                loras=loras,
            )
            return self._begun(session, admission)

    async def create_avatar(
        self,
        take: Take,
        portrait: Reference,
        reader: FaceReader | None,
        ticket: str | None = None,
        *,
        askers: Collection[str] = (),
        listening: Listening = Listening(),  # noqa: B008 (it is frozen)
    ) -> HostedSession:
        """Start a session of an avatar with this portrait; errors as from `create`, and DetectorError."""

        def maker(model: Model) -> AvatarMaker:
            return partial(Avatar, model, portrait, reader, detector=detector, barge_in=listening.barge_in)

        detector = await asyncio.to_thread(new_detector, listening.detector or best_detector())  # may load a network
        return await self._create_speaking(take, maker, ticket, askers)

    async def create_dialogue(
        self,
        take: Take,
        portraits: Mapping[str, Reference],
        reader: FaceReader | None,
        ticket: str | None = None,
        *,
        askers: Collection[str] = (),
        listening: Listening = Listening(),  # noqa: B008 (it is frozen)
    ) -> HostedSession:
        """Start a session of the take's speakers with these portraits by name; errors as from `create_avatar`.

        It is admitted as so many sessions as it has faces.
        """

        def maker(model: Model) -> AvatarMaker:
            return partial(
                LiveDialogue,
                model,
                portraits,
                reader,
                layout=take.layout or "side",
                detector=detector,
                barge_in=listening.barge_in,
            )

        detector = await asyncio.to_thread(new_detector, listening.detector or best_detector())  # may load a network
        return await self._create_speaking(take, maker, ticket, askers)

    async def _create_speaking(
        self, take: Take, maker: Callable[[Model], AvatarMaker], ticket: str | None, askers: Collection[str]
    ) -> HostedSession:
        with self._admitted(take, ticket, askers) as admission:
            model = await self._load(take.model)
            avatar = maker(model)
            session = Session(model, take, self.device, folder=self.folder, clock=self._clock, avatar=avatar)
            return self._begun(session, admission)

    def load(self) -> Load:
        """Return how much of the device's time is taken, and how many wait."""
        self._line.forget_lapsed(self._clock())
        running = self._running()
        share = sum(h.factor for h in running)
        sessions = "1 session takes" if len(running) == 1 else f"{len(running)} sessions take"
        words = f"{sessions} {share:.0%} of the device's time" if running else "no session runs"
        words += ", more than there is: films are slower than real time" if share > 1 else ""
        words += f"; {len(self._line)} in line" if self._line else ""
        return Load(round(share, 3), len(running), len(self._line), words)

    @contextlib.contextmanager
    def _admitted(self, take: Take, ticket: str | None, askers: Collection[str]) -> Iterator[Admission]:
        """Admit a session of a take, and count it until it runs: others may ask while its model loads."""
        admission = self._admit(take, ticket, askers)
        self._starting.append(admission)
        try:
            yield admission
        finally:
            self._starting.remove(admission)

    def _begun(self, session: Session, admission: Admission) -> HostedSession:
        hosted = HostedSession(session, secrets.token_urlsafe(24), self._clock(), admission)
        self.hosted[session.id] = hosted
        session.start()
        self._tell_begun(session)
        return hosted

    def _running(self) -> list[HostedSession]:
        return [h for h in self.hosted.values() if not h.session.over]

    def _spare(self, session: Session) -> bool:
        """Return whether `session` can draw a chunk now before another one has nothing left to show.

        Each of the others has a chunk to draw before that. Those that catch up with their past show nothing.
        """
        working = [h for h in self._running() if h.session.state is not SessionState.PAUSED]
        others = [h.session for h in working if h.session is not session and h.session.producer.catching_up is None]
        left = min((len(s.playout) / s.playout.fps for s in others), default=math.inf)
        return sum(h.chunk_cost for h in working) <= left

    def _predicted(self, take: Take) -> Admission:
        """Return what is expected of a session of the take, after what running sessions have measured."""
        for hosted in self._running():
            size, factor = hosted.admission.size, hosted.session.real_time_factor
            alone = hosted.session.history.take.faces == 1  # faces in step cost less than they do one by one
            if alone and size is not None and factor is not None and hosted.settled:
                self._forecast.measured(hosted.session.model.entry, size, factor)
        entry = ENTRIES.get(take.model)
        if entry is None:  # loading it will tell
            return Admission()
        size = take.width_height(entry.size)
        factor = take.faces * self._forecast.factor(entry, size)
        shown = f"about {entry.fps / factor:.2g} of {entry.fps} frames a second"
        return Admission(size, factor, f"slower than real time here: {shown}" if factor > 1 else "")

    def _admit(self, take: Take, ticket: str | None, askers: Collection[str]) -> Admission:
        """Take the ticket out of the line if a session of the take may start; FullError if it may not."""
        self._line.forget_lapsed(self._clock())
        admission, running = self._predicted(take), self._running()
        load = sum(h.factor for h in running) + sum(a.expected for a in self._starting)
        idle = not running and not self._starting

        def fits(expected: float) -> bool:
            return idle or load + expected <= CAPACITY

        ahead = self._line.ahead_of(ticket)
        if fits(admission.expected) and all(w.passed < MOST_PASSED and not fits(w.expected) for w in ahead):
            for waiting in ahead:
                waiting.passed += 1
            if ticket is not None and ticket in self._line:
                self._line.leave(ticket)
            return admission
        ticket, place = self._line.stand(ticket, admission.expected, askers, self._clock())
        why = f"what runs takes {load:.0%} of its time, and this would take about {admission.expected:.0%}"
        why = "others came first" if fits(admission.expected) else why
        raise FullError(ticket, place, why)

    def keep(self, hosted: HostedSession) -> None:
        """Begin the grace period of a session anew: the holder of its key is there."""
        hosted.unwatched_since = self._clock()

    @contextlib.contextmanager
    def answering(self, hosted: HostedSession) -> Iterator[None]:
        """Keep a session while a request of the holder of its key is answered, such as the upload of a long sound."""
        hosted.requests += 1
        try:
            yield
        finally:
            hosted.requests -= 1
            self.keep(hosted)

    async def tidy(self) -> None:
        """End sessions in which nothing happened for the grace period, and those that are over.

        A session with a viewer goes on, and so do one that is being commanded and an avatar that has something to say,
        unless it is paused and so would never have said it.
        """
        now = self._clock()
        for key, hosted in list(self.hosted.items()):
            avatar = hosted.session.avatar
            paused = hosted.session.state is SessionState.PAUSED
            speaks = avatar is not None and avatar.has_to_say and not paused
            if hosted.session.viewers or hosted.requests or speaks:
                hosted.unwatched_since = now
            if hosted.session.over or now - hosted.unwatched_since > self._grace:
                with contextlib.suppress(KeyError):  # it may have been ended while another one was waited for
                    await self.end(key)

    async def end(self, session: str) -> None:
        """Close the session of that id and remove it; KeyError if there is none."""
        ended = self.hosted.pop(session).session
        try:
            self._ended(ended)
        finally:
            await ended.close()
            self._closed(ended)

    async def run(self) -> None:
        """Tidy once a second until cancelled; then end all sessions."""
        tidying: asyncio.Future[None] | None = None
        try:
            while True:
                await self._clock.sleep(1)
                tidying = asyncio.ensure_future(self.tidy())
                try:
                    await asyncio.shield(tidying)  # a session that is being closed is closed whole
                except Exception:  # an error of one session must not end the others
                    log.exception("tidying failed")
        finally:
            if tidying is not None:
                await asyncio.gather(tidying, return_exceptions=True)
            for key in list(self.hosted):
                with contextlib.suppress(Exception):
                    await self.end(key)
