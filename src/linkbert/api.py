"""What `import linkbert` hands on, besides what the stages give themselves: stores to build, read, export; models."""

from __future__ import annotations

import glob
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import cached_property
from itertools import chain, count, groupby, islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkbert.corpora import store as stores
from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import load_reader
from linkbert.corpora.readers.jsonl import parse_columns
from linkbert.corpora.store import open_parquet, shard_path
from linkbert.files import as_path, has_address, like, locked, remove, replacing, scratch, source_path
from linkbert.graph.hyperlinks import resolving
from linkbert.graph.links import LinkGraph, add_graph, graph_names
from linkbert.instances.tokens import TokenStore, tokenise
from linkbert.instances.vocabulary import load_vocabulary, make_vocabulary, trained_size
from linkbert.records import Document, Link, Redirect
from linkbert.workers import make_executor

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import nn

OUTCOMES = ("resolved", "missing", "self", "disambiguation", "unknown")
TARGETS = """
SELECT source, place, CASE WHEN target = source THEN -2 WHEN disambiguation THEN -3 ELSE target END AS target
FROM resolved WHERE target IS NOT NULL"""
OUTCOME = (("outcome", pa.string()), ("document", pa.string()))  # what a link has besides, exported
REDIRECTS = pa.schema([(name, pa.string()) for name in ("redirect", "target", "fragment")])
EDGES = pa.schema([("source", pa.string()), ("target", pa.string()), ("link", pa.int64()), ("section", pa.int32())])
PATH = str | PathLike
MEMORY = 4_000_000_000  # bytes of the join that resolves links
BLOCK, GROUP = 1 << 16, 1_000  # edges, and rows of Parquet, that are written together


class Store(stores.Store):
    """A finished store, open for reading: documents by number or id, their links with outcomes, and graphs.

    >>> opened = Store.open(store)
    >>> len(opened), opened.document(0).title
    (52, 'Arland')
    >>> number = opened.find("town 0")
    >>> [(link.target, outcome, target) for link, outcome, target in opened.links(number)]
    [('arland', 'resolved', 0), ('nowhere', 'missing', -1)]
    >>> graph = opened.graph()
    >>> graph.edges_out(number).tolist(), graph.edges_in(0)[:3].tolist()
    ([0], [4, 8, 12])
    >>> graph.to_scipy().shape, graph.to_arrow().num_rows
    ((52, 52), 48)
    """

    def graph(self, name: str = "hyperlink") -> LinkGraph:
        """Open a graph: its edges_out(n) and edges_in(n), to_arrow() and to_scipy()."""
        return LinkGraph.open(self.path, name)

    def redirects(self) -> Iterator[Redirect]:
        """Yield the other names of documents, in the order of the sources."""
        for shard in range(self.shards):
            with open_parquet(shard_path(self.path, "redirects", shard)) as file:
                yield from (Redirect(**row) for row in file.read().to_pylist())

    def links(self, number: int, document: Document | None = None) -> list[tuple[Any, str, int]]:
        """Return each link of a document, its outcome, and the number of the document it leads to, -1 for none.

        An outcome is resolved, or why the link is in no graph: missing (no document has that name), self, or
        disambiguation (a page of meanings); without a hyperlink graph "unknown". The first call resolves all links.
        """
        document, first = document or self.document(number), int(self.first_links[number])
        found = self.link_targets[first : first + len(document.links)].tolist()
        rows = zip(document.links, found, strict=True)
        return [(link, OUTCOMES[max(-target, 0)], max(target, -1)) for link, target in rows]

    @cached_property
    def first_links(self) -> np.ndarray:
        """The number of the first link of each document, and of all links: int64 (N + 1,)."""
        return TokenStore.open(self.path).document_links

    @cached_property
    def link_targets(self) -> np.ndarray:
        """What each link leads to: a document's number, or minus the place of its outcome in OUTCOMES: int32 (L,)."""
        if not (self.path / "graphs" / "hyperlink" / "graph.json").is_file():
            return np.full(self.first_links[-1], -OUTCOMES.index("unknown"), np.int32)
        with scratch() as folder, resolving(self, MEMORY, folder / "query") as (database, first):
            rows = database.execute(TARGETS).fetchnumpy()
        targets = np.full(first[-1], -OUTCOMES.index("missing"), np.int32)
        targets[first[rows["source"]] + rows["place"]] = rows["target"]
        return targets


def build_store(
    sources: str | Path | Iterable[str | Path] | Iterable[Document],
    to: str | Path,
    *,
    vocabulary: str = "train:30522",
    format: str | None = None,  # noqa: A002 - the command line's word
    options: Mapping[str, Any] | None = None,
    links_table: Path | None = None,
    lowercase: bool | None = None,
    graph: bool = True,
    workers: int = 1,
    dask: str | None = None,
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> Store:
    """Build a store from files or from Documents, or finish one that was interrupted.

    `sources` is a path, a glob or an address, several of them, or an iterable of Documents, which is gone through once.
    `vocabulary` is a vocab.txt, a tokenizer folder, a hub name or 'train:SIZE'; `lowercase` is for the first and last.
    `options` are those of the reader, `links_table` a file of source and target. ValueError for what cannot be read.
    A script that asks for several workers must start under `if __name__ == "__main__":`.

    >>> from linkbert import Document, Link
    >>> paris = Document("paris", "Paris", "Paris is the capital of France.", (Link(24, 30, "france"),))
    >>> france = Document("france", "France", "France is a country. Its capital is Paris.")
    >>> made = build_store([paris, france], "towns", vocabulary="train:200")
    >>> [document.id for document in made.documents()]
    ['paris', 'france']
    """
    to, vocabulary = as_path(to, "to"), str(as_path(vocabulary, "vocabulary"))
    for name, value, kind in (("options", options or {}, Mapping), ("format", format or "", str)):
        if not isinstance(value, kind):
            raise ValueError(f"{name} must be {'a name' if kind is str else 'a dict'}, got {value!r:.80}")
    if not trained_size(vocabulary):
        load_vocabulary(vocabulary, lowercase)  # so that a wrong one is refused before a dump is read
    how = dict[str, Any](format=format, options=options)
    with locked(to), make_executor(workers, dask) as executor, _as_files(sources, to, **how) as paths:
        how |= {"links_table": links_table, "executor": executor, "progress": progress}
        relative = [path for path in (to, *paths) if not has_address(path) and not path.is_absolute()]
        if relative and (elsewhere := getattr(executor, "elsewhere", ())):
            remedy = "start them here, or give absolute paths"
            raise ValueError(f"{relative[0]} is not the same to Dask's workers, who are in {min(elsewhere)}: {remedy}")
        store = build_documents(paths, to, **how)
        words = make_vocabulary(vocabulary, store, lowercase=lowercase)
        tokenise(store, words, executor=executor, progress=progress)
        if graph:
            progress("graph", 0, 1)
            add_graph(store, "hyperlink", "hyperlink", executor=executor)
            progress("graph", 1, 1)
    return Store.open(to)


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # of surrogates, which are two characters of a str


@contextmanager
def _as_files(sources: Any, to: Path, **for_files: Any) -> Iterator[list[Path]]:
    """Return sources as paths; Documents are first written to a file next to the store, which is removed at the end."""
    several = isinstance(sources, Iterable) and not isinstance(sources, PATH)
    given = iter(sources if several else [] if sources is None else [sources])
    first = next(given, None)
    if not isinstance(first, Document):
        yield find_sources(() if first is None else chain([first], given), named=bool(for_files["format"]))
        return
    if asked := [name for name, value in for_files.items() if value]:
        raise ValueError(f"of Documents no file is read: leave out {' and '.join(asked)}")
    path = (whole := Path(os.path.abspath(to))).with_name(f".{whole.name}.documents.jsonl")
    try:
        remove(path)  # a link would be followed
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:  # so JSON escapes a half surrogate
            file.writelines(map(_write_line, count(), chain([first], given)))
        os.utime(path, (0, 0))  # Documents have no date: a build that broke off goes on with the same ones
        yield [path]
    except ValueError as error:
        said = str(error).replace(str(path), "the Documents")
        raise error if said == str(error) else ValueError(said) from None
    finally:
        remove(path)


def _write_line(index: int, document: Any) -> str:
    """Write a Document as a line of JSON; ValueError where it is none."""
    if not isinstance(document, Document):
        raise ValueError(f"documents[{index}] is {document!r:.80}: give Documents only, or paths only")
    try:
        for link in document.links:
            ends = (link.start, link.end, link.target) if isinstance(link, Link) else ()
            if [*map(type, ends)] != [int, int, str]:
                raise TypeError(f"its links are linkbert.Link(start, end, target), start and end int, got {link!r:.80}")
        sections = [{"name": name, "start": start} for name, start in document.sections]
        if isinstance(document.text, str) and _PAIR.search(document.text):  # JSON has one character for it
            raise ValueError(
                'a surrogate pair in two: text.encode("utf-16", "surrogatepass").decode("utf-16") joins it'
            )
        return json.dumps(asdict(document) | {"sections": sections}, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"documents[{index}] (id {document.id!r:.80}): {error}; see help(linkbert.Document)") from None


def find_sources(sources: Iterable[Any], *, named: bool = False) -> list[Path]:
    """Turn sources into paths: a glob gives its matches in order; any other must have an address or exist.

    Where no reader is `named`, an address that looks like that of a page of a site is refused.
    """
    paths: list[Path] = []
    for source in sources:
        if not isinstance(source, PATH):
            raise ValueError(f"sources are paths or Documents, got {source!r:.80}: give linkbert.Document objects")
        word = str(source)
        if not named and re.fullmatch(r"https?://[^/]+(/|/.*/|/[^.]*)?", word):
            mirror = f"`wget --mirror --no-parent {word}` makes a folder that can be built, --format reads a file"
            raise ValueError(f"{word} is a page of a site, not a file: {mirror}")
        path, found = source_path(word), [source_path(word)]
        if "://" not in word and not (word and path.exists()):
            found = [Path(match) for match in sorted(glob.glob(word, recursive=True))]
            found = [each for each in found if not ("**" in word and each.is_dir())]  # what is in it matches, too
            if gone := [each for each in found if not each.exists()]:
                log.warning("%s of %s left out, links that lead to nothing, such as %s", len(gone), word, gone[0])
            found = [each for each in found if each.exists()]
        elif has_address(path) and glob.has_magic(path.name) and not word.startswith("http"):  # "?" is a query there
            found = sorted(path.parent.glob(path.name), key=str)
        if not found:
            raise ValueError(f"{word!r} is not there and matches no file{like(path) or '; check the path'}")
        if stored := next((each for each in found if not has_address(each) and (each / "store.json").is_file()), None):
            remedy = f"name what it was made from, or the folder of `linkbert export {stored} --to DIR`"
            raise ValueError(f"{stored} is a store, no source of documents: {remedy}")
        paths += found
    return paths


def describe_build(store: Store) -> list[str]:
    """Say in lines what each source was read as, and which files of other kinds were skipped."""
    lines = []
    by_reader = sorted(store.manifest["sources"], key=lambda source: source["reader"] or "")
    for reader, found in groupby(by_reader, lambda source: source["reader"] or ""):
        paths = [source["path"] for source in found]
        options = store.manifest["options"].get(reader, {}).items()
        given = "".join(f" --{key.replace('_', '-')} {value}".removesuffix(" True") for key, value in options if value)
        shown = ", ".join(paths[:3]) + f" and {len(paths) - 3:,} more" * (len(paths) > 3)
        row = load_reader(reader) if reader and any(Path(path).is_dir() for path in paths) else None
        ends = [end for end in row.suffixes + row.inside if end[0] == "."] or row.inside[:1] if row else ()
        files = f" (files *{', *'.join(ends)}, compressed or not)" if row else ""
        lines.append(f"{shown}: read as {reader or 'nothing that could be read'}{files}{given}")
    lines += filter(None, [store.manifest["links_read"]])
    if store.manifest["documents"] and not store.manifest["links_found"]:
        columns = [options["columns"] for options in store.manifest["options"].values() if "columns" in options]
        asked = [path for each in columns if (path := parse_columns(each).get("links"))]
        hint = "--columns links=NAME names a column of them, " * bool(columns)
        hint = f"nothing stands at links={asked[0]}, which --columns names, " if asked else hint
        hint += "--links FILE names a table of them"
        lines.append(f"no links found: {hint}")
    if others := store.manifest["other_files"]:
        kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in [*others.items()][:10])
        lines.append(f"skipped {sum(others.values()):,} files: {kinds}" + " and others" * (len(others) > 10))
    return lines


def export_store(
    store: str | Path,
    to: str | Path,
    *,
    format: Literal["jsonl", "parquet"] = "jsonl",  # noqa: A002 - the option's name
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> dict[str, int]:
    """Write a store's documents, links with their outcomes, and edges into the new folder `to`; return their counts.

    docs/formats.md says what is in them; `build_store(folder, ...)` makes the same store of either format again.

    >>> export_store(store, folder)
    {'documents': 52, 'links': 96, 'redirects': 0, 'edges': 48}
    >>> sorted(path.name for path in folder.iterdir())
    ['documents.jsonl', 'edges-hyperlink.jsonl']
    """
    opened, to = Store.open(store), Path(to)
    ids = np.concatenate([table["id"].to_numpy(zero_copy_only=False) for table in opened.tables(["id"])])
    graphs = {name: opened.graph(name) for name in graph_names(opened.path)}

    def documents() -> Iterator[dict[str, Any]]:
        targets = iter(opened.link_targets.tolist())
        for number, row in enumerate(chain.from_iterable(table.to_pylist() for table in opened.tables()), 1):
            for link, target in zip(row["links"], targets, strict=False):
                link |= {"outcome": OUTCOMES[max(-target, 0)], "document": None if target < 0 else ids[target]}
            yield row
            progress("documents written", number, len(opened))

    def edges(graph: LinkGraph) -> Iterator[dict[str, Any]]:
        for batch in graph.to_arrow().to_batches(BLOCK):
            source, target, links, sections = (column.to_numpy() for column in batch.columns)
            places = np.where(links < 0, -1, links - opened.first_links[source])
            columns = ids[source], ids[target], places.tolist(), sections.tolist()
            yield from (dict(zip(EDGES.names, row, strict=True)) for row in zip(*columns, strict=True))

    others = ({"redirect": row.source, "target": row.target, "fragment": row.fragment} for row in opened.redirects())
    lists = pa.list_(pa.struct([*stores.DOCUMENTS.field("links").type.value_type, *OUTCOME]))
    schema = stores.DOCUMENTS.set(stores.DOCUMENTS.get_field_index("links"), pa.field("links", lists))
    with locked(to), ExitStack() as stack:
        if to.exists():
            raise ValueError(f"{to} is there already: name a new folder")
        part = stack.enter_context(replacing(to, folder=True))
        if format == "jsonl":
            _write(part / "documents.jsonl", chain(documents(), others))
        else:
            _write(part / "documents.parquet", documents(), schema)
            if first := [*islice(others, 1)]:
                _write(part / "redirects.parquet", chain(first, others), REDIRECTS)
        for name, graph in graphs.items():
            _write(part / f"edges-{name}.{format}", edges(graph), EDGES)
    return {"documents": len(opened), "links": len(opened.link_targets), "redirects": opened.manifest["redirects"],
            "edges": sum(len(graph.targets) for graph in graphs.values())}  # fmt: skip


def _write(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema | None = None) -> None:
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            while some := list(islice(rows, GROUP)):
                writer.write_table(pa.Table.from_pylist(some, schema))


def load_model(path: str | Path, *, objective: str | None = None) -> nn.Module:
    """Open a run, a checkpoint or a Hugging Face folder as a model with its heads for masked tokens and relations.

    Its `forward(input_ids, attention_mask, token_type_ids)`, int64 (B, T), gives `prediction_logits` (B, T, V) and
    `seq_relationship_logits` (B, 3): contiguous, random, linked. With `labels` (B, T), -100 where nothing is masked,
    and `next_sentence_label` (B,) it gives the `loss`, the sum of both means. So transformers.Trainer, Accelerate or a
    plain loop can train it on the batches of a PairCollator; `save_pretrained(folder)` writes a Hugging Face folder.

    It is in training mode: call `eval()` to use it. `objective` is what it is trained for, by default what a run was
    trained for (a run with objective=nsp has (B, 2)), and drp for any other folder: rows of the relation head that it
    lacks are added, start as `pretrain` with `init=` starts them, and are named in a warning of the log.

    >>> model = load_model("run")
    >>> from linkbert import PairCollator, PairDataset
    >>> pairs = PairDataset(store, sequence_length=32)
    >>> output = model(**PairCollator(pairs)([pairs[i] for i in range(4)]))
    >>> output.prediction_logits.shape[0], output.seq_relationship_logits.shape, output.loss.ndim
    (4, torch.Size([4, 3]), 0)
    """
    from linkbert.model.checkpoint import PairModel
    from linkbert.pretraining.checkpoint import find_model

    return PairModel(find_model(path), objective)
