"""What bags of words tell, as baselines: BM25, and a logistic regression on weighted counts. Texts are tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import log_softmax

K1, B = 1.2, 0.75  # of BM25, as Lucene has them
STRENGTHS = (0.1, 1.0, 10.0)  # of a regression: scikit-learn's C


def count_words(texts: Sequence[np.ndarray], size: int) -> csr_matrix:
    """Count the tokens of texts, of a vocabulary of so many: float64 (texts, size)."""
    ends = np.cumsum([0, *map(len, texts)])
    found = csr_matrix((np.ones(ends[-1]), np.concatenate(texts).astype(np.int32), ends), (len(texts), size))
    found.sum_duplicates()
    return found


def weigh(texts: Sequence[np.ndarray], size: int) -> csr_matrix:
    """Give each text 1 + log(count) of its tokens, scaled to length 1: float64 (texts, size)."""
    found = count_words(texts, size)
    found.data = 1 + np.log(found.data)
    sums = np.asarray(found.multiply(found).sum(1))[:, 0]
    found.data /= np.repeat(np.sqrt(np.where(sums > 0, sums, 1)), np.diff(found.indptr))
    return found


def bm25(asked: Sequence[np.ndarray], texts: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Score texts for what is asked by BM25, a token that is asked twice counting once: (asked, texts)."""
    counts, lengths = count_words(texts, size), np.array([len(text) for text in texts])
    times = np.bincount(counts.indices, minlength=size)
    rarity = np.log(1 + (len(texts) - times + 0.5) / (times + 0.5))
    norms = np.repeat(K1 * (1 - B + B * lengths / lengths.mean()), np.diff(counts.indptr))
    counts.data = rarity[counts.indices] * counts.data / (counts.data + norms)
    words = count_words(asked, size)
    words.data[:] = 1
    return np.asarray((words @ counts.T).todense())


def regress(fit: Any, labels: np.ndarray, asked: Any) -> np.ndarray:
    """Fit a logistic regression, its strength chosen on a tenth of what it is fitted on; score what is asked (n, C)."""
    cut = len(labels) * 9 // 10
    tried = [
        (logistic(fit[:cut], labels[:cut], each)(fit[cut:]).argmax(1) == labels[cut:]).mean() for each in STRENGTHS
    ]
    return logistic(fit, labels, STRENGTHS[int(np.argmax(tried))])(asked)


def logistic(x: Any, labels: np.ndarray, strength: float) -> Callable[[Any], np.ndarray]:
    """Fit a multinomial logistic regression, as scikit-learn does with C = `strength`; return what scores rows."""
    shape, true = (x.shape[1] + 1, int(labels.max()) + 1), np.eye(int(labels.max()) + 1)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        chances = log_softmax(x @ weights[:-1] + weights[-1], axis=1)
        wrong = strength * (np.exp(chances) - true)
        gradient = np.vstack([x.T @ wrong + weights[:-1], wrong.sum(0)])
        return -strength * (chances * true).sum() + (weights[:-1] ** 2).sum() / 2, gradient.ravel()

    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"ftol": 1e-7})
    weights = found.x.reshape(shape)
    return lambda rows: rows @ weights[:-1] + weights[-1]
