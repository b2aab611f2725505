"""What `show`, `pretrain` and `demo` print: a document with its links, decoded instances, scores.

In: stores, instances and scores as plain values. Out: rich Text on a Console, which leaves the colours out where there
is no terminal; so brackets and words carry the meaning too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from linkbert.config import Config
from linkbert.corpora.store import Store
from linkbert.files import map_array
from linkbert.instances.mixture import Mixture
from linkbert.instances.sampler import Sampler, name_instances
from linkbert.records import RELATIONS, Document

RELATION_STYLES = {"contiguous": "bold green", "random": "bold magenta", "linked": "bold cyan"}


def show_document(console: Console, store: Store, name: str) -> None:
    """Print a document: its text with every link marked (dim if its target is missing), then the others."""
    number = store.find(name)
    if number is None:
        raise ValueError(f"{store.path} has no document {name!r}; ids are exact (for Wikipedia, titles)")
    document = store.document(number)
    id_, title, text = map(printable, (document.id, document.title, document.text))
    document = replace(document, id=id_, title=title, text=text)
    console.print(Text(document.title, style="bold"), Text(f"({document.id}, document {number:,})", style="dim"))
    if document.disambiguation:
        console.print(Text("a disambiguation page: links to it are dropped", style="dim"))
    targets = link_targets(store, number, document)
    console.print(marked_text(document, targets))
    unanchored = [pair for pair in zip(document.links, targets, strict=True) if pair[0].start < 0]
    placed = len(document.links) - len(unanchored)
    console.print()
    if (store.path / "graphs" / "hyperlink" / "graph.json").is_file():
        known = sum(target is not None for target in targets)
        console.print(f"{placed:,} links in the text, {known:,} of all to documents here")
    else:
        console.print(f"{placed:,} links in the text; no hyperlink graph, so their targets are not known")
    if unanchored:
        console.print(f"{len(unanchored):,} links of the whole document:")
        for link, target in unanchored[:20]:
            leads = "" if target is None else f" -> {target}"
            console.print(Text(printable(f"  {link.target}") + leads, style="" if leads else "dim"))
        if len(unanchored) > 20:
            console.print(f"  and {len(unanchored) - 20:,} more")


def printable(text: str) -> str:
    """Replace what would steer a terminal, one for one: control characters and turns of direction become U+FFFD."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", text)


def link_targets(store: Store, number: int, document: Document) -> list[str | None]:
    """Return the id of the document that each link leads to; None for a lost link, and for all without a graph."""
    from linkbert.graph.links import LinkGraph

    found: list[str | None] = [None] * len(document.links)
    if not (store.path / "graphs" / "hyperlink" / "graph.json").is_file():
        return found
    graph = LinkGraph.open(store.path, "hyperlink")
    first = int(map_array(store.path / "tokens" / "document_links.bin", np.int64)[number])
    edges = slice(int(graph.offsets[number]), int(graph.offsets[number + 1]))
    for link, target in zip(graph.links[edges].tolist(), graph.targets[edges].tolist(), strict=True):
        found[link - first] = printable(store.document(target).id)
    return found


def marked_text(document: Document, targets: list[str | None]) -> Text:
    """Mark the links of a text: '[anchor → target]', dim where the target is not in the store."""
    text, end = Text(), 0
    placed = sorted((link.start, link.end, i) for i, link in enumerate(document.links) if link.start >= 0)
    for start, stop, i in placed:
        if start < end:
            continue
        text.append(document.text[end:start])
        anchor, target = document.text[start:stop], targets[i]
        if target is None:
            text.append(f"[{anchor}]", style="dim underline")
        else:
            text.append(
                f"[{anchor}" + ("]" if target.lower() == anchor.lower() else f" → {target}]"), style="cyan underline"
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


def choose_instances(
    sampler: Sampler | Mixture, config: Config, count: int, *, at: str | None = None, step: int | None = None
) -> tuple[list[str], Sequence[int]]:
    """Choose instances to show: their numbers, and lines that name them.

    They are those of a step (from 1), from a number or EPOCH:INDEX (`at`), or else one of each relation first.
    """
    if step is not None:
        if step < 1 or at is not None:
            raise ValueError("--step takes a step from 1 upwards, and not together with --at")
        if config.budget == "none" and step > config.max_steps:
            raise ValueError(f"--step {step}: the run has {config.max_steps} steps")
        start = (step - 1) * config.batch_size
        named = name_instances(sampler, start, start + config.batch_size)
        return [_name(step, each) for each in named], range(start, start + min(count, config.batch_size))
    if at is not None:
        return [], range(_instance(at, sampler), _instance(at, sampler) + count)
    return [], one_of_each(sampler, count)


def one_of_each(sampler: Sampler | Mixture, count: int) -> list[int]:
    """Choose so many instances: first one of each relation that the first few hundred have."""
    _, relations, _ = sampler.draw(np.arange(600))
    chosen = [int(np.argmax(relations == i)) for i in range(3) if (relations == i).any()]
    chosen += [number for number in range(count + 3) if number not in chosen]
    return chosen[:count]


def _name(step: int, named: dict[str, Any]) -> str:
    """Name the instances of a store that a step has."""
    (epoch, index), (last_epoch, last) = named["from"], named["to"]
    to = f"epoch {last_epoch}, index {last:,}" if last_epoch != epoch else f"{last:,}"
    numbers = f"instances {named['first']:,} to {named['last']:,} of {named['store']}"
    return f"step {step:,}: {numbers} (epoch {epoch}, index {index:,} to {to})"


def _instance(text: str, sampler: Any) -> int:
    """Read an instance: its number, or EPOCH:INDEX of a single store."""
    found = re.fullmatch(r"(?:(\d+):)?(\d+)", text)
    if not found or (found[1] and not hasattr(sampler, "plan")):
        raise ValueError(f"--at {text} is no instance: it is a number, or EPOCH:INDEX if there is one store")
    epoch, index = int(found[1] or 0), int(found[2])
    if found[1] and index >= len(sampler):
        raise ValueError(f"--at {text}: an epoch of {sampler.store.path} has {len(sampler):,} instances")
    number = epoch * len(sampler) + index if found[1] else index
    if number >= 2**62:
        raise ValueError(f"--at {text} is too large")
    return number


def show_instances(console: Console, sampler: Sampler | Mixture, numbers: Iterable[int]) -> None:
    """Print decoded instances, each with its number in its store, its epoch and its index there."""
    for number in numbers:
        owners = sampler.owners(np.array([number]))
        owner, own = next((each, int(mine[0])) for each, _, mine in owners if len(mine))
        made, words = owner.fill(np.array([own])), owner.store.vocabulary.spelled
        labels = dict(zip(made.masked_positions.tolist(), made.masked_labels.tolist(), strict=True))
        ids = made.input_ids[0, : int(made.lengths[0])].tolist()
        shown = [(words[labels.get(at, id_)], words[id_] if at in labels else None) for at, id_ in enumerate(ids)]
        doc_a, start, stop, doc_b, _, _ = made.pairs[0].tolist()
        store, relation = Store.open(owner.store.path), RELATIONS[made.relations[0]]
        a, b = ("nowhere" if doc < 0 else printable(store.document(doc).title) for doc in (doc_a, doc_b))
        meanings = {"contiguous": f"B follows A, in {a!r}", "random": f"B is from {b!r}, A from {a!r}",
                    "linked": f"A's document {a!r} links to B's, {b!r}"}  # fmt: skip
        console.print(
            Text(f"\n{relation}", RELATION_STYLES[relation])
            .append(f"   {meanings[relation]}", "default not bold")
            .append(f"   instance {own:,} (epoch {own // len(owner)}, index {own % len(owner):,})", "dim not bold")
        )
        line = Text("[CLS] ", style="dim")
        for segment in (shown[1 : 1 + stop - start], shown[2 + stop - start : -1]):
            line.append_text(_segment_text(segment)).append(" [SEP] ", style="dim")
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
        console.print(f"stopped after step {result.step:,} of {result.steps:,}; resume with --resume")
    if result.scores is not None:
        show_scores(console, result.scores)
    if result.model:
        console.print(f"the model is in {result.model}")
