"""Start values that let a small encoder from scratch see neighbours from its first step.

In: a BertModel with random weights. Out: the same one, its position embeddings and the queries and keys of its first
layer set so that each head looks at one place beside its own: before, after, two before, two after, ... Everything else
stays as it was, and all of it is learnt on. From random values each of these views has to be found for every place by
itself, out of a gradient that averages over all the others; until then a model knows how common words are and no more.
On two layers that takes tens of millions of tokens (docs/log.md); the paper's tiny model sees 10 G.
"""

from __future__ import annotations

import math

import torch
from transformers import BertModel

SCORE = 12.0  # of the place looked at, before the softmax; by words alone others have up to about 8 among 512
SPREAD = 1.25  # 1 would space frequencies evenly, and places 2 * hidden / heads apart would look alike


@torch.no_grad()
def look_at_neighbours(bert: BertModel) -> None:
    """Set the position embeddings to waves and the first layer's heads to shifts of them, in place.

    A place p has sin(w p) and cos(w p) for hidden / 2 frequencies w between 0 and pi, so close to evenly spread that
    two places are nearly orthogonal. To look a step on is to turn each wave by its w: a rotation, which a query can
    make. Waves are twice as large as the words that they are added to, so they are half of the normed input's square.
    """
    config, table = bert.config, bert.get_parameter("embeddings.position_embeddings.weight")  # (P, H)
    waves, size = config.hidden_size // 2, config.hidden_size // config.num_attention_heads
    frequencies = math.pi * ((torch.arange(waves) + 0.5) / waves) ** SPREAD
    angles = torch.arange(len(table))[:, None] * frequencies  # (P, waves)
    table[:, : 2 * waves] = 2 * config.initializer_range * torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    query, key = (
        bert.get_parameter(f"encoder.layer.0.attention.self.{name}.weight").view(-1, size, config.hidden_size)
        for name in ("query", "key")
    )
    gain = math.sqrt(2 * SCORE / math.sqrt(size))  # in queries and in keys alike
    for head in range(config.num_attention_heads):
        shift = head // 2 + 1 if head % 2 else -(head // 2 + 1)
        mine = torch.arange(head, waves, config.num_attention_heads)[: size // 2]  # waves of all lengths for each head
        sine, cosine = 2 * mine, 2 * mine + 1  # columns
        first = torch.arange(len(mine)) * 2  # rows
        turn = frequencies[mine] * shift
        query[head], key[head] = 0, 0
        key[head, first, sine] = key[head, first + 1, cosine] = gain
        query[head, first, sine] = query[head, first + 1, cosine] = gain * turn.cos()
        query[head, first, cosine], query[head, first + 1, sine] = gain * turn.sin(), -gain * turn.sin()
