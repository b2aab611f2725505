"""What `show` prints: a document with its links, decoded instances; on a Console of rich.

There are no colours where there is no terminal; so brackets and words carry the meaning too.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from linkbert.config import Config
from linkbert.corpora.store import Store, querying
from linkbert.files import map_array, scratch
from linkbert.graph.links import LinkGraph
from linkbert.instances.mixture import Mixture
from linkbert.instances.sampler import Sampler
from linkbert.progress import printable
from linkbert.records import RELATIONS, Document
from linkbert.views.runs import RELATION_STYLES

LEGEND = (
    "\nto be guessed: [bold yellow]\\[MASK][/] (the word), [bold red]another word[/] (the word), [underline]word[/] "
    "kept as it is; and the relation of the two segments"
)
NAMED = "SELECT target FROM redirect_rows WHERE source IN (?, '[[' || lower(?) || ']]') LIMIT 1"
LIKE = """
SELECT id, title, greatest(jaro_winkler_similarity(lower(id), name), jaro_winkler_similarity(lower(title), name)) near
FROM document_rows, (SELECT lower(?) AS name) ORDER BY near DESC, id LIMIT 3"""
BREAKS = "\n\t"  # of a text, which has lines of its own
LISTED, NAMED_SOURCES, CHAIN = 20, 5, 8  # links that are listed, documents that link to one, redirects to redirects


def show_document(console: Console, store: Store, name: str) -> None:
    """Print a document: its text with every link marked (dim if its target is missing), then the others."""
    number = find_document(store, name)
    document = store.document(number)
    graph = open_hyperlinks(store)
    targets = link_targets(store, graph, number) if graph else None
    named = printable(f"({document.id}, document {number:,})")
    console.print(Text(printable(document.title), "bold"), Text(named, "dim"))
    if document.disambiguation:
        console.print("a disambiguation page: links to it are dropped", style="dim")
    unanchored = [i for i, link in enumerate(document.links) if link.start < 0]
    placed, known = len(document.links) - len(unanchored), "; no hyperlink graph, so their targets are not known"
    lost = {i: "(itself)" if link.target == document.id else "(not followed)" for i, link in enumerate(document.links)}
    lost = {} if targets is None else {i: why for i, why in lost.items() if i not in targets}
    console.print(marked_text(document, targets or {}, lost))
    here = sum(document.links[i].start < 0 for i in targets or ())
    known = known if targets is None else f", {len(targets) - here:,} to documents here"
    console.print(f"\n{placed:,} links in the text{known}")
    if unanchored:
        console.print(f"{len(unanchored):,} links of the whole document, {here:,} to documents here:")
    for i in unanchored[:LISTED]:
        leads = f" -> {targets[i]}" if targets and i in targets else f" -> {lost[i]}" if i in lost else ""
        console.print(printable(f"  {document.links[i].target}{leads}"), style="dim" if i in lost or not leads else "")
    if len(unanchored) > LISTED:
        console.print(f"  and {len(unanchored) - LISTED:,} more")
    if graph:
        edges = np.flatnonzero(graph.targets == number)
        sources = np.unique(np.searchsorted(graph.offsets, edges, side="right") - 1).tolist()
        first = ", ".join(store.document(each).id for each in sources[:NAMED_SOURCES])
        more = f", and {len(sources) - NAMED_SOURCES:,} more" * (len(sources) > NAMED_SOURCES)
        console.print(printable(f"{len(sources):,} documents link to it" + f": {first}{more}" * bool(sources)))


def find_document(store: Store, name: str) -> int:
    """Find the number of a document by its id, another name or its title; ValueError that names what is like it."""
    if (number := store.find(name)) is not None:
        return number
    with scratch() as folder, querying(store.path, folder=folder / "query") as database:
        other = name
        for _ in range(CHAIN):
            if not (found := database.execute(NAMED, [other, other]).fetchone()):
                break
            if (number := store.find(other := found[0])) is not None:
                return number
        near = database.execute(LIKE, [name]).fetchall()
    if near and near[0][2] == 1 and (number := store.find(near[0][0])) is not None:  # by its title
        return number
    like = ", ".join(f"{id_!r} ({title})" if title != id_ else repr(id_) for id_, title, _ in near)
    raise ValueError(f"{store.path} has no document {name!r}; the nearest ids (and titles) are {like}")


def open_hyperlinks(store: Store) -> LinkGraph | None:
    """Open a store's hyperlink graph; None where it has none."""
    return LinkGraph.open(store.path) if (store.path / "graphs/hyperlink/graph.json").is_file() else None


def link_targets(store: Store, graph: LinkGraph, number: int) -> dict[int, str]:
    """Return the ids of the documents that a document's links lead to, by link."""
    first = int(map_array(store.path / "tokens" / "document_links.bin", np.int64)[number])
    edges = slice(*graph.offsets[number : number + 2])
    pairs = zip(graph.links[edges].tolist(), graph.targets[edges].tolist(), strict=True)
    found = {link - first: store.document(target).id for link, target in pairs}
    if not found.keys() <= {*range(len(store.document(number).links))}:
        wrong = "a document's edges are of other documents' links"
        raise ValueError(f"{store.path}/graphs/hyperlink is damaged: {wrong}; make it again")
    return found


def marked_text(document: Document, targets: dict[int, str], lost: dict[int, str]) -> Text:
    """Mark the links of a text: '[anchor → target]', dim and with the reason where they lead to no other document."""
    text, end = Text(), 0
    for start, stop, i in sorted((link.start, link.end, i) for i, link in enumerate(document.links)):
        if start < end:  # in another link, or in no place
            continue
        anchor, target = document.text[start:stop], targets.get(i)
        leads = f" → {target}" if target and target.lower() != anchor.lower() else f" → {lost[i]}" if i in lost else ""
        text.append(printable(document.text[end:start], keep=BREAKS))
        text.append(printable(f"[{anchor}{leads}]"), "dim underline" if target is None else "cyan underline")
        end = stop
    return text.append(printable(document.text[end:], keep=BREAKS))


def choose_instances(
    sampler: Sampler | Mixture, config: Config, count: int, *, at: int | None = None, step: int | None = None
) -> Sequence[int]:
    """Choose the numbers of instances: of a step (from 1), from a number on (`at`), or one of each relation first."""
    if step is not None:
        if config.budget == "none" and step > config.max_steps:
            raise ValueError(f"--step {step}: the run has {config.max_steps} steps")
        at, count = (step - 1) * config.batch_size, min(count, config.batch_size)
    if at is not None:
        return range(at, at + count)
    _, relations, _ = sampler.draw(np.arange(600))  # has one of each, if any
    chosen = [int(np.argmax(relations == i)) for i in range(3) if (relations == i).any()]
    return list(dict.fromkeys([*chosen, *range(count)]))[:count]


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
        a, b = ("nowhere" if doc < 0 else store.document(doc).title for doc in (doc_a, doc_b))
        meaning = {"contiguous": f"B follows A, in {a!r}", "random": f"B is from {b!r}, A from {a!r}",
                   "linked": f"A's document {a!r} links to B's, {b!r}"}[relation]  # fmt: skip
        epoch = f"(epoch {own // len(owner)}, index {own % len(owner):,})"
        place = f"   instance {own:,} of {printable(str(store.path))} {epoch}"
        console.print(Text.assemble((f"\n{relation}", RELATION_STYLES[relation]), f"   {meaning}", (place, "dim")))
        first, second = (_segment_text(each) for each in (shown[1 : 1 + stop - start], shown[2 + stop - start : -1]))
        end = (" [SEP] ", "dim")
        console.print(Text.assemble(("[CLS] ", "dim"), *first, end, *second, end))
    console.print(Text.from_markup(LEGEND, style="dim"))


def _segment_text(tokens: list[tuple[str, str | None]]) -> list[tuple[str, str]]:
    """Write a segment with its masks: [('the', None), ('cat', '[MASK]')] -> 'the [MASK](cat)'; pieces are joined."""
    parts: list[tuple[str, str]] = []
    for token, seen in tokens:
        word = token.removeprefix("##")
        parts.append((" " if parts and not token.startswith("##") else "", ""))
        if seen is None or seen == token:
            parts.append((word, "" if seen is None else "underline"))
        else:
            style = "bold yellow" if seen == "[MASK]" else "bold red"
            parts += [(seen.removeprefix("##"), style), (f"({word})", "dim")]
    return parts
