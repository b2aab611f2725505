"""What `import linkbert` hands on, besides what the stages give themselves: stores to look into, training, models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkbert.corpora import store as stores
from linkbert.corpora.store import open_parquet, shard_path
from linkbert.files import locked, replacing
from linkbert.graph.links import LinkGraph
from linkbert.instances.tokens import TokenStore, hash_id
from linkbert.records import Document, Redirect

if TYPE_CHECKING:
    from torch import nn

EDGES = pa.schema([("source", pa.string()), ("target", pa.string()), ("link", pa.int64()), ("section", pa.int32())])
BLOCK = 1 << 16  # edges written together
HOPS = 1 << 10  # redirects that are followed; longer chains are circles


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
    >>> sum(table.num_rows for table in opened.tables())
    52
    """

    def graph(self, name: str = "hyperlink") -> LinkGraph:
        """Open a graph: its edges_out(n) and edges_in(n), to_arrow() and to_scipy()."""
        return LinkGraph.open(self.path, name)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the documents as Arrow tables, a row group each: id, title, text, disambiguation, links, sections."""
        for shard in range(self.shards):
            dropped, row = self.dropped.get(shard, np.zeros(0, np.int64)), 0
            with open_parquet(shard_path(self.path, "documents", shard)) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, use_threads=False)
                    kept = np.setdiff1d(np.arange(row, row + len(table)), dropped, assume_unique=True) - row
                    row += len(table)
                    yield table.take(kept)

    def redirects(self) -> Iterator[Redirect]:
        """Yield the other names of documents, in the order of the sources."""
        for shard in range(self.shards):
            with open_parquet(shard_path(self.path, "redirects", shard)) as file:
                yield from (Redirect(**row) for row in file.read().to_pylist())

    def links(self, number: int, document: Document | None = None) -> list[tuple[Any, str, int]]:
        """Return each link of a document, its outcome, and the number of the document it leads to, -1 for none.

        An outcome is resolved, or why the link is in no graph: missing (no document here has that name), self (its own
        document) or disambiguation (a page that lists meanings). Where there is no hyperlink graph, it is "unknown".
        """
        document = document or self.document(number)
        if self._names is None:
            return [(link, "unknown", -1) for link in document.links]
        graph, first = self._names.graph, int(self._names.first_links[number])
        edges = slice(int(graph.offsets[number]), int(graph.offsets[number + 1]))
        targets = dict(zip((graph.links[edges] - first).tolist(), graph.targets[edges].tolist(), strict=True))
        return [
            (link, "resolved", targets[i]) if i in targets else (link, self._names.why_lost(number, link.target), -1)
            for i, link in enumerate(document.links)
        ]

    @cached_property
    def _names(self) -> _Names | None:
        found = (self.path / "graphs" / "hyperlink" / "graph.json").is_file()
        return _Names(self) if found else None


class _Names:
    """What a name means: arrays of a few numbers for each document and redirect, by the hashes of their names."""

    def __init__(self, store: Store) -> None:
        tokens = TokenStore.open(store.path)
        self.graph, self.first_links = store.graph(), tokens.document_links
        self.order = np.argsort(tokens.hashes, kind="stable")
        self.ids = tokens.hashes[self.order]
        self.disambiguation = np.concatenate([table["disambiguation"].to_numpy() for table in store.tables()])
        pairs = np.array([(hash_id(r.source), hash_id(r.target)) for r in store.redirects()], np.uint64).reshape(-1, 2)
        self.sources, first = np.unique(pairs[:, 0], return_index=True)  # the first of a name counts
        self.targets = pairs[first, 1]

    def why_lost(self, number: int, target: str) -> str:
        """Say why a link of a document leads to no document."""
        name = np.uint64(hash_id(target))
        for _ in range(HOPS):
            at = int(np.searchsorted(self.ids, name))
            if at < len(self.ids) and self.ids[at] == name:
                return "self" if self.order[at] == number else "disambiguation"
            at = int(np.searchsorted(self.sources, name))
            if at == len(self.sources) or self.sources[at] != name:
                return "missing"
            name = self.targets[at]
        return "missing"


def export_store(
    store: str | Path,
    to: str | Path,
    *,
    format: Literal["jsonl", "parquet"] = "jsonl",  # noqa: A002 - the option's name
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> dict[str, int]:
    """Write a store's documents, links with their outcomes, and edges into the new folder `to`; return their counts.

    documents.FORMAT has a document a line, or row: id, title, text, disambiguation, sections and links, each with
    start, end, target, fragment, outcome (see Store.links) and document (an id, or null). edges-GRAPH.FORMAT has source
    and target (ids), link (its place among the links of the source, -1 for none) and section. Other names of documents
    are redirects: lines at the end of documents.jsonl, or redirects.parquet. documents.jsonl builds the same store
    again.

    >>> export_store(store, folder)
    {'documents': 52, 'links': 96, 'redirects': 0, 'edges': 48}
    >>> sorted(path.name for path in folder.iterdir())
    ['documents.jsonl', 'edges-hyperlink.jsonl']
    """
    opened, to = Store.open(store), Path(to)
    if to.exists():
        raise ValueError(f"{to} is there already: name a new folder")
    counts = dict.fromkeys(("documents", "links", "redirects", "edges"), 0)
    ids = np.concatenate([table["id"].to_numpy(zero_copy_only=False) for table in opened.tables()])

    def documents() -> Iterator[dict[str, Any]]:
        for number, document in enumerate(opened.documents()):
            links = [
                {"start": link.start, "end": link.end, "target": link.target, "fragment": link.fragment,
                 "outcome": outcome, "document": None if target < 0 else ids[target]}
                for link, outcome, target in opened.links(number, document)
            ]  # fmt: skip
            counts["documents"] += 1
            counts["links"] += len(links)
            sections = [{"name": name, "start": start} for name, start in document.sections]
            yield {"id": document.id, "title": document.title, "text": document.text,
                   "disambiguation": document.disambiguation, "links": links, "sections": sections}  # fmt: skip
            progress("documents written", number + 1, len(opened))

    def redirects() -> Iterator[dict[str, Any]]:
        for each in opened.redirects():
            counts["redirects"] += 1
            yield {"redirect": each.source, "target": each.target, "fragment": each.fragment}

    def edges(graph: LinkGraph, first_links: np.ndarray) -> Iterator[dict[str, Any]]:
        for start in range(0, len(graph.targets), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(graph.targets)))
            source = np.searchsorted(graph.offsets, rows, side="right") - 1
            link = np.where(graph.links[rows] < 0, -1, graph.links[rows] - first_links[source])
            columns = ids[source], ids[graph.targets[rows]], link.tolist(), graph.sections[rows].tolist()
            counts["edges"] += len(rows)
            yield from (dict(zip(EDGES.names, row, strict=True)) for row in zip(*columns, strict=True))

    fields = [*stores.DOCUMENTS.field("links").type.value_type, ("outcome", pa.string()), ("document", pa.string())]
    links_at, of_links = stores.DOCUMENTS.get_field_index("links"), pa.list_(pa.struct(fields))
    schema = stores.DOCUMENTS.set(links_at, pa.field("links", of_links))
    redirect = pa.schema([("redirect", pa.string()), ("target", pa.string()), ("fragment", pa.string())])
    with locked(to), replacing(to) as part:
        part.mkdir()
        if format == "jsonl":
            _write_lines(part / "documents.jsonl", documents(), redirects())
        else:
            _write_rows(part / "documents.parquet", documents(), schema)
            _write_rows(part / "redirects.parquet", redirects(), redirect)
        for file in sorted((opened.path / "graphs").glob("*/graph.json")):
            name = f"edges-{file.parent.name}.{format}"
            rows = edges(opened.graph(file.parent.name), TokenStore.open(opened.path).document_links)
            _write_lines(part / name, rows) if format == "jsonl" else _write_rows(part / name, rows, EDGES)
    return counts


def _write_lines(path: Path, *parts: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for part in parts:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in part)


def _write_rows(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema, size: int = 1_000) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, size)):
            writer.write_table(pa.Table.from_pylist(some, schema))


def load_model(path: str | Path) -> nn.Module:
    """Open a run, a checkpoint or a Hugging Face folder as a model with its heads for masked tokens and relations.

    Its `forward(input_ids, attention_mask, token_type_ids)`, int64 (B, T), gives `prediction_logits` (B, T, V) and
    `seq_relationship_logits` (B, 3): contiguous, random, linked. With `labels` (B, T), -100 where nothing is masked,
    and `next_sentence_label` (B,) it gives the `loss`, the sum of both means. So transformers.Trainer, Accelerate or a
    plain loop can train it on the batches of a PairCollator; `save_pretrained(folder)` writes a Hugging Face folder.

    >>> model = load_model("run")
    >>> from linkbert import PairCollator, PairDataset
    >>> pairs = PairDataset(store, sequence_length=32)
    >>> output = model(**PairCollator(pairs)([pairs[i] for i in range(4)]))
    >>> output.prediction_logits.shape[0], output.seq_relationship_logits.shape, output.loss.ndim
    (4, torch.Size([4, 3]), 0)
    """
    from linkbert.model.checkpoint import PairModel
    from linkbert.pretraining.checkpoint import find_model

    return PairModel.open(find_model(Path(path)))
