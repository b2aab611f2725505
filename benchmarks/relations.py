"""Score a run's relation head on held-out anchors that have a usable link, beside two logistic regressions.

One regression sees the words of A only, one those of B only: what they reach can be read off a single segment. A model
that relates the two has to beat both. All are scored on the same pairs, with 95 % intervals; the regressions are fitted
on training pairs of the same sampler.

    python benchmarks/relations.py STORE RUN [RUN ...] [--pairs 4096] [--fit 60000]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from linkbert.config import Config
from linkbert.files import read_json
from linkbert.instances.batches import Batches
from linkbert.instances.sampler import Sampler, open_graph
from linkbert.instances.tokens import TokenStore
from linkbert.model.checkpoint import load_model
from linkbert.pretraining.distributed import DistributedContext
from linkbert.pretraining.evaluation import GROUPS, evaluate
from linkbert.pretraining.scores import clustered, describe, percent
from linkbert.records import RELATIONS


def bags(store: TokenStore, pairs: np.ndarray, side: int) -> csr_matrix:
    """Count the words of one side of pairs (B, 6): a sparse matrix (B, vocabulary) of 0 and 1, as int32."""
    rows = [np.unique(store.tokens[a:b]) for a, b in pairs[:, 1 + 3 * side : 3 + 3 * side]]
    offsets = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate(rows).astype(np.int32)
    return csr_matrix((np.ones(len(columns), np.float32), columns, offsets), shape=(len(pairs), len(store.vocabulary)))


def main() -> None:
    """Fit, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--pairs", type=int, default=4096)
    parser.add_argument("--fit", type=int, default=60_000, help="pairs the regressions are fitted on; 0: none")
    arguments = parser.parse_args()
    store = TokenStore.open(arguments.store)
    scored = set()
    for run in arguments.runs:
        config = Config(**read_json(run / "run.json")["config"]).replace(eval_pairs=arguments.pairs)
        question = (config.sequence_length, config.seed, config.scope, config.held_out)
        if question not in scored and arguments.fit:
            scored.add(question)
            print(f"sequence_length={config.sequence_length} scope={config.scope} held_out={config.held_out}")
            regressions(store, arguments.store, config, arguments.fit)
        graph, asked = open_graph(arguments.store, config), config.replace(batch_size=arguments.pairs)
        batches = Batches(Sampler(store, graph, asked, split="held-out", anchors="usable"))
        scores = evaluate(load_model(run / "model"), {"": [batches]}, DistributedContext())
        print(run.name)
        for line in describe(scores):
            print("  " + line)


def regressions(store: TokenStore, path: Path, config, fit: int) -> None:
    """Fit a regression on A and one on B, and print their accuracy on the held-out pairs."""
    graph = open_graph(path, config)
    train = Sampler(store, graph, config, split="train", anchors="usable")
    test = Sampler(store, graph, config, split="held-out", anchors="usable")
    print(f"  usable anchors: {len(train):,} to fit on, {len(test):,} held out")
    fit_pairs, fit_relations, _ = train.draw(np.arange(fit))
    pairs, relations, _ = test.draw(np.arange(config.eval_pairs))
    print("  pairs: " + ", ".join(f"{name} {(relations == i).sum()}" for i, name in enumerate(RELATIONS)))
    for side, name in enumerate("AB"):
        weigh = TfidfTransformer(sublinear_tf=True)
        features = weigh.fit_transform(bags(store, fit_pairs, side))
        tried = []
        for strength in (0.1, 1.0, 10.0):  # chosen on a tenth of the pairs it is fitted on
            half = len(fit_relations) * 9 // 10
            model = LogisticRegression(C=strength, max_iter=1000).fit(features[:half], fit_relations[:half])
            tried.append((model.score(features[half:], fit_relations[half:]), model))
        guesses = max(tried, key=lambda pair: pair[0])[1].predict(weigh.transform(bags(store, pairs, side)))
        right, documents = guesses == relations, pairs[:, 0] % GROUPS
        print(f"  bag of words of {name} only: {share(right, documents)}")
        for relation, label in enumerate(RELATIONS):
            of = relations == relation
            print(f"    {label}: {share(right[of], documents[of])}")


def share(right: np.ndarray, groups: np.ndarray) -> str:
    """Write the share of bool (B,) that is true, with an interval over groups (B,) of documents."""
    counts = (np.bincount(groups[chosen], minlength=GROUPS).tolist() for chosen in (right, slice(None)))
    return percent(clustered(*counts))


if __name__ == "__main__":
    main()
