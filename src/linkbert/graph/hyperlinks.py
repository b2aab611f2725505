"""The hyperlink graph: a store's links come in, edges between its documents go out.

A target means the document of that id, or else what redirects of that name lead to. Of the links found = resolved +
dead, and resolved = edges + self + disambiguation; cycles (of redirects) are a part of dead, redirected of resolved.
All of it is SQL in DuckDB, which keeps on disk what does not fit into memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from linkbert.corpora.sentences import split_sentences
from linkbert.corpora.store import Store, querying
from linkbert.graph.links import Edges

ROUNDS = 10  # of pointer jumping: a chain of up to 2^10 redirects is followed, what is left then is a circle
CHUNK = 1 << 20  # edges handed over at a time
DOCUMENTS = 1_000  # whose texts are in memory together
RUNS = pa.schema([(name, pa.int32()) for name in ("shard", "first", "stop", "shift")])
SECTIONS = pa.schema([("target", pa.int32()), ("fragment", pa.string()), ("sentence", pa.int32())])
LONGEST_HEADING = 300  # characters of a line that a fragment may mean

# Rows between dropped ones are runs: a document's number is its row and the shift of its run.
_NUMBERED = """
CREATE VIEW numbered AS
SELECT d.*, CAST(row + shift AS INTEGER) AS number
FROM document_rows d JOIN runs r ON d.shard = r.shard AND row >= r.first AND row < r.stop"""

# The redirects that count: the first of a name, if no document has the name.
_ALIASES = """
CREATE TABLE aliases AS
SELECT source, first(target ORDER BY shard, row) AS target, first(fragment ORDER BY shard, row) AS fragment
FROM redirect_rows ANTI JOIN numbered ON source = id GROUP BY source"""

# Every redirect takes over the target of its target, so that a chain of 2^n is settled in n rounds.
_JUMP = """
CREATE OR REPLACE TABLE aliases AS
SELECT a.source, coalesce(b.target, a.target) AS target, coalesce(nullif(b.fragment, ''), a.fragment) AS fragment
FROM aliases a LEFT JOIN aliases b ON a.target = b.source"""

# What a name means: a document, or NULL for a redirect that goes round in a circle.
_NAMES = """
CREATE TABLE names AS
SELECT id AS name, number, '' AS fragment, disambiguation, false AS redirected FROM numbered
UNION ALL
SELECT source, number, a.fragment, coalesce(disambiguation, false), true
FROM aliases a LEFT JOIN numbered ON target = id
WHERE number IS NOT NULL OR target IN (SELECT source FROM aliases)"""

_RESOLVED = """
CREATE TABLE resolved AS
WITH links AS (SELECT number AS source, unnest(links) AS link, generate_subscripts(links, 1) - 1 AS place FROM numbered)
SELECT source, CAST(place AS INTEGER) AS place, n.number AS target, disambiguation, redirected,
       coalesce(nullif(link.fragment, ''), n.fragment, '') AS fragment
FROM links JOIN names n ON link.target = n.name"""

_COUNTS = """
SELECT count(target) AS resolved, count(*) FILTER (target = source) AS self,
       count(*) FILTER (target <> source AND disambiguation) AS disambiguation,
       count(*) FILTER (target IS NOT NULL AND redirected) AS redirected, count(*) FILTER (target IS NULL) AS cycles
FROM resolved"""

_EDGES = """
CREATE VIEW edges AS
SELECT source, place, target, fragment FROM resolved WHERE target <> source AND NOT disambiguation"""

_NAMED = """
SELECT f.target, text, sections, fragments
FROM (SELECT target, list(DISTINCT fragment) AS fragments FROM edges WHERE fragment <> '' GROUP BY target) f
JOIN numbered ON f.target = number"""

_ORDERED = """
SELECT source, place, e.target, coalesce(sentence, -1) AS sentence, CAST(e.fragment <> '' AS INTEGER) AS named
FROM edges e LEFT JOIN sections s ON e.target = s.target AND e.fragment = s.fragment
ORDER BY source, place"""


def build(store: Store, *, memory: int = 4_000_000_000, executor: Executor, counts: dict[str, Any]) -> Iterator[Edges]:
    """Resolve a store's links; `memory`, in bytes, bounds the join. The same store gives the same edges."""
    threads = getattr(executor, "workers", None)  # of a cluster none is here: as many as there are cores
    with resolving(store, memory, threads=threads) as (database, first):
        database.execute(_EDGES)
        outcomes = database.sql(_COUNTS).to_arrow_table().to_pylist()[0]
        counts |= {"found": int(first[-1]), "dead": int(first[-1]) - outcomes["resolved"]} | outcomes
        _create(database, "sections", _find_all_sections(database), SECTIONS)
        yield from _read_edges(database, first, counts)


@contextmanager
def resolving(
    store: Store, memory: int, folder: Path | None = None, threads: int | None = None
) -> Iterator[tuple[Any, np.ndarray]]:
    """Open a DuckDB with the table `resolved`, and give the number of each document's first link: int64 (N + 1,)."""
    with querying(store.path, f"{memory}B", folder) as database:
        database.execute(f"SET threads = {threads}" if threads else "RESET threads")
        _create(database, "runs", _runs(store), RUNS)
        database.execute(f"{_NUMBERED};{_ALIASES}")
        for _ in range(ROUNDS):
            if not database.execute("SELECT 1 FROM aliases WHERE target IN (SELECT source FROM aliases)").fetchone():
                break
            database.execute(_JUMP)
        database.execute(f"{_NAMES};{_RESOLVED}")
        sizes = database.execute("SELECT len(links) AS links FROM numbered ORDER BY number").fetchnumpy()["links"]
        yield database, np.cumsum(np.append(0, sizes), dtype=np.int64)


def _runs(store: Store) -> Iterator[tuple[int, int, int, int]]:
    """Yield (shard, first row, row after the last, what to add to a row) of rows without a dropped one between."""
    for shard in range(store.shards):
        ends = [-1, *map(int, store.dropped.get(shard, ())), 2**31 - 1]
        for dropped, (before, stop) in enumerate(pairwise(ends)):
            yield shard, before + 1, stop, int(store.starts[shard]) - dropped


def _create(database: Any, table: str, rows: Iterable[tuple[Any, ...]], schema: pa.Schema) -> None:
    named = [dict(zip(schema.names, row, strict=True)) for row in rows]
    database.register("given", pa.Table.from_pylist(named, schema))
    database.execute(f"CREATE TABLE {table} AS SELECT * FROM given")  # noqa: S608 - our own names


def _find_all_sections(database: Any) -> Iterator[tuple[int, str, int]]:
    """Yield the sentence of each fragment that names a place of the document it leads into."""
    for batch in database.sql(_NAMED).to_arrow_reader(DOCUMENTS):
        for row in batch.to_pylist():
            named = {section["name"]: section["start"] for section in reversed(row["sections"])}  # the first of a name
            places = find_sections(row["text"], row["fragments"], named)
            yield from ((row["target"], fragment, sentence) for fragment, sentence in places if sentence >= 0)


def find_sections(text: str, fragments: list[str], named: Mapping[str, int] | None = None) -> list[tuple[str, int]]:
    r"""Pair each fragment with the number of the sentence where the place of that name starts, -1 for none.

    `named` maps names of places to characters of the text. Else a fragment means the line that has the same letters and
    digits: a heading is a line of its own, a line starts a sentence, and sites make names of headings ("early-life").

    >>> find_sections("One. Two.\nEarly life\nBorn.", ["early_Life", "Death"])
    [('early_Life', 2), ('Death', -1)]
    """
    named = named or {}
    wanted = {_plain(fragment): -1 for fragment in fragments if fragment not in named}  # by the characters of the text
    wanted.pop("", None)
    position = 0
    for line in text.split("\n") if wanted else ():
        if len(line) <= LONGEST_HEADING and wanted.get(key := _plain(line)) == -1:
            wanted[key] = position + len(line) - len(line.lstrip())
        position += len(line) + 1
    places = [named.get(name, wanted.get(_plain(name), -1)) for name in fragments]
    sentences = np.searchsorted(split_sentences(text), places, side="right") - 1
    return list(zip(fragments, sentences.tolist(), strict=True))


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _read_edges(database: Any, first: np.ndarray, counts: dict[str, Any]) -> Iterator[Edges]:
    """Yield the edges in order, those of a document together, and count their fragments."""
    counts |= {"fragments": 0, "fragments_found": 0}
    rows = np.zeros((5, 0), np.int32)
    for batch in chain(database.sql(_ORDERED).to_arrow_reader(CHUNK), [None]):
        if batch is not None:  # which may continue the last document of the one before
            rows = np.concatenate([rows, np.stack([column.to_numpy() for column in batch.columns])], axis=1)
        whole = rows.shape[1] if batch is None else int(np.searchsorted(rows[0], rows[0, -1]))
        source, place, target, sentence, named = rows[:, :whole]
        counts["fragments"] += int(named.sum())
        counts["fragments_found"] += int((sentence >= 0).sum())
        yield Edges(source, target, links=first[source] + place, sections=sentence)
        rows = rows[:, whole:]
