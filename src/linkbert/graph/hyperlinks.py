"""The hyperlink graph: a store's links come in, edges between its documents go out.

A target means the document of that id, or else what a redirect of that name leads to, over as many redirects as there
are. (No guessing beyond that: a reader gives targets and ids the same normal form.) Every link has one fate:

    found = resolved + dead            dead: no document and no redirect has the name, or redirects go round in a circle
    resolved = edges + self + disambiguation          (cycles is that part of dead, redirected a part of resolved)

Neither all names nor all links need fit one machine. Documents are cut into *ranges*, which are runs of shards, and
names into *partitions*, by a hash. Whoever needs something of others writes one file, sorted by whom it asks; each of
those answers in one file all who asked, in the order of their questions. So links never leave their range, and nothing
is sorted again at the end:

    scatter   range      its documents, its redirects, and each name once that its links ask for
    aliases   partition  the redirects that count: the first of a name, if no document has the name
    turns     partition  redirects ask for their targets; a document settles one, another redirect is followed
    answers   partition  what each asked name means, for every range
    edges     range      the links that lead to another document, in their order
    sections  range      the sentences that fragments mean, for every range: texts are read here and nowhere else

Whom a name means is a query of DuckDB over one partition (a third of the time of pyarrow's index_in). The files lie in
STORE/joins/NAME until the graph is there; a rerun makes those that are missing. The graph does not depend on how many
ranges, partitions and workers there are.

Redirects are followed by pointer jumping: in every turn each one takes over the target of its target, so that a chain
of 2^n is settled in n turns. A turn that settles nothing leaves only circles: in a chain that ends somewhere, whichever
is nearest to the end of those that are left would have met it.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkbert import __version__
from linkbert.corpora.sentences import split_sentences
from linkbert.corpora.store import Store, open_parquet, shard_path
from linkbert.files import read_json, remove, replacing, write_json
from linkbert.graph.links import Edges
from linkbert.workers import make_executor, run_shards

log = logging.getLogger(__name__)
MEMORY = 4_000_000_000  # bytes to resolve links in
SHARE = 32  # names of a partition, links of a range: such a part of a worker's memory (they take six times their size)
MOST = 1 << 30  # bytes of them, as an Arrow array of strings holds 2^31
TURNS = 10  # after the first: a chain of up to 2^10 redirects is followed, what is left then is a circle
LONGEST_HEADING = 300  # characters of a line that a fragment may mean
NOTHING, UNSETTLED = -2, -1  # in place of a document's number: no such name; a redirect that is not at its end yet

_MEANING = pa.schema(
    [
        ("number", pa.int32()),  # of a document, or the above
        ("disambiguation", pa.bool_()),
        ("redirected", pa.bool_()),
        ("target", pa.string()),  # of a redirect that is not settled
        ("fragment", pa.string()),  # of a redirect
    ]
)


@dataclass(frozen=True)
class _Join:
    """What every worker knows."""

    folder: Path
    ranges: tuple[tuple[int, int], ...]  # first shard and the one after the last
    bounds: np.ndarray  # (ranges + 1,) int64, the number of each range's first document, and of all
    partitions: int
    memory: int  # bytes

    def path(self, kind: str, number: int) -> Path:
        return self.folder / kind / f"{number:05d}.arrow"


def build(
    store: Store,
    *,
    memory: int = MEMORY,
    executor: Executor,
    counts: dict[str, Any],
    folder: Path,
    partitions: int | None = None,
) -> Iterator[Edges]:
    """Resolve a store's links.

    `memory`, in bytes, is what one worker may use; the numbers of partitions and ranges follow from it. The same store
    gives the same bytes, whatever the executor, the memory and the `partitions`.
    """
    join = _plan(store, folder / "join", memory, partitions)
    ranges, parts = len(join.ranges), join.partitions
    if ranges == parts == 1:  # then no worker could help another
        executor = make_executor(1)

    def run(step: Callable[[_Join, int], None], shards: int, *kinds: str) -> None:
        for kind in kinds:
            (join.folder / kind).mkdir(exist_ok=True)
        run_shards(
            partial(step, join),
            range(shards),
            executor,
            done=lambda number: all(join.path(kind, number).exists() for kind in kinds),
        )
        log.debug("%s: %d shards", kinds[0], shards)

    run(partial(_scatter, store), ranges, "documents", "redirects", "asks", "links")
    run(_begin_aliases, parts, "aliases-0")
    last, left = 0, _unsettled(join, 0)
    while left:
        run(partial(_follow, last), parts, f"kept-{last}", f"replies-{last}")
        run(partial(_settle, last + 1), parts, f"aliases-{last + 1}")
        last, before, left = last + 1, left, _unsettled(join, last + 1)
        if last > TURNS or (left == before and last > 1):
            break
    run(partial(_answer, last), parts, "answers")
    run(_resolve, ranges, "edges", "counts", "fragments")
    run(partial(_find_sections, store), ranges, "sections")
    counts |= _count(join)
    yield from _read_edges(join)


def _plan(store: Store, folder: Path, memory: int, partitions: int | None) -> _Join:
    """Cut the documents into ranges, choose the number of partitions, and clear away files of another plan."""
    sizes = [_size(store, shard) for shard in range(store.shards)]
    room = min(memory // SHARE + 1, MOST)
    if partitions is None:
        partitions = math.ceil(sum(sizes) / room) or 1
    if not 1 <= partitions < 1 << 16:
        raise ValueError(f"{partitions} partitions do not make sense: take 1 to 65,535, or another amount of memory")
    middles = np.cumsum(sizes) - np.asarray(sizes) / 2  # a shard is of the range into which its middle falls
    owner = (middles * partitions / max(sum(sizes), 1)).astype(int)
    firsts = np.flatnonzero(np.diff(owner, prepend=-1)).tolist()
    ranges = tuple(zip(firsts, [*firsts[1:], store.shards], strict=True))
    plan = {
        "linkbert": __version__,
        "duckdb": duckdb.__version__,  # its hash may change
        "documents": len(store),
        "ranges": [list(pair) for pair in ranges],
        "partitions": partitions,
    }
    if not (folder / "plan.json").exists() or read_json(folder / "plan.json") != plan:
        remove(folder)
        write_json(folder / "plan.json", plan)
    return _Join(folder, ranges, store.starts[[*firsts, store.shards]], partitions, memory)


def _size(store: Store, shard: int) -> int:
    """Return the bytes of a shard's names and links, not compressed."""
    size = 0
    with open_parquet(shard_path(store.path, "documents", shard)) as file:
        schema = file.metadata.schema
        columns = [i for i in range(len(schema)) if schema.column(i).path.split(".")[0] in ("id", "links")]
        for group in map(file.metadata.row_group, range(file.num_row_groups)):
            size += sum(group.column(i).total_uncompressed_size for i in columns)
    with open_parquet(shard_path(store.path, "redirects", shard)) as file:
        return size + sum(file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups))


# Files of pieces


def _write(path: Path, table: pa.Table, parts: np.ndarray, count: int) -> np.ndarray:
    """Write the rows of a table sorted by their part, 0 to count - 1; return the order."""
    order = np.argsort(parts, kind="stable")
    if (parts[1:] < parts[:-1]).any():
        table = table.take(pa.array(order))
    bounds = np.cumsum([0, *np.bincount(parts, minlength=count)], dtype=np.int64)
    schema = table.schema.with_metadata({"bounds": bounds.tobytes()})
    with replacing(path) as part, pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(table.combine_chunks())
    return order


def _read(path: Path, first: int = 0, stop: int | None = None) -> pa.Table:
    """Map pieces of a file, from `first` on, into memory."""
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is damaged ({error}): remove it and run the same command again") from None
    bounds = np.frombuffer(table.schema.metadata[b"bounds"], np.int64)
    start, end = bounds[first], bounds[-1 if stop is None else stop]
    return table.slice(start, end - start).replace_schema_metadata(None)


def _gather(join: _Join, kind: str, count: int, piece: int) -> list[pa.Table]:
    """Map one piece of each of the files of a kind."""
    return [_read(join.path(kind, number), piece, piece + 1) for number in range(count)]


def _write_whole(path: Path, table: pa.Table) -> None:
    _write(path, table, np.zeros(len(table), np.uint16), 1)


def _write_answers(path: Path, answers: pa.Table, asks: Sequence[Sized]) -> None:
    """Write answers to several that asked, in their order, a piece for each."""
    _write(path, answers, np.repeat(np.arange(len(asks), dtype=np.uint16), [len(ask) for ask in asks]), len(asks))


# DuckDB


@cache
def _database(memory: int) -> duckdb.DuckDBPyConnection:
    # Without a folder for what does not fit: other workers are at work in the store, and partitions do fit.
    return duckdb.connect(config={"threads": 1, "memory_limit": f"{memory}B", "temp_directory": ""})


def _query(join: _Join, query: str, **columns: pa.ChunkedArray) -> dict[str, np.ndarray]:
    """Ask something of tables of names, each with the columns `name` and `row`."""
    try:
        with _database(join.memory).cursor() as database:
            for table, names in columns.items():
                rows = np.arange(len(names), dtype=np.int32)
                database.register(table, pa.table({"name": names, "row": rows}))
            found: dict[str, np.ndarray] = database.execute(query).fetchnumpy()
            return found
    except duckdb.OutOfMemoryException:
        raise ValueError(
            f"a partition of the join in {join.folder} needs more than {join.memory / 1e9:g} GB of memory: "
            "give it more with `linkbert graph --memory`"
        ) from None


def _hash(join: _Join, names: pa.ChunkedArray) -> np.ndarray:
    """Give each name its partition, (names,) uint16."""
    if join.partitions == 1:
        return np.zeros(len(names), np.uint16)
    query = f"SELECT CAST(hash(name) % {join.partitions} AS USMALLINT) AS part FROM names"  # noqa: S608
    return _query(join, query, names=names)["part"]


def _look_up(join: _Join, asks: list[pa.ChunkedArray], names: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """Give the meaning of each name that is asked: the rest of its row among `names`, NOTHING where there is none.

    And the row, len(names) for none.
    """
    asked = pa.chunked_array([chunk for ask in asks for chunk in ask.chunks], pa.string())
    query = "SELECT a.row AS a, n.row AS n FROM asked a JOIN names n USING (name)"
    found = _query(join, query, asked=asked, names=names["name"])
    rows = np.full(len(asked), len(names), np.int32)
    rows[found["a"]] = found["n"]
    nothing = pa.table([[NOTHING], [False], [False], [""], [""]], schema=_MEANING)
    meanings = pa.concat_tables([names.select(_MEANING.names), nothing]).combine_chunks()
    return meanings.take(pa.array(rows)), rows


# Steps, each of them a shard


def _scatter(store: Store, join: _Join, number: int) -> None:
    """Sort the names of a range by partition: its documents, its redirects, and what its links ask for."""
    documents, redirects, first = [], [], int(join.bounds[number])
    columns = ["id", "disambiguation", "links.list.element.target", "links.list.element.fragment"]
    for shard in range(*join.ranges[number]):
        with open_parquet(shard_path(store.path, "documents", shard)) as file:
            table = file.read(columns=columns, use_threads=False)
        if shard in store.dropped:
            kept = np.ones(len(table), bool)
            kept[store.dropped[shard]] = False
            table = table.filter(pa.array(kept))
        documents.append(table)
        with open_parquet(shard_path(store.path, "redirects", shard)) as file:
            redirects.append(file.read(use_threads=False))
    table = pa.concat_tables(documents)
    numbers = np.arange(first, first + len(table), dtype=np.int32)
    names = table.select(["id", "disambiguation"]).rename_columns(["name", "disambiguation"])
    names = names.append_column("number", pa.array(numbers))
    _write(join.path("documents", number), names, _hash(join, names["name"]), join.partitions)
    names = pa.concat_tables(redirects).rename_columns(["name", "target", "fragment"])
    _write(join.path("redirects", number), names, _hash(join, names["name"]), join.partitions)

    links = pc.list_flatten(table["links"])
    targets = pc.struct_field(links, "target").combine_chunks().dictionary_encode()
    names = pa.table({"name": targets.dictionary})
    order = _write(join.path("asks", number), names, _hash(join, names["name"]), join.partitions)
    rows = np.empty(len(order), np.int32)
    rows[order] = np.arange(len(order))
    counts = pc.list_value_length(table["links"]).to_numpy()
    asks = rows[targets.indices.to_numpy()]
    table = pa.table(
        {"source": np.repeat(numbers, counts), "ask": asks, "fragment": pc.struct_field(links, "fragment")}
    )
    _write_whole(join.path("links", number), table)


def _documents(join: _Join, part: int) -> pa.Table:
    documents = pa.concat_tables(_gather(join, "documents", len(join.ranges), part))
    return _with_meaning(documents, redirected=False, target="", fragment="")


def _with_meaning(table: pa.Table, **constants: Any) -> pa.Table:
    """Add columns of one value each, and put all in order."""
    for name, value in constants.items():
        table = table.append_column(name, pa.repeat(pa.scalar(value, _MEANING.field(name).type), len(table)))
    return table.select(["name", *_MEANING.names])


def _begin_aliases(join: _Join, part: int) -> None:
    """Keep the redirects that count, sorted by the partition of their target."""
    redirects = pa.concat_tables(_gather(join, "redirects", len(join.ranges), part))
    documents = pa.concat_tables(_gather(join, "documents", len(join.ranges), part))
    query = "SELECT min(row) AS row FROM redirects ANTI JOIN documents USING (name) GROUP BY name"
    rows = np.sort(_query(join, query, redirects=redirects["name"], documents=documents["name"])["row"])
    aliases = redirects.take(pa.array(rows))
    aliases = _with_meaning(aliases, number=UNSETTLED, disambiguation=False, redirected=True)
    _write(join.path("aliases-0", part), aliases, _hash(join, aliases["target"]), join.partitions + 1)


def _unsettled(join: _Join, turn: int) -> int:
    return sum(len(_read(join.path(f"aliases-{turn}", part), 0, join.partitions)) for part in range(join.partitions))


def _follow(turn: int, join: _Join, part: int) -> None:
    """Reply to the redirects that lead to names of this partition.

    In turn 0 the names are documents. Later they are redirects: those of the turn, and of those settled earlier the
    ones that were asked for in the turn before ("kept"): what a redirect takes over, another has just asked for.
    """
    asks = [table["target"] for table in _gather(join, f"aliases-{turn}", join.partitions, part)]
    if turn == 0:
        names = _documents(join, part)
    else:
        names = pa.concat_tables(_read(join.path(kind, part)) for kind in (f"aliases-{turn}", f"kept-{turn - 1}"))
    replies, rows = _look_up(join, asks, names)
    kept = np.zeros(len(names) + 1, bool)
    kept[rows] = turn > 0
    kept[:-1] &= names["number"].to_numpy() >= 0
    _write_whole(join.path(f"kept-{turn}", part), names.filter(pa.array(kept[:-1])))
    _write_answers(join.path(f"replies-{turn}", part), replies, asks)


def _settle(turn: int, join: _Join, part: int) -> None:
    """Take over what the targets of this partition's redirects were found to mean: piece P is of those now settled."""
    aliases = _read(join.path(f"aliases-{turn - 1}", part), 0, join.partitions)
    replies = pa.concat_tables(_gather(join, f"replies-{turn - 1}", join.partitions, part))
    number = replies["number"].to_numpy()
    settled = number >= 0
    if turn == 1:  # what is no document may be a redirect
        target = pc.if_else(pa.array(settled), "", aliases["target"])
        number = np.maximum(number, UNSETTLED)
    else:
        target = replies["target"]
    fragment = pc.if_else(pc.equal(replies["fragment"], ""), aliases["fragment"], replies["fragment"])
    columns = [aliases["name"], pa.array(number), replies["disambiguation"], aliases["redirected"], target, fragment]
    table = pa.table(columns, names=["name", *_MEANING.names]).filter(pa.array(number != NOTHING))
    parts = np.full(len(table), join.partitions, np.uint16)
    left = table["number"].to_numpy() < 0
    parts[left] = _hash(join, table["target"].filter(pa.array(left)))
    _write(join.path(f"aliases-{turn}", part), table, parts, join.partitions + 1)


def _answer(last: int, join: _Join, part: int) -> None:
    """Say what the names mean that links ask for; redirects that are not settled after the last turn are circles."""
    names = [_documents(join, part), _read(join.path(f"aliases-{last}", part), 0, join.partitions)]
    for turn in range(1, last + 1):
        names.append(_read(join.path(f"aliases-{turn}", part), join.partitions))
    asks = [table["name"] for table in _gather(join, "asks", len(join.ranges), part)]
    answers, _ = _look_up(join, asks, pa.concat_tables(names))
    _write_answers(join.path("answers", part), answers, asks)


def _resolve(join: _Join, number: int) -> None:
    """Lead the links of a range to where the names they ask for mean, and sort what they ask of texts by range."""
    links = _read(join.path("links", number))
    answers = pa.concat_tables(_gather(join, "answers", join.partitions, number)).combine_chunks()
    source, ask = links["source"].to_numpy(), links["ask"].to_numpy()
    target, disambiguation, redirected = (answers[name].to_numpy()[ask] for name in _MEANING.names[:3])
    resolved, loop = target >= 0, target == source
    leads = resolved & ~loop & ~disambiguation
    counts = {
        "found": len(links),
        "resolved": resolved,
        "dead": ~resolved,
        "self": loop,
        "disambiguation": resolved & ~loop & disambiguation,
        "redirected": resolved & redirected,
        "cycles": target == UNSETTLED,
    }
    link = np.flatnonzero(leads)
    edges = pa.table({"source": source[link], "targets": target[link], "links": link})
    own = links["fragment"].take(pa.array(link))
    passed = answers["fragment"].take(pa.array(ask[link]))
    fragment = pc.if_else(pc.equal(own, ""), passed, own)
    edge = np.flatnonzero(pc.not_equal(fragment, "").to_numpy())
    to = target[link[edge]]
    asks = pa.table({"edge": edge, "target": to, "fragment": fragment.take(pa.array(edge))})
    _write(join.path("fragments", number), asks, _owners(join, to), len(join.ranges))
    sums = {name: [int(np.sum(value))] for name, value in counts.items()}
    _write_whole(join.path("counts", number), pa.table(sums))
    _write_whole(join.path("edges", number), edges)


def _owners(join: _Join, documents: np.ndarray) -> np.ndarray:
    """Give each document its range."""
    return (np.searchsorted(join.bounds, documents, side="right") - 1).astype(np.uint16)


def _find_sections(store: Store, join: _Join, number: int) -> None:
    """Find the sentences that the fragments of links into this range mean, -1 for none."""
    pieces = _gather(join, "fragments", len(join.ranges), number)
    asks = pa.concat_tables(pieces).combine_chunks()
    keys = pc.binary_join_element_wise(asks["target"].cast(pa.string()), asks["fragment"], " ")
    keys = keys.combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.flatnonzero(np.diff(np.maximum.accumulate(keys), prepend=-1))  # codes are given as the keys are met
    target = asks["target"].to_numpy()[first]
    fragments = asks["fragment"].take(pa.array(first)).to_pylist()
    found = np.full(len(first), -1, np.int32)
    order = np.argsort(target, kind="stable")
    starts = np.flatnonzero(np.diff(target[order], prepend=-1))
    stops = np.append(starts, len(order))[1:]
    documents = _read_texts(store, range(*join.ranges[number]), target[order[starts]])
    for start, stop, (text, named) in zip(starts, stops, documents, strict=True):
        rows = order[start:stop]
        found[rows] = [at for _, at in find_sections(text, [fragments[row] for row in rows], named)]
    _write_answers(join.path("sections", number), pa.table({"sentence": found[keys]}), pieces)


def _read_texts(store: Store, shards: Iterable[int], documents: np.ndarray) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield texts and named places of documents of a range, given in order."""
    for shard in shards:
        start, stop = np.searchsorted(documents, store.starts[[shard, shard + 1]])
        if start == stop:
            continue
        with open_parquet(shard_path(store.path, "documents", shard)) as file:
            rows = np.delete(np.arange(file.metadata.num_rows), store.dropped.get(shard, []))
            rows = rows[documents[start:stop] - store.starts[shard]]
            end = 0
            for group in range(file.num_row_groups):
                begin, end = end, end + file.metadata.row_group(group).num_rows
                here = rows[np.searchsorted(rows, begin) : np.searchsorted(rows, end)] - begin
                if len(here):
                    table = file.read_row_group(group, columns=["text", "sections"], use_threads=False)
                    for row in table.take(pa.array(here)).to_pylist():
                        yield row["text"], {section["name"]: section["start"] for section in row["sections"]}


def find_sections(text: str, fragments: list[str], named: Mapping[str, int] | None = None) -> list[tuple[str, int]]:
    r"""Pair each fragment with the number of the sentence where the place of that name starts, -1 for none.

    `named` maps names of places to characters of the text. Else a fragment means the line that has the same letters and
    digits: a heading is a line of its own, a line starts a sentence, and sites make names of headings ("early-life").

    >>> find_sections("One. Two.\nEarly life\nBorn.", ["early_Life", "Death"])
    [('early_Life', 2), ('Death', -1)]
    """
    named = named or {}
    wanted = {_plain(fragment): -1 for fragment in fragments if fragment not in named}
    wanted.pop("", None)
    starts = np.asarray(split_sentences(text))

    def sentence(at: int) -> int:
        return int(np.searchsorted(starts, at, side="right")) - 1

    position = 0
    for line in text.split("\n") if wanted else ():
        if len(line) <= LONGEST_HEADING and wanted.get(key := _plain(line)) == -1:
            wanted[key] = sentence(position + len(line) - len(line.lstrip()))
        position += len(line) + 1
    return [(name, sentence(named[name]) if name in named else wanted.get(_plain(name), -1)) for name in fragments]


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


# The graph


def _count(join: _Join) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for number in range(len(join.ranges)):
        counts.update(_read(join.path("counts", number)).to_pylist()[0])
        sentences = _read(join.path("sections", number))["sentence"].to_numpy()
        counts.update(fragments=len(sentences), fragments_found=int((sentences >= 0).sum()))
    return dict(counts)


def _read_edges(join: _Join) -> Iterator[Edges]:
    first = 0  # number of the range's first link
    for number in range(len(join.ranges)):
        table = _read(join.path("edges", number))
        edges = {name: table[name].to_numpy() for name in table.column_names}
        sections = np.full(len(table), -1, np.int32)
        sentences = pa.concat_tables(_gather(join, "sections", len(join.ranges), number))["sentence"].to_numpy()
        sections[_read(join.path("fragments", number))["edge"].to_numpy()] = sentences
        yield Edges(edges["source"], edges["targets"], edges["links"] + first, sections)
        first += len(_read(join.path("links", number)))
