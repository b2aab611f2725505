"""The TF-IDF graph of a store: time, recall and peak memory of `linkbert graph`, at a quarter, a half and all of it.

    python benchmarks/tfidf.py STORE [--workers 2] [--shares 0.25 0.5 1] [option=value ...]

Of a share, every so-many-th document is taken, tokens and vocabulary only, into a temporary folder. The options are
those of the method, such as memory=2GB or exact=true. Printed: seconds of the clock and of CPU, recall, the largest sum
of the resident sizes of all processes; at last the power of the number of documents that time grows with.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np

from linkbert.corpora.store import Store
from linkbert.files import read_json, write_json
from linkbert.graph.tfidf import open_tokens
from watched import run_watched


def main() -> None:
    """Make the graphs, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("options", nargs="*", metavar="option=value")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    arguments = parser.parse_args()
    measured = []
    with tempfile.TemporaryDirectory() as name:
        for share in arguments.shares:
            folder = Path(name) / f"{share:g}"
            documents = take(arguments.store, folder, share)
            words = ["graph", str(folder), "--method", "tfidf", "--workers", str(arguments.workers), *arguments.options]
            seconds, cpu, peak = run_watched(words)
            meta = read_json(folder / "graphs" / "tfidf" / "graph.json")
            measured.append((documents, seconds, cpu))
            print(
                f"{documents:>9,} documents: {seconds:6.1f} s ({cpu:6.1f} of CPU), peak {peak / 1e9:.2f} GB, "
                f"{meta['edges']:,} edges, recall {meta.get('recall', 'exact')}"
            )
    if len(measured) > 1:
        (first, *before), (last, *after) = measured[0], measured[-1]
        powers = [math.log(b / a) / math.log(last / first) for a, b in zip(before, after, strict=True)]
        print(f"time grows with the number of documents to the power of {powers[0]:.2f}, CPU {powers[1]:.2f}")


def take(store: Path, folder: Path, share: float) -> int:
    """Write the tokens of a share of a store's documents; return their number."""
    made, tokens, documents = open_tokens(store, len(Store.open(store)))
    chosen = np.unique((np.arange(int(share * (len(documents) - 1))) / share).astype(np.int64))
    (folder / "tokens").mkdir(parents=True)
    (folder / "vocabulary").symlink_to((store / "vocabulary").resolve())
    with (folder / "tokens" / "tokens.bin").open("wb") as file:
        for doc in chosen.tolist():
            file.write(tokens[documents[doc] : documents[doc + 1]].tobytes())
    starts = np.concatenate([[0], np.cumsum(np.diff(documents)[chosen])]).astype("<i8")
    (folder / "tokens" / "documents.bin").write_bytes(starts.tobytes())
    write_json(folder / "tokens" / "tokens.json", made | {"tokens": int(starts[-1]), "documents": len(chosen)})
    write_json(folder / "store.json", {"format": 1, "documents": len(chosen), "shards": 0})
    return len(chosen)


if __name__ == "__main__":
    main()
