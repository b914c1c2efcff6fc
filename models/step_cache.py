"""Keep the keys and values of denoising steps, in a model that has no clean pass (StreamDiffusionV2, 2511.07399).

A layer has `window` slots of one latent. Every step writes its keys and values into a slot, and then sees all slots
that are filled, rotated where they were written. The first `sink` slots stay, the others are overwritten in turn.

That turn is kept as the reference has it, as the vectors of its rollouts and the films of its authors do: a latent has
the slot that comes next once the last slot is filled, and the turn moves on after as many steps as a chunk has, but
they are counted from the second step of the chunk that filled it. The first step of a chunk therefore overwrites what
the last step of the chunk before wrote, later steps the next slot: past latents are kept as their first step made them,
and from its second step on a chunk sees itself twice.

In a stream batch (`models.step_batch`) every step has a row of its own, with its own slots, and its turn moves on with
every pass; so a row keeps past latents as one and the same step made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.cache import RingCache
from models.cache_protocol import KeysValues, Visible
from models.cache_shape import AnchorPolicy, CacheShape, StepKeys
from models.cache_snapshot import CacheSnapshot, Piece, SlotTurn
from models.cue import CueError
from models.rope import Rotation
from models.tensor_copies import copied


class StepCache(RingCache):
    """Hold the keys and values that the steps of one rollout wrote; there are no clean passes over it."""

    def __init__(self, shape: CacheShape, rule: StepKeys, steps: int, device: torch.device, dtype: torch.dtype) -> None:
        """Make an empty cache for chunks that take `steps` steps."""
        super().__init__(shape, AnchorPolicy.FIXED, device, dtype)
        self.rule, self.steps = rule, steps
        self._turns = self._new_turns()
        self._copies: list[Piece | None] = [None] * shape.window  # of the slots, as far as a snapshot has made them
        self._chunks: list[range] = []  # temporal coordinates of the chunk under way, row by row

    def _new_turns(self) -> list[list[SlotTurn]]:
        """Return how slots are filled before the first step, layer by layer, a turn for each row."""
        return [[SlotTurn(steps_left=self._steps_in_row)] * self.shape.batch for _ in range(self.shape.layers)]

    @property
    def _steps_in_row(self) -> int:
        """Return how many steps of a chunk one row runs: all of them, or one in a stream batch."""
        return 1 if self.rule.batch else self.steps

    @property
    def keeps_steps(self) -> bool:
        """Return that what a step wrote stays, and no clean pass runs."""
        return True

    @property
    def past_latents(self) -> range:
        """Return no latents: the past is not known by latent, as layers may keep other ones."""
        return range(0)

    @property
    def keys_missing(self) -> bool:
        """Return that nothing is missing: keys that no pass can make anew are in every snapshot."""
        return False

    # -- passes --------------------------------------------------------------------------------------------------

    def begin(self, first: int, latents: int, *, clean: bool = False) -> Rotation:
        """Begin the steps of the chunk of `latents` latents at latent `first`; CueError for a clean pass."""
        if clean:
            raise CueError("this model has no clean pass")
        self._chunks = [self._coordinates(first, latents)] * self.shape.batch
        return self._rotation(tuple(self._chunks[0]))

    def begin_rows(self, firsts: Sequence[int], latents: int) -> Rotation:
        """Begin a pass in which each row has another chunk of `latents` latents, which begin at these latents."""
        self._chunks = [self._coordinates(first, latents) for first in firsts]
        turned = [self._rotation(tuple(chunk)) for chunk in self._chunks]
        return Rotation(torch.stack([r.cos for r in turned]), torch.stack([r.sin for r in turned]))

    def _coordinates(self, first: int, latents: int) -> range:
        start = self.rule.coordinate(first - self.origin, self.shape.window)
        return range(start, start + latents)

    def begin_recache(self, first: int, latents: int) -> Rotation:
        """Raise CueError: keys are what the steps wrote, and no pass makes them anew."""
        raise CueError("this model has no clean pass, which a recache is")

    def begin_reference(self) -> Rotation:
        """Raise CueError: there is no place for a reference."""
        raise CueError("this model has no clean pass, which a reference needs")

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        """Write a layer's new keys (before rotation) and values into the slots whose turn it is; return the filled."""
        assert self._chunks, "extend outside a pass"
        rotated, tokens, turns = rotation(key), self.shape.tokens, self._turns[layer]
        for row, (turn, chunk) in enumerate(zip(turns, self._chunks, strict=True)):
            if len(chunk) == 1:
                turn = self._with_sink_renewed(turn, layer, row, rotated[row], value[row])
            turns[row], first = _advanced(turn, chunk, self.shape, self._steps_in_row)
            place = slice(first * tokens, (first + len(chunk)) * tokens)
            self._keys[layer][row, place], self._values[layer][row, place] = rotated[row], value[row]
            for slot in range(first, first + len(chunk)):
                self._copies[slot] = None
        lengths = tuple(turn.filled * tokens for turn in turns)
        filled = max(lengths)
        return Visible(self._keys[layer][:, :filled], self._values[layer][:, :filled], lengths=lengths)

    def past(self) -> KeysValues:
        """Raise CueError: a step sees what the steps before it wrote, which an engine does not hand out."""
        raise CueError("a model without a clean pass runs on torch alone; use --engine torch")

    def end(self) -> None:
        """Close the steps of a chunk."""
        self._chunks = []

    def _with_sink_renewed(self, turn: SlotTurn, layer: int, row: int, key: Tensor, value: Tensor) -> SlotTurn:
        """Return the turn with a slot of the sink put first, if the new latent [tokens, heads, d] is unlike it."""
        n, sink = self.shape.tokens, self.shape.sink
        if self.rule.renew_sink_below is None or not sink:
            return turn
        new = torch.stack([key, value]).flatten(2).mean(1, keepdim=True)  # [2, 1, heads·d]
        held = torch.stack([self._keys[layer][row, : sink * n], self._values[layer][row, : sink * n]])
        likeness = torch.cosine_similarity(held.unflatten(1, (sink, n)).flatten(3).mean(2), new, dim=-1).mean(0)
        if float(likeness.min()) >= self.rule.renew_sink_below:
            return turn
        return replace(turn, order=(int(likeness.argmin()), *turn.order))

    # -- what happens at a cut ------------------------------------------------------------------------------------

    def keep_newest(self) -> None:
        """Raise CueError: the newest latent lies in other slots of other layers."""
        raise CueError("this model keeps the keys of its steps, which cannot be flushed")

    def clear(self, origin: int) -> None:
        """Forget everything; the chunk at latent `origin` comes next, at coordinate 0."""
        super().clear(origin)
        self._turns = self._new_turns()

    # -- snapshots -----------------------------------------------------------------------------------------------

    def snapshot(self, *, keys: bool = True) -> CacheSnapshot:
        """Copy what no earlier snapshot holds yet; the rest is shared. Keys are in it whatever `keys` says."""
        n, filled = self.shape.tokens, max(turn.filled for turns in self._turns for turn in turns)
        for slot in range(filled):
            if self._copies[slot] is None:
                place = slice(slot * n, (slot + 1) * n)
                pairs = zip(self._keys, self._values, strict=True)
                kept = copied([t[:, place] for pair in pairs for t in pair])
                self._copies[slot] = Piece(slot, 1, tuple(zip(kept[::2], kept[1::2], strict=True)))
        pieces = tuple(piece for piece in self._copies[:filled] if piece is not None)
        turns = tuple(turn for turns in self._turns for turn in turns)
        return CacheSnapshot({}, pieces, (0, 0), self.origin, self.policy, turns)

    def restore(self, snapshot: CacheSnapshot) -> None:
        """Take up exactly the keys, values and turns of the moment of the snapshot."""
        rows, n = self.shape.batch, self.shape.tokens
        super().clear(snapshot.origin)
        self._chunks = []
        self.policy = snapshot.policy
        self._turns = [list(snapshot.turns[i : i + rows]) for i in range(0, len(snapshot.turns), rows)]
        self._copies = [None] * self.shape.window
        for piece in snapshot.pieces:
            self._copies[piece.first] = piece
            place = slice(piece.first * n, piece.stop * n)
            for (k, v), keys, values in zip(piece.layers, self._keys, self._values, strict=True):
                keys[:, place], values[:, place] = k, v


def _advanced(turn: SlotTurn, chunk: range, shape: CacheShape, steps: int) -> tuple[SlotTurn, int]:
    """Return the turn behind a step over the latents at these coordinates, and the first slot that it writes."""
    latents, order = len(chunk), turn.order
    if chunk.stop <= shape.window and turn.filled < shape.window:
        behind = chunk.stop + latents - 1  # the last slot of the next chunk, were it as long as this one
        if shape.sink <= behind < shape.window and order[-1:] != (behind,):
            order = (*order, behind)
        filled = turn.filled + chunk.stop - turn.end
        return SlotTurn(order, filled, chunk.stop, turn.steps_left), filled - latents
    order = order or tuple(range(shape.sink, shape.window))  # where one chunk fills all slots
    slot, left = order[0], turn.steps_left - 1
    if not left:
        order, left = (order[1:] if slot < shape.sink else (*order[1:], slot)), steps
    return SlotTurn(order, shape.window, chunk.stop, left), slot + 1 - latents
