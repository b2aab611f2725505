"""A graph method: each document is linked to those whose words, projected at random, have the nearest vectors."""

from __future__ import annotations

import numpy as np

from linkbert.corpora.store import Store
from linkbert.graph.links import Edges


def neighbours(store: Store, *, k: int = 2, dimensions: int = 16, seed: int = 0) -> Edges:
    """Return k edges for each document, to the others with the largest cosine."""
    words: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(seed)
    vectors = np.zeros((len(store), dimensions))
    for number, document in enumerate(store.documents()):
        for word in document.text.lower().split():
            if word not in words:
                words[word] = rng.normal(size=dimensions)
            vectors[number] += words[word]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    targets = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return Edges(np.repeat(np.arange(len(store)), targets.shape[1]), targets.ravel())
