"""Read a prompt's padding as a few keys that count often.

Wan reads 512 positions of text without a mask; those past the prompt's end are zeros, so that all of them have one key
and one value. Softmax over n equal keys is softmax over one of them with log(n) added to its logit, which is exact
(log-sum-exp), and most prompts have a hundred tokens or fewer. A bias has the type of the queries, and in bfloat16
log(400) is off by a percent: the n keys are therefore spread over CARRIERS keys, each with what the ones before it
leave to be counted.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

CARRIERS = 8  # keys of padding that stand for all that are left out
STEP = 32  # kept positions are a multiple of it, so that prompts have few different shapes
NOTHING = -60.0  # logit of a key that counts e-26 times


def kept_positions(embeddings: Tensor) -> int:
    """Return how many positions of text embeddings [N, L, text_dim] need keys of their own, 1 … L.

    Behind them, and in the last CARRIERS of them, all rows have padding: zeros.
    """
    length = embeddings.shape[1]
    if length <= STEP:
        return length
    words = embeddings.detach().ne(0).any(-1).any(0).nonzero()
    end = int(words[-1]) + 1 if len(words) else 0
    return min(length, STEP * math.ceil((end + CARRIERS) / STEP))


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # as a training step may be the next that uses it
def padding_bias(length: int, kept: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what is added to the logits of `kept` positions, [kept], so that the last ones count for all of `length`.

    Each carrier gets the largest logit of the type whose exponential does not exceed what is still to be counted.
    """
    bias, left = torch.zeros(kept, dtype=dtype), float(length - kept + CARRIERS)
    for place in range(kept - CARRIERS, kept):
        logit = torch.tensor(max(NOTHING, math.log(left)) if left > 0 else NOTHING, dtype=dtype)
        if left > 0 and math.exp(float(logit)) > left:
            logit = torch.nextafter(logit, logit.new_tensor(-math.inf))
        bias[place] = logit
        left -= math.exp(float(logit))
    return bias.to(device)
