"""Pairs of random tokens, and rows that hold several of them."""

import types

import torch

from linkbert.records import IGNORED

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "attention_probs_dropout_prob": 0.0,
}


def pairs_of(lengths, *, seed=0):
    """Draw pairs: tokens, segment ids, up to 4 masked places after [CLS], their labels, and a relation of two."""
    random = torch.Generator().manual_seed(seed)
    draw = lambda size, high: torch.randint(1, high, size, generator=random)  # noqa: E731
    return [
        (
            draw((n,), 97),
            (torch.arange(n) >= n // 3).long(),
            (torch.randperm(n - 1, generator=random)[:4] + 1).sort().values,
            draw((min(4, n - 1),), 97),
            draw((), 3) - 1,
        )
        for n in lengths
    ]


def pack(pairs, rows, *, width):
    """Lay pairs out as a Batch does: `rows` lists the pairs of each row; every list of slots has two that fill up."""
    shape = (len(rows), width)
    ids, kinds, positions = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    numbers = torch.full(shape, -1)
    first, masked, labels, relations = [], [], [], []
    for row, members in enumerate(rows):
        start = 0
        for tokens, types_, places, wanted, relation in (pairs[i] for i in members):
            part = row, slice(start, start + len(tokens))
            ids[part], kinds[part], positions[part] = tokens, types_, torch.arange(len(tokens))
            numbers[part] = len(first)
            first.append(row * width + start)
            masked += (places + row * width + start).tolist()
            labels += wanted.tolist()
            relations.append(int(relation))
            start += len(tokens)
    return types.SimpleNamespace(
        input_ids=ids,
        token_type_ids=kinds,
        positions=positions,
        pairs=numbers,
        first=torch.tensor([*first, 0, 0]),
        masked_positions=torch.tensor([*masked, 0, 0]),
        masked_labels=torch.tensor([*labels, IGNORED, IGNORED]),
        relations=torch.tensor([*relations, IGNORED, IGNORED]),
    )
