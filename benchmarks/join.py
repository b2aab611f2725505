"""The join of links with titles and redirects: seconds, memory and edges, and whether it is right.

    python benchmarks/join.py [--documents 7000000] [--redirects 10000000] [--links 20000000] [--workers 2 1]
    python benchmarks/join.py --documents 200000 --redirects 300000 --links 1000000 --compare

A store with the shape of Wikipedia's names is written first, the same bytes for the same sizes: names of 8 to 60
letters, targets by Zipf's law, links that are dead (8 %), go through a redirect (15 %) or name a section (4 %);
redirects of which a few lead to another, round in a circle, or have the name of a document or another redirect; tiny
texts. Its folder stays if it is named (`--store`). Every join is `linkbert graph` in a process of its own. `--compare`
resolves every link again, one after the other, in dictionaries, and compares the graph's files byte for byte.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkbert.corpora.store import DOCUMENTS, DROPPED, REDIRECTS, Store, shard_path
from linkbert.files import STORE_FORMAT, read_json, remove
from linkbert.graph.hyperlinks import find_sections
from linkbert.graph.links import ARRAYS, graph_folder
from watched import run_watched

SHARD = 100_000  # documents
HOW: dict[str, Any] = {"compression": "zstd", "use_dictionary": False}  # as a store is written
LETTERS = np.frombuffer(b"eeeeeaaaaooiiinnnttrrssllddhhuccmmppgbfywkv     ", np.uint8)
POOL = np.random.default_rng(0).choice(LETTERS, 1 << 20)
DIGITS = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", np.uint8)
TEXTS = ("Lead. More.\nHistory\nText.", "Text.", "History")


def main() -> None:
    """Write the store, join, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=7_000_000)
    parser.add_argument("--redirects", type=int, default=10_000_000)
    parser.add_argument("--links", type=int, default=20_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 1], help="threads of the join")
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--store", type=Path, help="where the store is written, or lies already")
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = arguments.store or Path(temporary) / "store"
        if not (path / "store.json").exists():
            start = time.perf_counter()
            write_store(path, arguments.documents, arguments.redirects, arguments.links)
            print(f"store written in {time.perf_counter() - start:.0f} s")
        folder = graph_folder(path, "hyperlink")
        for workers in arguments.workers:
            remove(folder)
            words = ["graph", str(path), "--method", "hyperlink", f"memory={arguments.memory}"]
            seconds, cpu, peak = run_watched([*words, "--workers", str(workers)])
            print(f"{workers} workers: {seconds:.1f} s ({cpu:.1f} of CPU), peak {peak / 1e9:.2f} GB", flush=True)
        print(", ".join(f"{name} {value}" for name, value in read_json(folder / "graph.json").items()))
        if arguments.compare:
            expected = resolve(Store.open(path))
            for key, dtype in ARRAYS.items():
                same = (folder / f"{key}.bin").read_bytes() == expected[key].astype(dtype).tobytes()
                print(f"{key}: {'the same bytes' if same else 'DIFFERENT'}, {len(expected[key]):,} numbers")


def mix(numbers: np.ndarray) -> np.ndarray:
    """Give each number 64 bits that look random (splitmix64)."""
    bits = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def make_names(numbers: np.ndarray) -> pa.StringArray:
    """Name each number: letters of a length that is lognormal, as that of titles, and six digits that are its own."""
    bits = mix(numbers)
    quantiles = np.clip(np.exp(np.random.default_rng(1).normal(2.5, 0.6, 1 << 12)), 2, 54).astype(np.int64)
    lengths = quantiles[(bits >> np.uint64(40)) & np.uint64(0xFFF)]
    ends = np.cumsum(lengths + 6)
    begins = ends - lengths - 6
    places = np.arange(int(ends[-1]) if len(ends) else 0)
    owner = np.repeat(np.arange(len(numbers)), lengths + 6)
    letters = POOL[((bits >> np.uint64(8)).astype(np.int64)[owner] + places - begins[owner]) & 0xFFFFF]
    rest = numbers.astype(np.int64)
    for digit in range(1, 7):
        letters[ends - digit] = DIGITS[rest % 36]
        rest = rest // 36
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(letters.tobytes()))


def write_store(path: Path, documents: int, redirects: int, links: int) -> None:
    """Write a store; names of documents are numbered from 0, then come those of redirects, then those of nothing."""
    for part in ("documents", "redirects"):
        (path / part).mkdir(parents=True, exist_ok=True)
    shards = max(1, round(documents / SHARD))
    kinds = pa.array(["", "History", "Nowhere"])
    dropped = []
    for shard in range(shards):
        rng = np.random.default_rng([2, shard])
        numbers = np.arange(documents * shard // shards, documents * (shard + 1) // shards)
        ids = numbers.copy()
        ids[5::50_000] = ids[4::50_000][: len(ids[5::50_000])]  # two of one name: the second does not count
        dropped += [{"shard": shard, "row": row, "cause": "duplicate id"} for row in range(5, len(ids), 50_000)]
        counts = rng.geometric(documents / (documents + links), len(ids)) - 1  # so many links a document
        total = int(counts.sum())
        targets = draw(rng, total, documents)
        kind = rng.random(total)
        targets = np.where(kind < 0.15, documents + draw(rng, total, max(redirects, 1)), targets)
        targets = np.where(kind > 0.92, documents + redirects + draw(rng, total, documents), targets)
        fragments = pa.DictionaryArray.from_arrays(rng.choice(3, total, p=[0.96, 0.03, 0.01]).astype(np.int8), kinds)
        places = pa.array(np.full(total, -1, np.int32))
        columns = [places, places, make_names(targets), fragments.dictionary_decode()]
        values = pa.StructArray.from_arrays(columns, fields=list(DOCUMENTS.field("links").type.value_type))
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        names = make_names(ids)
        texts = pa.array(TEXTS, pa.large_string()).take(pa.array(numbers % 3))
        flags = pa.array(numbers % 50 == 3)
        listed = pa.array([[], [{"name": "Nowhere", "start": 6}]], DOCUMENTS.field("sections").type)
        places = listed.take(pa.array((numbers % 99 == 0).astype(np.int8)))
        lists = pa.ListArray.from_arrays(offsets, values)
        table = pa.table([names, names, texts, flags, lists, places], schema=DOCUMENTS)
        with pq.ParquetWriter(shard_path(path, "documents", shard), DOCUMENTS, **HOW) as writer:
            writer.write_table(table, row_group_size=1_000)
        shard_path(path, "documents", shard, ".json").write_text(json.dumps({"documents": len(table)}))

        sources = np.arange(redirects * shard // shards, redirects * (shard + 1) // shards)
        leads = draw(rng, len(sources), documents)
        again = rng.random(len(sources)) < 0.002  # a redirect to a redirect
        leads = np.where(again, documents + rng.integers(0, max(redirects, 1), len(sources)), leads)
        circle = np.arange(7, len(sources) - 1, 20_000)
        leads[circle], leads[circle + 1] = documents + sources[circle + 1], documents + sources[circle]
        sources = documents + sources
        sources[9::20_000] = draw(rng, len(sources[9::20_000]), documents)  # a document has the name
        sources[11::20_000] = sources[10::20_000][: len(sources[11::20_000])]  # another redirect has the name
        fragments = pa.DictionaryArray.from_arrays((rng.random(len(sources)) < 0.05).astype(np.int8), kinds)
        table = pa.table([make_names(sources), make_names(leads), fragments.dictionary_decode()], schema=REDIRECTS)
        pq.write_table(table, shard_path(path, "redirects", shard), **HOW)
    pq.write_table(pa.Table.from_pylist(dropped, schema=DROPPED), path / "dropped.parquet")
    manifest = {"format": STORE_FORMAT, "documents": documents - len(dropped), "redirects": redirects, "shards": shards}
    (path / "store.json").write_text(json.dumps(manifest))


def draw(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Draw numbers below `size` by Zipf's law, the frequent ones spread over all."""
    ranks = np.minimum((size ** rng.random(count)).astype(np.int64), size - 1)
    return (ranks * 1_000_003 + 17) % size


def resolve(store: Store) -> dict[str, np.ndarray]:
    """Resolve every link of a store by dictionaries, as plainly as can be; the arrays of its graph."""
    kept = list(store.documents())
    number = {document.id: i for i, document in enumerate(kept)}
    alias: dict[str, tuple[str, str]] = {}
    for shard in range(store.shards):
        for row in pq.read_table(shard_path(store.path, "redirects", shard)).to_pylist():
            if row["source"] not in number:
                alias.setdefault(row["source"], (row["target"], row["fragment"]))
    edges, degrees, first = [], np.zeros(len(kept), np.int64), 0
    in_degree = np.zeros(len(kept), np.int64)
    for source, document in enumerate(kept):
        met = set()
        for place, link in enumerate(document.links):
            name, fragment, passed = link.target, "", set()
            while name in alias and name not in passed:
                passed.add(name)
                name, onward = alias[name]
                fragment = onward or fragment
            target = number.get(name, source)
            if target != source and not kept[target].disambiguation:
                wanted = link.fragment or fragment
                section = (
                    find_sections(kept[target].text, [wanted], dict(kept[target].sections))[0][1] if wanted else -1
                )
                edges.append((target, first + place, section))
                degrees[source] += 1
                met.add(target)
        in_degree[list(met)] += 1
        first += len(document.links)
    columns = np.array(edges, np.int64).reshape(-1, 3).T
    offsets = np.concatenate([[0], np.cumsum(degrees)])
    return dict(zip(("targets", "links", "sections"), columns, strict=True)) | {
        "offsets": offsets,
        "in_degree": in_degree,
    }


if __name__ == "__main__":
    main()
