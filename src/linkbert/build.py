"""The whole of `linkbert build`: documents, then vocabulary and tokens, then the graph of hyperlinks.

In: sources on disk. Out: a finished STORE. Every stage leaves files that are whole or absent, so the same call again
after an interruption does what is missing and no more, and the result does not tell the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from linkbert.corpora.build import build_documents
from linkbert.corpora.store import Store
from linkbert.files import locked
from linkbert.graph.links import add_graph
from linkbert.instances.tokens import tokenise
from linkbert.instances.vocabulary import check_vocabulary_source, make_vocabulary
from linkbert.workers import make_executor

Progress = Callable[[str, int, int | None], None]


def build_store(
    sources: Sequence[Path],
    to: Path,
    *,
    vocabulary: str,
    format: str | None = None,  # noqa: A002 - the command line's word
    options: Mapping[str, Any] | None = None,
    links_table: Path | None = None,
    lowercase: bool | None = None,
    graph: bool = True,
    workers: int = 1,
    dask: str | None = None,
    progress: Progress | None = None,
) -> Store:
    """Build a store, or finish one that was interrupted.

    `vocabulary` is a vocab.txt, a tokenizer folder, a hub name or 'train:SIZE'; `lowercase=None` leaves case to it.
    """
    check_vocabulary_source(vocabulary)
    with locked(to), make_executor(workers, dask) as executor:
        store = build_documents(
            sources,
            to,
            format=format,
            options=options,
            links_table=links_table,
            executor=executor,
            progress=progress,
        )
        words = make_vocabulary(vocabulary, store, lowercase=lowercase)
        tokenise(store, words, executor=executor, progress=progress)
        if graph:
            if progress:
                progress("graph", 0, 1)
            add_graph(store, "hyperlink", "hyperlink", executor=executor)
            if progress:
                progress("graph", 1, 1)
    return store
