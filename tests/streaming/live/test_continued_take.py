"""A session continues an earlier take: it draws the past anew, shows nothing of it, and goes on."""

from __future__ import annotations

from sessions import async_test, replayed, running, say, until


@async_test
async def test_a_continued_take_goes_on_from_its_end_and_shows_no_frame_of_its_past() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 6)
        say(session, 1, type="prompt", text="two", blend=4)
        await until(lambda: session.index >= 12)
        say(session, 2, type="seed", seed=9)
        await until(lambda: session.index >= 18)
    past = session.history
    async with running(past=past) as (again, events):
        say(again, 1, type="prompt", text="three")
        await until(lambda: again.playout.released > 0)
        assert again.playout.playhead == past.length
        assert again.history.parent == f"{past.id}@{past.length}"
        await until(lambda: again.index >= past.length + 6)
        assert [(e.prompt or e.seed, e.landed) for e in again.history.landed][-1] == ("three", past.length)
        assert not [e for e in events if e.type == "warning"]
    assert {k: v for k, v in again.history.hashes.items() if k < past.length} == past.hashes
    assert replayed(again.take()) == again.history.hashes


@async_test
async def test_a_warning_names_the_latent_from_which_a_continued_take_differs() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 12)
    session.history.hashes[6] = "another"
    async with running(past=session.history) as (again, events):
        await until(lambda: again.playout.released > 0)
        (warning,) = [e for e in events if e.type == "warning"]
        assert warning.why.startswith("from latent 6 on the replay differs")
