"""What `show`, `pretrain` and `demo` print: a document with its links, decoded instances, scores.

In: stores, instances and scores as plain values. Out: rich Text on a Console, which leaves the colours out where there is no
terminal; so brackets and words carry the meaning too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from linkbert.config import Config
from linkbert.corpora.store import Store
from linkbert.records import RELATIONS, Document

RELATION_STYLES = {"contiguous": "bold green", "random": "bold magenta", "linked": "bold cyan"}


def show_document(console: Console, store: Store, name: str) -> None:
    """Print a document: its text with every link underlined (resolved) or dim (dead), then the links without a place."""
    number = store.find(name)
    if number is None:
        raise ValueError(f"{store.path} has no document {name!r}; ids are exact (for Wikipedia, titles)")
    document = store.document(number)
    console.print(Text(document.title, style="bold"), Text(f"({document.id}, document {number:,})", style="dim"))
    if document.disambiguation:
        console.print(Text("a disambiguation page: links to it are dropped", style="dim"))
    fates = link_fates(store, number, document)
    console.print(marked_text(document, fates))
    placeless = [(link, fate) for link, fate in zip(document.links, fates, strict=True) if link.start < 0]
    placed = len(document.links) - len(placeless)
    console.print()
    console.print(f"{placed:,} links in the text, {sum(fate is not None for fate in fates):,} of all resolved")
    if placeless:
        console.print(f"{len(placeless):,} links without a place in the text:")
        for link, fate in placeless[:20]:
            console.print(Text(f"  {link.target}" + ("" if fate is None else f" -> {fate}"), style="dim" if fate is None else ""))
        if len(placeless) > 20:
            console.print(f"  and {len(placeless) - 20:,} more")


def link_fates(store: Store, number: int, document: Document) -> list[str | None]:
    """Tell where each link of a document leads: the id of its target, or None where it leads nowhere in this store."""
    from linkbert.graph.links import LinkGraph

    if not (store.path / "graphs" / "hyperlink").is_dir():
        return [None] * len(document.links)
    graph = LinkGraph.open(store.path, "hyperlink")
    first = int(np.memmap(store.path / "tokens" / "document_links.bin", np.int64, "r")[number])
    edges = slice(int(graph.offsets[number]), int(graph.offsets[number + 1]))
    fates: list[str | None] = [None] * len(document.links)
    for link, target in zip(graph.links[edges].tolist(), graph.targets[edges].tolist(), strict=True):
        fates[link - first] = store.document(target).id
    return fates


def marked_text(document: Document, fates: list[str | None]) -> Text:
    """Mark the links of a text: '[anchor → target]', dim where the target is not in the store."""
    text, end = Text(), 0
    placed = sorted((link.start, link.end, i) for i, link in enumerate(document.links) if link.start >= 0)
    for start, stop, i in placed:
        if start < end:
            continue
        text.append(document.text[end:start])
        anchor, fate = document.text[start:stop], fates[i]
        if fate is None:
            text.append(f"[{anchor}]", style="dim underline")
        else:
            text.append(f"[{anchor}" + ("]" if fate.lower() == anchor.lower() else f" → {fate}]"), style="cyan underline")
        end = stop
    text.append(document.text[end:])
    return text


def show_scores(console: Console, scores: Any, *, before: Any = None, vocabulary: tuple[str, ...] = ()) -> None:
    """Print Scores: masked tokens beside the guess that reads nothing, relations with their confusion table.

    `before` are the Scores of the same pairs before training.
    """

    def share(value: Any) -> str:
        return f"{value.value:6.1%}  ({value.low:.1%} to {value.high:.1%}, {value.correct:,} of {value.count:,})"

    token = f" ({vocabulary[scores.baseline_token]!r})" if vocabulary else ""
    console.print(f"masked tokens guessed right          {share(scores.mlm_accuracy)}", style="bold")
    if before is not None:
        console.print(f"  before training                    {share(before.mlm_accuracy)}")
    console.print(f"  always the commonest token{token:<8} {share(scores.baseline_accuracy)}")
    if scores.relation_accuracy is None:
        return
    console.print(f"relation guessed right               {share(scores.relation_accuracy)}", style="bold")
    names = list(scores.confusion)
    console.print(f"  {'true relation':<14}" + "".join(f"{'said ' + name:>17}" for name in names) + "   right")
    for name in names:
        row, value = scores.confusion[name], scores.relations[name]
        few = "  too few pairs to say anything" if name in scores.too_few else ""
        cells = "".join(f"{row[other]:>17,}" for other in names)
        console.print(Text(f"  {name:<14}", RELATION_STYLES[name]).append(f"{cells}   {share(value)}{few}", "default not bold"))
    console.print("in brackets: the 95 % interval, and the count", style="dim")
