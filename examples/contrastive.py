"""Learn vectors in which linked segments are near: a contrastive loss (InfoNCE) on linked pairs, in a plain loop.

    python examples/contrastive.py STORE MODEL OUT [STEPS]

MODEL is a Hugging Face folder, such as RUN/model, or a hub name, with the store's vocabulary.
Of each pair, A and B are encoded apart; the B of every other pair in the batch is a negative.
"""

import sys

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoModel, AutoTokenizer

import linkbert


def encode(model: torch.nn.Module, texts: list[np.ndarray], pad: int) -> torch.Tensor:
    """Return a unit vector for each list of token ids, the mean of its states: (B, H)."""
    width = max(map(len, texts))
    ids = torch.tensor(np.array([np.pad(text, (0, width - len(text)), constant_values=pad) for text in texts]))
    mask = (ids != pad).long()  # (B, T)
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, T, H)
    return normalize((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)


def main(store: str, model: str, out: str, steps: str = "100") -> None:
    """Train for some steps and save a Hugging Face folder."""
    sampler = linkbert.Sampler.open(store, sequence_length=128, shares="0,1/2,1/2")
    network = AutoModel.from_pretrained(model)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    network.train()
    first = 0
    for step in range(1, int(steps) + 1):
        linked: list[np.ndarray] = []  # of each pair: document, first and last token of A and of B
        while len(linked) < 16:
            pairs, relations, _ = sampler.draw(np.arange(first, first + 64))
            linked += list(pairs[relations == 2])
            first += 64
        a, b = (
            encode(
                network,
                [sampler.store.tokens[pair[i] : pair[i + 1]].astype(np.int64) for pair in linked[:16]],
                sampler.pad,
            )
            for i in (1, 4)
        )
        loss = cross_entropy(a @ b.T / 0.05, torch.arange(len(a)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    network.save_pretrained(out)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
