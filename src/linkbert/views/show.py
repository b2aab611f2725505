"""What `show`, `pretrain` and `demo` print: a document with its links, decoded instances, scores.

In: stores, instances and scores as plain values. Out: rich Text on a Console, which leaves the colours out where there
is no terminal; so brackets and words carry the meaning too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.text import Text

from linkbert.corpora.store import Store
from linkbert.records import Document

if TYPE_CHECKING:
    from linkbert.instances.mixture import Mixture
    from linkbert.instances.sampler import Sampler

RELATION_STYLES = {"contiguous": "bold green", "random": "bold magenta", "linked": "bold cyan"}


def show_document(console: Console, store: Store, name: str) -> None:
    """Print a document: its text with every link underlined (resolved) or dim (dead), then links without a place."""
    number = store.find(name)
    if number is None:
        raise ValueError(f"{store.path} has no document {name!r}; ids are exact (for Wikipedia, titles)")
    document = store.document(number)
    id_, title, text = map(printable, (document.id, document.title, document.text))
    document = replace(document, id=id_, title=title, text=text)
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
            console.print(
                Text(
                    printable(f"  {link.target}") + ("" if fate is None else f" -> {fate}"),
                    style="dim" if fate is None else "",
                )
            )
        if len(placeless) > 20:
            console.print(f"  and {len(placeless) - 20:,} more")


def printable(text: str) -> str:
    """Replace what would steer a terminal, one for one: control characters and turns of direction become U+FFFD."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", text)


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
        fates[link - first] = printable(store.document(target).id)
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
            text.append(
                f"[{anchor}" + ("]" if fate.lower() == anchor.lower() else f" → {fate}]"), style="cyan underline"
            )
        end = stop
    text.append(document.text[end:])
    return text


def show_scores(console: Console, scores: Any, *, before: Any = None, vocabulary: tuple[str, ...] = ()) -> None:
    """Print Scores, as `evaluation.describe` writes them."""
    from linkbert.pretraining.scores import describe

    for line in describe(scores, before=before, vocabulary=vocabulary):
        text = Text(line, style="" if line.startswith(" ") else "bold")
        for relation, style in RELATION_STYLES.items():
            text.highlight_regex(rf"^ +{relation}(?=:)", style)
        console.print(text)
    console.print("in brackets: the 95 % interval, and the count", style="dim")


def one_of_each(sampler: Sampler | Mixture, count: int) -> list[int]:
    """Choose so many instances: one of each relation to begin with, where the first few hundred have one."""
    _, relations, _ = sampler.draw(np.arange(600))
    chosen = [int(np.argmax(relations == i)) for i in range(3) if (relations == i).any()]
    chosen += [number for number in range(count + 3) if number not in chosen]
    return chosen[:count]


def show_instances(console: Console, sampler: Sampler | Mixture, numbers: Iterable[int]) -> None:
    """Print decoded instances, each with its number in its store, its epoch and its index there."""
    from linkbert.instances.sampler import describe_instances

    for number in numbers:
        owner, own = sampler.find(number)
        (shown,) = describe_instances(owner, np.array([own]))
        store = Store.open(owner.store.path)
        relation = shown["relation"]
        numbers = [shown[side]["document"] for side in "ab"]
        a, b = ("nowhere" if number < 0 else printable(store.document(number).title) for number in numbers)
        meanings = {"contiguous": f"B goes on where A ends, in {a!r}", "random": f"B is from {b!r}, A from {a!r}",
                    "linked": f"A's document {a!r} links to B's, {b!r}"}  # fmt: skip
        console.print(
            Text(f"\n{relation}", RELATION_STYLES[relation])
            .append(f"   {meanings[relation]}", "default not bold")
            .append(f"   instance {own:,} (epoch {own // len(owner)}, index {own % len(owner):,})", "dim not bold")
        )
        line = Text("[CLS] ", style="dim")
        for side in "ab":
            line.append_text(_segment_text(shown[side]["tokens"])).append(" [SEP] ", style="dim")
        console.print(line)
    console.print(
        Text("\nto be guessed: ", style="dim").append("[MASK]", "bold yellow").append(" (the word), ", "dim")
        .append("another word", "bold red").append(" (the word), ", "dim").append("word", "underline")
        .append(" kept as it is; and the relation of the two segments", "dim")
    )  # fmt: skip


def _segment_text(tokens: list[tuple[str, str | None]]) -> Text:
    """Write a segment with its masks: [('the', None), ('cat', '[MASK]')] -> 'the [MASK](cat)'; pieces are joined."""
    text = Text()
    for token, seen in tokens:
        joined = token.startswith("##")
        text.append("" if joined or not text else " ")
        word = token.removeprefix("##")
        if seen is None:
            text.append(word)
        elif seen == token:
            text.append(word, style="underline")
        else:
            text.append(seen.removeprefix("##"), style="bold yellow" if seen == "[MASK]" else "bold red")
            text.append(f"({word})", style="dim")
    return text


def show_result(console: Console, result: Any) -> None:
    """Print how a run ended."""
    if not result.finished:
        console.print(f"stopped after step {result.step:,} of {result.steps:,}; go on with --resume")
    if result.scores is not None:
        show_scores(console, result.scores)
    if result.model:
        console.print(f"the model is in {result.model}")
