"""The random graph: every edge of another graph keeps its document and place, and leads to a document drawn uniformly.

What differs from the graph it is made from is the relevance of a link, and nothing else: a control.
"""

from collections.abc import Iterator

import numpy as np

from linkbert.corpora.store import Store
from linkbert.graph.links import Edges, LinkGraph, cut_parts

CHUNK = 1 << 20  # edges drawn at a time, then filled up to the end of a document


def build(store: Store, *, source: str = "hyperlink", seed: int = 0) -> Iterator[Edges]:
    """Yield the edges of the graph `source` with other targets, never their own document; a seed is 0 or more."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be 0 to 2^63 - 1, got {seed}")
    graph, documents = LinkGraph.open(store.path, source), len(store)
    rng = np.random.Generator(np.random.Philox(seed))
    for part in cut_parts(graph.offsets, CHUNK, documents):
        offsets = graph.offsets[part[0] : part[-1] + 2]
        sources = np.repeat(part, np.diff(offsets))
        targets = rng.integers(0, max(documents - 1, 1), len(sources))
        targets += targets >= sources  # of the others: its own number is left out
        yield Edges(sources, targets, graph.links[offsets[0] : offsets[-1]])
