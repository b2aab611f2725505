"""A mixture: instances of several stores in one sequence, by weights that are rounded to BLOCK-ths, the shares.

Instance n of the mixture is instance m of store s, and (s, m) follows from n and the shares alone. Any first n hold
more than n * share - 1 and fewer than n * share + 1 of every store, and a store's own come as 0, 1, 2, ... So each runs
through its epochs in its own permutation, without repeating or leaving out an anchor, as independent draws would not.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linkbert.config import Config
from linkbert.graph.links import ARRAYS, LinkGraph
from linkbert.instances.parts import Part
from linkbert.instances.sampler import Sampler, fit_config, open_graph, without_links
from linkbert.instances.tokens import DTYPES, TokenStore
from linkbert.instances.vocabulary import check_same_vocabulary

BLOCK = 10_000  # weights are rounded to so many parts, and the order of stores repeats after so many instances
SAMPLES, SAMPLED = 64, 4096  # a fingerprint reads so many blocks, of so many bytes, of each file


@dataclass(frozen=True)
class OpenPart:
    """A store as a run learns from it; the config has the store's own settings."""

    part: Part
    config: Config
    tokens: TokenStore
    graph: LinkGraph | None
    share: int = BLOCK  # of its instances in a block

    @property
    def weight(self) -> float:
        """The store's weight as it is counted; those of all stores sum to 1."""
        return self.share / BLOCK


class Mixture:
    """Makes instances of several stores by their shares; like Sampler, it holds tables, and no state that changes."""

    def __init__(self, samplers: Sequence[Sampler], shares: Sequence[int], config: Config) -> None:
        self.samplers, self.config, self.pad = samplers, config, samplers[0].pad
        self.shares, self.order = np.array(shares, np.int64), interleave(shares)
        self.ranks = np.zeros(len(self.order), np.int64)  # how many of the same store come before in the block
        for store, share in enumerate(shares):
            self.ranks[self.order == store] = np.arange(share)

    def owners(self, numbers: np.ndarray) -> Iterator[tuple[Sampler, np.ndarray, np.ndarray]]:
        """Yield each store's sampler, which instances it draws, bool (B,), and their numbers there, int64."""
        block, place = np.divmod(numbers, len(self.order))
        own = block * self.shares[self.order[place]] + self.ranks[place]
        for store, sampler in enumerate(self.samplers):
            mine = self.order[place] == store
            yield sampler, mine, own[mine]

    def draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the segments of instances, documents and tokens counted in their own store; see `Sampler.draw`."""
        pairs, relations = np.empty((len(numbers), 6), np.int64), np.empty(len(numbers), np.int64)
        causes = np.empty(len(numbers), np.uint8)
        for sampler, mine, own in self.owners(numbers):
            pairs[mine], relations[mine], causes[mine] = sampler.draw(own)
        return pairs, relations, causes

    def write(
        self, numbers: np.ndarray, pairs: np.ndarray, starts: np.ndarray, ids: np.ndarray, types: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write drawn instances, masked, into flat arrays; see `Sampler.write`."""
        owners = self.owners(numbers)
        written = [sampler.write(own, pairs[mine], starts[mine], ids, types) for sampler, mine, own in owners]
        positions, labels = (np.concatenate(each) for each in zip(*written, strict=True))
        ascending = np.argsort(positions)
        return positions[ascending], labels[ascending]


def interleave(shares: Sequence[int]) -> np.ndarray:
    """Lay the stores of one block out evenly: int64 (sum of the shares,), the store of each place.

    Instance j of a store with share c of a block of n belongs to the places from floor(j * n / c) to ceil((j + 1) * n /
    c): from that follows the module's law. Earliest deadline first keeps all these bounds, as some order does.

    >>> interleave([3, 2]).tolist()
    [0, 1, 0, 0, 1]
    """
    block, done, order = sum(shares), [0] * len(shares), []
    for place in range(block):
        ready = [s for s, share in enumerate(shares) if done[s] * block < (place + 1) * share]
        first = min(ready, key=lambda s: -(-(done[s] + 1) * block // shares[s]))
        done[first] += 1
        order.append(first)
    return np.array(order, np.int64)


def round_weights(weights: Sequence[float]) -> list[int]:
    """Turn weights into shares of BLOCK, by largest remainders; ValueError where one would come to nothing.

    >>> round_weights([0.8, 0.2]), round_weights([1, 1, 1])
    ([8000, 2000], [3334, 3333, 3333])
    """
    exact = np.array(weights, np.float64) / max(weights)
    exact *= BLOCK / exact.sum()
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: BLOCK - shares.sum()]] += 1
    if shares.min() == 0:
        small = f"a weight of {min(weights):g} next to {max(weights):g} is below 1 in {BLOCK:,}"
        raise ValueError(f"{small}: give each store a weight, as in NAME=STORE:0.1, or leave the small one out")
    return shares.tolist()


def open_parts(parts: Sequence[Part], config: Config) -> list[OpenPart]:
    """Open the stores of a run, in order of their names; they must share one vocabulary.

    Without links and shares of its own, a store is asked for two relations; without a weight, it counts by its tokens.
    """
    opened: list[OpenPart] = []
    for part in sorted(parts, key=lambda part: part.name):
        own = part.config(config)
        tokens, graph = TokenStore.open(part.path), open_graph(part.path, own)
        if opened:
            first = opened[0].tokens
            check_same_vocabulary(first.vocabulary, tokens.vocabulary, first.path / "vocabulary", of=str(part.path))
        if "shares" not in part.settings and (graph is None or not len(graph.targets)):
            part = replace(part, settings={**part.settings, "shares": without_links(own.shares)})
        opened.append(OpenPart(part, fit_config(part.config(config), tokens, graph), tokens, graph))
    if len({part.weight is None for part in parts}) > 1:
        names = ", ".join(part.name for part in parts if part.weight is None)
        raise ValueError(f"--mix has no weight for {names}: give a weight to every store, or to none (by tokens, then)")
    if len(opened) == 1:
        return opened
    shares = round_weights([each.part.weight or len(each.tokens.tokens) for each in opened])
    return [replace(each, share=share) for each, share in zip(opened, shares, strict=True)]


def make_sampler(opened: Sequence[OpenPart], config: Config) -> Sampler | Mixture:
    """Make what draws the training instances of a run: the sampler of its one store, or the mixture of several."""
    samplers = [
        Sampler(each.tokens, each.graph, each.config, anchors=each.config.anchors, share=each.weight) for each in opened
    ]
    return samplers[0] if len(opened) == 1 else Mixture(samplers, [each.share for each in opened], config)


def count_tokens(opened: Sequence[OpenPart]) -> np.ndarray:
    """Count how often each token of the vocabulary is met, (V,): int64, or float64 by the shares of several stores."""
    counts = [each.tokens.count_tokens() for each in opened]
    if len(counts) == 1:
        return counts[0]
    scale = sum(int(count.sum()) for count in counts) / BLOCK  # as many in all as the stores have
    weighted = [each.share / max(count.sum(), 1) * count for each, count in zip(opened, counts, strict=True)]
    return scale * np.sum(weighted, axis=0)


def fingerprint(store: Path, graph: str) -> str:
    """Tell stores apart by what a run reads of them: a hash of sizes and sampled blocks, not of dates or paths."""
    digest = hashlib.blake2b(digest_size=16)
    arrays = {store / "tokens": {"tokens", *DTYPES}, store / "graphs" / graph: ARRAYS}
    files = [folder / f"{name}.bin" for folder, names in arrays.items() for name in sorted(names)]
    files += [store / "vocabulary" / name for name in ("vocab.txt", "tokenizer.json")]
    for path in filter(Path.is_file, files):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(SAMPLED, size // SAMPLES)):
                file.seek(start)
                digest.update(file.read(SAMPLED))
    return digest.hexdigest()
