"""The whole of `linkbert build`: documents, vocabulary, tokens, graph; the same call again does what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import load_reader
from linkbert.corpora.store import Store
from linkbert.files import locked, remove, source_path
from linkbert.graph.links import add_graph
from linkbert.instances.tokens import tokenise
from linkbert.instances.vocabulary import load_vocabulary, make_vocabulary, trained_size
from linkbert.records import Document
from linkbert.workers import make_executor

Progress = Callable[[str, int, int | None], None]


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
    progress: Progress = lambda *_: None,
) -> Store:
    """Build a store from files or from Documents, or finish one that was interrupted.

    `sources` is a path or an address, several of them, or an iterable of Documents, which is gone through once.
    `vocabulary` is a vocab.txt, a tokenizer folder, a hub name or 'train:SIZE'; `lowercase=None` leaves case to it.
    `options` are those of the reader, `links_table` a file of source and target. ValueError for what cannot be read.
    A script that asks for several workers must start under `if __name__ == "__main__":`.

    >>> from linkbert import Document, Link
    >>> paris = Document("paris", "Paris", "Paris is the capital of France.", (Link(24, 30, "france"),))
    >>> france = Document("france", "France", "France is a country. Its capital is Paris.")
    >>> made = build_store([paris, france], "towns", vocabulary="train:200")
    >>> [document.id for document in made.documents()]
    ['paris', 'france']
    """
    if not trained_size(vocabulary):
        load_vocabulary(vocabulary)  # so that a wrong one is refused before a dump is read
    to = Path(to)
    with locked(to), make_executor(workers, dask) as executor, _as_files(sources, to) as sources:
        how: dict[str, Any] = {"format": format, "options": options, "links_table": links_table}
        store = build_documents(sources, to, **how, executor=executor, progress=progress)
        words = make_vocabulary(vocabulary, store, lowercase=lowercase)
        tokenise(store, words, executor=executor, progress=progress)
        if graph:
            progress("graph", 0, 1)
            add_graph(store, "hyperlink", "hyperlink", executor=executor)
            progress("graph", 1, 1)
    return store


@contextmanager
def _as_files(sources: str | Path | Iterable[Any], to: Path) -> Iterator[list[Path]]:
    """Return sources as paths; Documents are first written to a file next to the store, which is removed at the end."""
    given = iter([sources] if isinstance(sources, str | Path) else sources)
    first = next(given, None)
    if isinstance(first, Mapping):
        raise ValueError("sources are paths or Documents, not dicts: give linkbert.Document objects")
    if not isinstance(first, Document):
        yield [source_path(str(path)) for path in (first, *given) if path is not None]
        return
    path = to.with_name(f"{to.name}.documents.jsonl")
    try:
        with path.open("w", encoding="utf-8") as file:
            for document in chain([first], given):
                sections = [{"name": name, "start": start} for name, start in document.sections]
                file.write(json.dumps(asdict(document) | {"sections": sections}, ensure_ascii=False) + "\n")
        yield [path]
    finally:
        remove(path)


def describe_build(store: Store) -> list[str]:
    """Say in lines what each source was read as, and which files of other kinds were skipped."""
    lines = []
    by_reader = sorted(store.manifest["sources"], key=lambda source: source["reader"] or "")
    for reader, found in groupby(by_reader, lambda source: source["reader"] or ""):
        paths = [source["path"] for source in found]
        options = store.manifest["options"].get(reader, {}).items()
        given = "".join(f" --{key.replace('_', '-')} {value}".removesuffix(" True") for key, value in options if value)
        row = load_reader(reader) if reader and any(Path(path).is_dir() for path in paths) else None
        files = f" (files *{', *'.join(row.suffixes + row.inside)}, compressed or not)" if row else ""
        shown = ", ".join(paths[:3]) + f" and {len(paths) - 3:,} more" * (len(paths) > 3)
        lines.append(f"{shown}: read as {reader or 'nothing that could be read'}{files}{given}")
    lines += filter(None, [store.manifest["links_read"]])
    if others := store.manifest["other_files"]:
        kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in [*others.items()][:10])
        lines.append(f"skipped {sum(others.values()):,} files: {kinds}" + " and others" * (len(others) > 10))
    return lines
