"""The shape of a graph in numbers: a LinkGraph comes in, counts and curves for `linkbert stats` and its plots go out.

Two edges of a document to the same target count once, as they do in the in-degree and for the sampler. Edges are read
block by block; only the largest component and mutual links take the whole graph into memory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from linkbert.graph.links import LinkGraph

BLOCK = 1 << 22  # edges looked at together
LOOKED_UP = 1 << 18  # edges whose opposite is looked for; of more, so many are drawn
ALPHAS = (0.0, 0.5, 1.0)
POINTS = 101  # of a curve


def describe_graph(graph: LinkGraph, weights: np.ndarray | None = None) -> dict[str, Any]:
    """Measure a graph; `weights` (N,) says how often each document is a source (its anchors; else each as often).

    `in_degree` and `out_degree` are histograms, [[1, documents], [2, ...], [4, ...]]: documents with a degree of at
    least that number and less than the next; those of degree 0 are under `without_in` and `without_out`. `reciprocity`
    is the share of edges whose opposite is there too (of `reciprocity_of` that were looked up), `largest_component` a
    share of the documents, directions apart. `coverage` has for each alpha what the draw in proportion to
    in-degree^-alpha (section 4.2 of the paper) does: `curve`, 101 points of the share of draws that lead to the 0, 1,
    ... 100 % most drawn documents; `half`, the share of documents that get half of the draws.
    """
    documents = len(graph.in_degree)
    out_degree = np.zeros(documents, np.int64)
    weights = np.ones(documents) if weights is None else weights.astype(np.float64)
    draws = {alpha: np.zeros(documents) for alpha in ALPHAS}
    for start, stop, source, target in distinct_edges(graph):
        out_degree[start:stop] = np.bincount(source - start, minlength=stop - start)
        for alpha, drawn in draws.items():
            chance = np.maximum(graph.in_degree[target], 1.0) ** -alpha
            total = np.bincount(source - start, chance, stop - start)
            drawn += np.bincount(target, weights[source] * chance / total[source - start], documents)
    matrix = csr_array((np.ones(len(graph.targets), bool), graph.targets, graph.offsets), (documents, documents))
    edges = np.arange(len(graph.targets))
    if len(edges) > LOOKED_UP:
        edges = np.sort(np.random.default_rng(0).choice(len(edges), LOOKED_UP, replace=False))
    source = np.searchsorted(graph.offsets, edges, side="right") - 1
    source, target = _distinct(source, graph.targets[edges], documents)
    components = connected_components(matrix, connection="weak")[1]
    return {
        "documents": documents,
        "distinct_edges": int(out_degree.sum()),
        "without_in": int((graph.in_degree == 0).sum()),
        "without_out": int((out_degree == 0).sum()),
        "in_degree": _histogram(graph.in_degree),
        "out_degree": _histogram(out_degree),
        "reciprocity": int(matrix[target, source].sum()) / max(len(source), 1),
        "reciprocity_of": len(source),
        "largest_component": float(np.bincount(components).max() / documents),
        "coverage": {f"{alpha:g}": _coverage(drawn) for alpha, drawn in draws.items()},
    }


def distinct_edges(graph: LinkGraph) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yield (first document, past the last, sources, targets) of distinct edges, block by block."""
    documents, start = len(graph.in_degree), 0
    while start < documents:
        stop = int(np.searchsorted(graph.offsets, graph.offsets[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), documents)
        source = np.repeat(np.arange(start, stop), np.diff(graph.offsets[start : stop + 1]))
        yield start, stop, *_distinct(source, graph.targets[graph.offsets[start] : graph.offsets[stop]], documents)
        start = stop


def _distinct(source: np.ndarray, target: np.ndarray, documents: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.sort(source * documents + target)  # sorted by hand, as np.unique hashes, which is slower
    return np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], max(documents, 1))


def _histogram(degrees: np.ndarray) -> list[list[int]]:
    """Count by powers of two: [0, 1, 2, 3] -> [[1, 1], [2, 2]]."""
    positive = np.asarray(degrees)[degrees > 0]
    return [[1 << power, int(count)] for power, count in enumerate(np.bincount(np.log2(positive).astype(int)))]


def _coverage(drawn: np.ndarray) -> dict[str, Any]:
    most = np.sort(drawn)[::-1]
    shares = np.concatenate([[0.0], np.cumsum(most) / max(most.sum(), 1e-300)])
    places = np.linspace(0, len(most), POINTS)
    curve = np.interp(places, np.arange(len(shares)), shares)
    half = int(np.searchsorted(shares, 0.5)) / len(most)
    return {"curve": [round(float(share), 4) for share in curve], "half": half if shares[-1] > 0 else 0.0}
