"""The reference: BERT's own way of making training instances, in plain Python, after its description (docs/paper.md).

Documents as lists of sentences of token ids come in; instances go out, their tokens masked. Nothing here is used by the
project; the benchmark of instances runs against it, and the tests hold the statistics of our masks to it. What it does
that ours does not: the target is drawn once per document, a chunk of one sentence is always random, and a random
partner may after ten tries be the document itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

SHORT = 0.1  # share of documents with a shorter target


@dataclass
class Reference:
    """One instance: its tokens with the masks in, which side each is on, and what is to be predicted."""

    tokens: list[int]
    types: list[int]
    is_random: bool
    positions: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Words:
    """The vocabulary as the reference sees it; `continues` are the ids of "##" tokens."""

    size: int
    cls: int
    sep: int
    mask: int
    continues: frozenset[int] = frozenset()


def make_instances(
    documents: list[list[list[int]]], words: Words, rng: random.Random, *, length: int = 512, rate: float = 0.15,
    whole_word: bool = False,
) -> Iterator[Reference]:  # fmt: skip
    """Yield the instances of one pass over the documents."""
    for number, document in enumerate(documents):
        room = length - 3
        target = rng.randint(2, room) if rng.random() < SHORT else room
        chunk: list[list[int]] = []
        size = at = 0
        while at < len(document):
            chunk.append(document[at])
            size += len(document[at])
            if at == len(document) - 1 or size >= target:
                cut = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                a = [token for sentence in chunk[:cut] for token in sentence]
                b: list[int] = []
                is_random = len(chunk) == 1 or rng.random() < 0.5
                if is_random:
                    for _ in range(10):
                        partner = rng.randint(0, len(documents) - 1)
                        if partner != number:
                            break
                    other = documents[partner]
                    for sentence in other[rng.randint(0, len(other) - 1) :]:
                        b.extend(sentence)
                        if len(b) >= target - len(a):
                            break
                    at -= len(chunk) - cut  # what A did not use is used again
                else:
                    b = [token for sentence in chunk[cut:] for token in sentence]
                shorten(a, b, room, rng)
                tokens = [words.cls, *a, words.sep, *b, words.sep]
                types = [0] * (len(a) + 2) + [1] * (len(b) + 1)
                tokens, positions, labels = mask_tokens(tokens, words, rng, rate=rate, whole_word=whole_word)
                yield Reference(tokens, types, is_random, positions, labels)
                chunk, size = [], 0
            at += 1


def shorten(a: list[int], b: list[int], room: int, rng: random.Random) -> None:
    """Drop tokens of the longer side, at either end, until both fit."""
    while len(a) + len(b) > room:
        longer = a if len(a) > len(b) else b
        if rng.random() < 0.5:
            del longer[0]
        else:
            longer.pop()


def mask_tokens(
    tokens: list[int], words: Words, rng: random.Random, *, rate: float, whole_word: bool
) -> tuple[list[int], list[int], list[int]]:
    """Mask a share of the tokens: the masked tokens, the positions in order, and what stood there."""
    candidates: list[list[int]] = []
    for i, token in enumerate(tokens):
        if token in (words.cls, words.sep):
            continue
        if whole_word and candidates and token in words.continues:
            candidates[-1].append(i)
        else:
            candidates.append([i])
    rng.shuffle(candidates)
    output = list(tokens)
    wanted = max(1, round(len(tokens) * rate))
    masked: list[tuple[int, int]] = []
    for word in candidates:
        if len(masked) >= wanted:
            break
        if len(masked) + len(word) > wanted:
            continue
        for i in word:
            masked.append((i, tokens[i]))
            if rng.random() < 0.8:
                output[i] = words.mask
            elif rng.random() < 0.5:
                output[i] = rng.randint(0, words.size - 1)
    masked.sort()
    return output, [i for i, _ in masked], [label for _, label in masked]
