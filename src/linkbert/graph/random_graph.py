"""The random graph: every edge of another graph keeps its document and place, and leads to a document drawn uniformly.

What differs from the graph it is made from is the relevance of a link, and nothing else: a control.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from linkbert.corpora.store import Store
from linkbert.graph.links import LinkGraph, write_graph

CHUNK = 1 << 20  # edges drawn at a time, then filled up to the end of a document


def build_random(store: Store, *, source: str = "hyperlink", seed: int = 0, name: str = "random") -> dict[str, Any]:
    """Write STORE/graphs/NAME with the edges of the graph `source` led elsewhere, never to their own document.

    The same seed gives the same bytes. Returns the counts that its graph.json holds.
    """
    graph = LinkGraph.open(store.path, source)
    meta = {"method": "random", "source": source, "seed": seed}
    write_graph(store.path, name, len(store), _draw(graph, len(store), seed), meta)
    return meta


def _draw(graph: LinkGraph, documents: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.Generator(np.random.Philox(seed))
    start = 0
    while start < documents:
        stop = int(np.searchsorted(graph.offsets, graph.offsets[start] + CHUNK, side="right")) - 1
        stop = max(stop, start + 1)
        edges = slice(int(graph.offsets[start]), int(graph.offsets[stop]))
        source = np.repeat(np.arange(start, stop), np.diff(graph.offsets[start : stop + 1]))
        targets = rng.integers(0, max(documents - 1, 1), len(source))
        targets += targets >= source  # of the others: its own number is left out
        yield {
            "source": source,
            "targets": targets,
            "links": graph.links[edges],
            "sections": np.full(len(source), -1, np.int32),
        }
        start = stop
