"""Admit sessions while the device carries them in real time, queue the others, and end those without viewers."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.checkpoints.assemble import Model
from models.cue import Reference
from models.errors import ErrorKind, UserError
from models.judge.face_reader import FaceReader
from streaming.live.clock import MONOTONIC, Clock
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.session import Session
from streaming.live.session_state import AvatarState
from streaming.speech.avatar import Avatar
from streaming.take.history import TakeHistory
from streaming.take.take_file import Take

log = logging.getLogger(__name__)

GRACE = 20.0  # seconds that a session outlives its last viewer, its last command and its last sound
TICKET_LIFE = 10.0  # seconds after its last request in which a ticket keeps its place in line
CAPACITY = 0.95  # share of the device's time that sessions may take
UNKNOWN = 0.4  # real-time factor assumed for a model before it was measured


class FullError(UserError):
    """Report that the device cannot carry another session in real time."""

    kind = ErrorKind.BUSY

    def __init__(self, ticket: str, place: int) -> None:
        """Report the place in line, from 1, of this ticket, which the next request should show."""
        super().__init__(f"the device is busy; place {place} in line")
        self.ticket, self.place = ticket, place


@dataclass
class HostedSession:
    """Hold a session with the key that gives control of it."""

    session: Session
    key: str
    unwatched_since: float
    _seat: object = None

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
        ended: Callable[[Session], None] = lambda session: None,
        closed: Callable[[Session], None] = lambda session: None,
    ) -> None:
        """Start sessions of the models that `load` returns by name.

        `ended` is called with every session that ends, and `closed` once all of it is written.
        """
        self._load, self.device, self.folder = load, device, folder
        self._clock, self._grace, self._ended, self._closed = clock, grace, ended, closed
        self.hosted: dict[str, HostedSession] = {}
        self._factors: dict[str, float] = {}  # model → last measured real-time factor
        self._starting: list[str] = []  # models of sessions that were admitted and wait for their model to load
        self._line: dict[str, float] = {}  # ticket → time of its last request; in order of arrival

    async def create(
        self, take: Take, look_ahead: LookAhead, ticket: str | None = None, past: TakeHistory | None = None
    ) -> HostedSession:
        """Start a session; FullError names the place in line if the device could not carry all sessions in real time.

        With a `past` the session continues that history, which began as `take`.
        """
        with self._admitted(take.model, ticket):
            model = await self._load(take.model)
            return self._begun(
                Session(
                    model, take, self.device, folder=self.folder, look_ahead=look_ahead, clock=self._clock, past=past
                )
            )

    async def create_avatar(
        self, take: Take, portrait: Reference, reader: FaceReader | None, ticket: str | None = None
    ) -> HostedSession:
        """Start a session of an avatar with this portrait; FullError as from `create`."""
        with self._admitted(take.model, ticket):
            model = await self._load(take.model)
            avatar = partial(Avatar, model, portrait, reader)
            return self._begun(Session(model, take, self.device, folder=self.folder, clock=self._clock, avatar=avatar))

    @contextlib.contextmanager
    def _admitted(self, name: str, ticket: str | None) -> Iterator[None]:
        """Admit a session of a model, and count it until it runs: others may ask while its model loads."""
        self._admit(name, ticket)
        self._starting.append(name)
        try:
            yield
        finally:
            self._starting.remove(name)

    def _begun(self, session: Session) -> HostedSession:
        hosted = HostedSession(session, secrets.token_urlsafe(24), self._clock())
        self.hosted[session.id] = hosted
        session.start()
        return hosted

    def _admit(self, name: str, ticket: str | None) -> None:
        """Take the ticket out of the line if a session of the model may start; FullError if it may not."""
        now = self._clock()
        self._line = {t: asked for t, asked in self._line.items() if now - asked < TICKET_LIFE}
        running = [h.session for h in self.hosted.values() if not h.session.over]
        for session in running:
            if session.real_time_factor is not None:
                self._factors[session.model.entry.name] = session.real_time_factor
        carried = [*(s.model.entry.name for s in running), *self._starting]
        load = sum(self._factors.get(model, UNKNOWN) for model in carried)
        first = next(iter(self._line), ticket)
        fits = not carried or load + self._factors.get(name, UNKNOWN) <= CAPACITY
        if fits and first == ticket:
            self._line.pop(ticket or "", None)
            return
        ticket = ticket if ticket in self._line else secrets.token_urlsafe(12)
        self._line[ticket] = now
        raise FullError(ticket, list(self._line).index(ticket) + 1)

    def keep(self, hosted: HostedSession) -> None:
        """Begin the grace period of a session anew: the holder of its key is there."""
        hosted.unwatched_since = self._clock()

    async def tidy(self) -> None:
        """End sessions in which nothing happened for the grace period, and those that are over.

        A session with a viewer goes on, and so does an avatar that still has something to say.
        """
        now = self._clock()
        for key, hosted in list(self.hosted.items()):
            avatar = hosted.session.avatar
            if len(hosted.session.broadcast) or (avatar is not None and avatar.state is AvatarState.SPEAKING):
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
        try:
            while True:
                await self._clock.sleep(1)
                try:
                    await self.tidy()
                except Exception:  # an error of one session must not end the others
                    log.exception("tidying failed")
        finally:
            for key in list(self.hosted):
                with contextlib.suppress(Exception):
                    await self.end(key)
