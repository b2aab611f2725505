"""What links add and what training taught, on held-out pairs, for the terminal and a page.

In: a sampler of held-out pairs, and functions that guess the masked tokens of instances. Out: pairs in which a linked
text makes masked words easier, and masked words before and after training. Words are those that carry meaning: whole,
of four letters or more, and none of the corpus's commonest tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from linkbert.corpora.store import Store
from linkbert.instances.sampler import Instances, Sampler, shared_tokens
from linkbert.records import LINKED, RANDOM
from linkbert.views.page import lay_out
from linkbert.views.show import link_targets, open_hyperlinks

COMMON = 200  # tokens of the corpus that are no words with a meaning: the, of, be
SHORTEST = 4  # letters of a word that is shown

Guess = Callable[[Instances], tuple[np.ndarray, np.ndarray]]  # the likeliest tokens, the true ones' probabilities; (M,)
Piece = tuple[str, str]  # words of a text, and what they are: "" or "shown"


@dataclass(frozen=True)
class Picture:
    """A segment A, the linked B, and the masked words of A that stand in B."""

    title_a: str
    title_b: str
    anchor: str  # of the link from A's document to B's; "" where it has no place
    a: tuple[Piece, ...]
    b: tuple[Piece, ...]
    words: tuple[tuple[str, float, float], ...]  # each with its probability next to a random B and next to this one


@dataclass(frozen=True)
class Learnt:
    """A masked word in its sentence, with the guess, and the probability of the word, before and after training."""

    context: str  # with [MASK]
    word: str
    before: tuple[str, float]
    after: tuple[str, float]


def pictures(sampler: Sampler, guess: Guess, *, among: int = 300, count: int = 3) -> list[Picture]:
    """Find the held-out pairs, of the first so many, whose words gain most from the linked text: the clearest ones."""
    linked, random = (sampler.forced(relation) for relation in (LINKED, RANDOM))
    numbers = np.arange(min(among, len(sampler)))
    made, other = linked.fill(numbers), random.fill(numbers)
    near, far = guess(made)[1], guess(other)[1]  # the same masks, in the same order
    width, whole = made.input_ids.shape[1], true_ids(made)
    row = made.masked_positions // width
    told = shared_tokens(made, numbers.repeat(width)) & carries_meaning(sampler, made)
    gains = np.bincount(row, np.where(told, near - far, 0), len(numbers))
    best = [int(i) for i in np.argsort(-gains, kind="stable")[:count] if gains[i] > gains.max() / 3]
    spelled, store, found = sampler.store.vocabulary.spelled, Store.open(sampler.store.path), list[Picture]()
    graph = open_hyperlinks(store)
    for i in best:
        doc_a, start, stop, doc_b, _, _ = made.pairs[i].tolist()
        a, b = store.document(doc_a), store.document(doc_b)
        leads = link_targets(store, graph, doc_a) if graph else {}
        anchors = [a.links[n] for n, target in leads.items() if target == b.id and a.links[n].start >= 0]
        anchor = a.text[anchors[0].start : anchors[0].end] if anchors else ""
        masks, ids, first = np.flatnonzero(told & (row == i)), whole[i, : made.lengths[i]].tolist(), 2 + stop - start
        places = {int(place) % width for place in made.masked_positions[masks]}
        shown = {ids[place] for place in places}
        text_a = pieces(spelled, ids[1 : first - 1], [place in places for place in range(1, first)])
        text_b = pieces(spelled, ids[first:-1], [token in shown for token in ids[first:-1]])
        words = [(spelled[made.masked_labels[k]], float(far[k]), float(near[k])) for k in masks]
        words.sort(key=lambda each: each[1] - each[2])
        found.append(Picture(a.title, b.title, anchor, text_a, text_b, tuple(words)))
    return found


def learnt_words(sampler: Sampler, before: Guess, after: Guess, *, among: int = 300, count: int = 5) -> list[Learnt]:
    """Take the first words with a meaning that held-out pairs mask, one a document, whatever became of them."""
    made, spelled = sampler.fill(np.arange(min(among, len(sampler)))), sampler.store.vocabulary.spelled
    guesses, width = (before(made), after(made)), made.input_ids.shape[1]
    told, whole, taken = carries_meaning(sampler, made), true_ids(made), dict[int, Learnt]()
    for k in np.flatnonzero(told).tolist():
        i, place = divmod(int(made.masked_positions[k]), width)
        document = int(made.pairs[i, 3 if made.token_type_ids[i, place] else 0])
        if document in taken or len(taken) == count:
            continue
        around = range(max(1, place - 10), min(int(made.lengths[i]) - 1, place + 11))
        ids = whole[i].tolist()
        shown = [" [MASK]" if at == place else f" {spelled[ids[at]]}".removeprefix(" ##") for at in around]
        context = "".join(text for text in shown if text != " [SEP]").strip()
        told_by = [(spelled[tokens[k]], float(chances[k])) for tokens, chances in guesses]
        taken[document] = Learnt(context, spelled[made.masked_labels[k]], *told_by)
    return list(taken.values())


def true_ids(made: Instances) -> np.ndarray:
    """Return the tokens of instances without masks, int64 (B, T)."""
    ids = made.input_ids.copy()
    ids.flat[made.masked_positions] = made.masked_labels
    return ids


def carries_meaning(sampler: Sampler, made: Instances) -> np.ndarray:
    """Tell which masked tokens are whole words with a meaning: bool (M,)."""
    vocabulary, counts = sampler.store.vocabulary, sampler.store.count_tokens()
    common = set(np.argsort(-counts, kind="stable")[:COMMON].tolist())
    follows = true_ids(made).flat[np.minimum(made.masked_positions + 1, made.input_ids.size - 1)]
    labels = made.masked_labels.tolist()
    words = [vocabulary.spelled[label] for label in labels]
    told = [len(w) >= SHORTEST and w.isalpha() and n not in common for w, n in zip(words, labels, strict=True)]
    return np.array(told, bool) & ~vocabulary.continues[follows] & ~vocabulary.continues[made.masked_labels]


def pieces(spelled: Sequence[str], ids: Sequence[int], shown: Sequence[bool]) -> tuple[Piece, ...]:
    """Write tokens as pieces of text: those that are shown alone, what is between them together."""
    found: list[Piece] = []
    for token, mark in zip(ids, shown, strict=False):
        text, kind = f" {spelled[token]}".removeprefix(" ##"), "shown" if mark else ""
        if found and found[-1][1] == kind == "":
            found[-1] = (found[-1][0] + text, "")
        else:
            found.append((text, kind))
    return tuple(found)


def picture_lines(picture: Picture) -> list[str]:
    """Write a picture for the terminal."""
    by = f" by the words {picture.anchor!r}" if picture.anchor else ""
    a, b = ("".join(f" [{text.strip()}]" if kind else text for text, kind in part) for part in (picture.a, picture.b))
    rows = [["masked word", "next to a random text", "next to the linked one"]]
    rows += [[word, f"{far:.1%}", f"{near:.1%}"] for word, far, near in picture.words]
    head = f"{picture.title_a!r} links to {picture.title_b!r}{by}; in brackets the masked words that both hold"
    return [head, f"  A:{a}", f"  B:{b}", *(f"  {line}" for line in lay_out(rows))]


def learnt_lines(learnt: Sequence[Learnt]) -> list[str]:
    """Write words before and after training for the terminal."""
    rows = [["word", "guess before", "the word had", "guess after", "the word has"]]
    for each in learnt:
        both = [(guess, f"{chance:.1%}") for guess, chance in (each.before, each.after)]
        rows.append([each.word, *both[0], *both[1]])
    return [*(f"  ... {each.context} ..." for each in learnt), *(f"  {line}" for line in lay_out(rows))]
