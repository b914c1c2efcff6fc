"""One pass over all chunks of a row equals going chunk by chunk through the cache that inference uses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models import catalog
from models.cache import RingCache
from models.cache_protocol import KeysValues, Visible
from models.cache_shape import AnchorPolicy, CacheShape
from models.pocket.training.attention import WAYS, Way
from models.pocket.training.layout import SLOTS, Layout, draw_layout
from models.pocket.training.network import embedded, token_ids
from models.pocket.training.one_pass import OnePass
from models.pocket.weights import build_transformer, load_transformer
from models.rope import Rotation, rotation
from models.text.word_encoder import WordText
from models.time_grid import TimeGrid
from models.transformer import CausalWanTransformer, TextState

SHIPPED = Path(__file__).parents[2] / "assets" / "pocket" / "transformer.safetensors"
PROMPTS = ("a large red ball bounces over the sea", "a small white cube sways in the city at night")
FIRST, SECOND = 0, 1


@pytest.fixture(scope="module")
def shipped() -> tuple[CausalWanTransformer, WordText]:
    return load_transformer(SHIPPED)


def captions(text: WordText, rows: int) -> Tensor:
    return token_ids(text.words, PROMPTS).expand(rows, -1, -1)


def plain_layout(rows: int, knot: int, *, sink: int = 3, far: int | None = None) -> Layout:
    """Lay out four plain neighbouring chunks; the sink trails, or stands `far` latents away."""
    never = np.full(1, 6)
    layout = draw_layout(np.random.default_rng(0), rows, never, never * 0 - 1, knot)
    latents = torch.arange(9)
    seen = (latents // 3) < torch.arange(SLOTS)[:, None]
    seen &= ~((latents >= sink) & (latents < 3))
    own = torch.ones(SLOTS, 3 + knot, dtype=torch.bool)
    clean = ((latents // 3) <= torch.arange(3)[:, None]) & ~((latents >= sink) & (latents < 3))
    clean[0] = latents < 3
    base = torch.tensor([-sink if far is None else -3 - far, 0, 3, 6])
    return replace(
        layout,
        base=base.expand(rows, -1),
        sees_clean=clean.expand(rows, -1, -1),
        sees_noisy=torch.cat([seen, own], 1).expand(rows, -1, -1),
        prompt_of_clean=torch.tensor([[0, 0, 1]]).expand(rows, -1),
        prompt_of_noisy=torch.tensor([[0, 0, 1, 1]]).expand(rows, -1),
    )


def inputs(net: CausalWanTransformer, rows: int, knot: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    c = net.config.in_channels
    return torch.randn(rows, c, 9, 16, 16), torch.randn(rows, SLOTS, c, 3 + knot, 16, 16)


@pytest.mark.parametrize("policy", [AnchorPolicy.TRAILING, AnchorPolicy.FIXED])
@pytest.mark.parametrize("sink", [0, 3])
@pytest.mark.parametrize("knot", [0, 1, 2])
def test_one_pass_equals_the_ring_cache(
    shipped: tuple[CausalWanTransformer, WordText], knot: int, sink: int, policy: AnchorPolicy
) -> None:
    net, text = shipped
    rows, p = 2, net.config.patch_size[1]
    clean, noisy = inputs(net, rows, knot)
    far = 30 if policy is AnchorPolicy.FIXED and sink else None
    layout = plain_layout(rows, knot, sink=sink, far=far)
    states = [net.embed_text(embedded(text, captions(text, rows)[:, i])) for i in (FIRST, SECOND)]
    shape = CacheShape(
        grid=TimeGrid(3, 3),
        layers=net.config.num_layers,
        heads=net.config.num_attention_heads,
        head_dim=net.config.attention_head_dim,
        rows=16 // p,
        columns=16 // p,
        window=12 if sink else 9,
        sink=sink,
        knot=knot,
        batch=rows,
    )
    cache = RingCache(shape, policy, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        expected = []
        for slot in range(SLOTS):
            at = 3 * slot + (0 if slot == 0 or far is None else far)
            if slot == 1 and not sink:
                cache.clear(at)  # the first chunk has left the window
            prompt = states[int(layout.prompt_of_noisy[0, slot])]
            expected.append(net(noisy[:, slot], 1000 * layout.sigma[:, slot], prompt, cache.begin(at, 3), cache))
            cache.end()
            if slot < SLOTS - 1:
                prompt = states[int(layout.prompt_of_clean[0, slot])]
                own = clean[:, :, 3 * slot : 3 * slot + 3]
                net(own, torch.zeros(1), prompt, cache.begin(at, 3, clean=True), cache, head=False)
                cache.end()
        out = OnePass(net, text)(clean, noisy, layout, captions(text, rows))
    assert (out - torch.stack(expected, 1)).abs().max() < 1e-4


class ListedCache:
    """Keep keys and values by latent; the pass under way sees those that are listed, then its own as a mask says."""

    def __init__(self, layers: int) -> None:
        self.kept: list[list[KeysValues]] = [[] for _ in range(layers)]
        self.seen: list[int] = []
        self.own: list[int] = []
        self.tokens = 0
        self.keeps = False

    def extend(self, layer: int, key: Tensor, value: Tensor, turn: Rotation) -> Visible:
        own = turn(key), value
        parts = [(k.split(self.tokens, 1), v.split(self.tokens, 1)) for k, v in [own]]
        if self.keeps:
            self.kept[layer] += list(zip(*parts[0], strict=True))
        chosen = [self.kept[layer][i] for i in self.seen] + [(parts[0][0][i], parts[0][1][i]) for i in self.own]
        return Visible(torch.cat([k for k, _ in chosen], 1), torch.cat([v for _, v in chosen], 1))


def chunk_by_chunk(net: CausalWanTransformer, text: WordText, clean: Tensor, noisy: Tensor, layout: Layout) -> Tensor:
    """Run a single row slot by slot; recached slots in one clean pass, as their masks say."""
    p, head_dim = net.config.patch_size[1], net.config.attention_head_dim
    tokens = (16 // p) ** 2
    states = [net.embed_text(embedded(text, captions(text, 1)[:, i])) for i in (FIRST, SECOND)]
    out, base = [], layout.base[0].tolist()
    length = noisy.shape[3]
    for slot in range(SLOTS):
        cache = ListedCache(net.config.num_layers)
        cache.tokens = tokens
        past = layout.sees_noisy[0, slot, :9].nonzero().flatten().tolist()
        if past:
            cache.kept = clean_keys(net, states, clean, layout, tokens)
        cache.seen = past
        cache.own = layout.sees_noisy[0, slot, 9:].nonzero().flatten().tolist()
        where = rotation(range(base[slot], base[slot] + length), 16 // p, 16 // p, head_dim, noisy.device)
        prompt = states[int(layout.prompt_of_noisy[0, slot])]
        prediction = net(noisy[:, slot], 1000 * layout.sigma[:, slot], prompt, where, cache)
        assert prediction is not None
        out.append(prediction)
    return torch.stack(out, 1)


def clean_keys(
    net: CausalWanTransformer, states: list[TextState], clean: Tensor, layout: Layout, tokens: int
) -> list[list[KeysValues]]:
    """Return keys and values of the clean latents, by passes over the sets of slots that see each other."""
    p, head_dim = net.config.patch_size[1], net.config.attention_head_dim
    cache, done, base = ListedCache(net.config.num_layers), 0, layout.base[0].tolist()
    cache.tokens, cache.keeps = tokens, True
    while done < 3:
        together = [s for s in range(done, 3) if layout.sees_clean[0, done, 3 * s + 2] or s == done]
        first, last = 3 * done, 3 * together[-1] + 3
        where = [base[s] + i for s in together for i in range(3)]
        cache.seen = [i for i in layout.sees_clean[0, done].nonzero().flatten().tolist() if i < first]
        cache.own = [i - first for i in layout.sees_clean[0, done].nonzero().flatten().tolist() if i >= first]
        turn = rotation(where, 16 // p, 16 // p, head_dim, clean.device)
        prompt = states[int(layout.prompt_of_clean[0, done])]
        net(clean[:, :, first:last], torch.zeros(1), prompt, turn, cache, head=False)
        done = together[-1] + 1
    return cache.kept


@pytest.mark.parametrize("knot", [0, 2])
def test_drawn_rows_equal_passes_slot_by_slot(shipped: tuple[CausalWanTransformer, WordText], knot: int) -> None:
    net, text = shipped
    rng = np.random.default_rng(3)
    rows = 8
    layout = draw_layout(rng, rows, np.array([6, 1, 2, 3, 4]), np.array([-1] * 5), knot)
    clean, noisy = inputs(net, rows, knot)
    with torch.no_grad():
        out = OnePass(net, text)(clean, noisy, layout, captions(text, rows))
        for row in range(rows):
            one = Layout(**{k: v[row : row + 1] for k, v in vars(layout).items()})
            expected = chunk_by_chunk(net, text, clean[row : row + 1], noisy[row : row + 1], one)
            counted = one.counts[0].any(1)
            assert (out[row, counted] - expected[0, counted]).abs().max() < 1e-4, row


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_attend_agree(way: Way) -> None:
    torch.manual_seed(0)
    config = catalog.POCKET.transformer | {"patch_size": (1, 2, 2), "num_layers": 2}
    net, text = build_transformer(config, tuple(sorted({w for p in PROMPTS for w in p.split()})))
    layout = draw_layout(np.random.default_rng(1), 4, np.array([6, 2, 3]), np.array([-1] * 3), 2)
    clean, noisy = inputs(net, 4, 2)
    with torch.no_grad():
        expected = OnePass(net, text, "written")(clean, noisy, layout, captions(text, 4))
        out = OnePass(net, text, way)(clean, noisy, layout, captions(text, 4))
    assert (out - expected).abs().max() < 1e-4


def test_knots_that_a_row_does_not_use_leave_no_trace(shipped: tuple[CausalWanTransformer, WordText]) -> None:
    net, text = shipped
    clean, noisy = inputs(net, 1, 2)
    layout = plain_layout(1, 2)
    layout.sees_noisy[..., 12:] = False
    other = noisy.clone()
    other[:, :, :, 3:] += 1
    with torch.no_grad():
        a, b = (OnePass(net, text)(clean, x, layout, captions(text, 1)) for x in (noisy, other))
    assert torch.equal(a[:, :, :, :3], b[:, :, :, :3])
