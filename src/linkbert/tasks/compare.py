"""Where two models differ on a task: examples, counts and a paired test, and the links of a store that would help.

In: the predictions of two Scores, by example, over all their seeds. Out: plain values for JSON, and their lines.
An example is right for a model where it is in more than half of its runs. Right and wrong are tested by McNemar's exact
test, other scores (an F1 for each example) by a bootstrap of the mean difference; both take examples as independent.

The paper's Figure 4 shows a question whose words are in one document and whose answer is in another that the first
links to. `find_bridges` looks for such pairs in one pass through a store.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from linkbert.corpora.store import Store
from linkbert.files import read_json_lines
from linkbert.tasks.kinds import Choice, Question, kind_of
from linkbert.tasks.metrics import bootstrap, interval_of
from linkbert.tasks.overlap import Grams, only_words, store_words
from linkbert.tasks.results import Column, Score, differences

FREQUENT = 100_000  # documents; a word of more is not searched for
SOURCES = 1_000  # documents with the most of a question's words, whose links are followed
SAMPLES = 10_000  # of the bootstrap
BRIDGES = 30  # for each question, of which the best are shown
WIDTH = 200  # characters of a snippet


def answers_of(score: Score, split: str) -> dict[str, dict[str, Any]]:
    """Return the answer that most runs gave to each example, by its id, and the mean of its scores.

    ValueError where a run has no answers on that set, or their file is gone or broken.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for run in score.runs:
        folder = run["folder"]
        if split not in run["predictions"]:
            raise ValueError(f"{folder} has no answers on the {split} set of {run['task']}: run both on the same data")
        path = folder / run["predictions"][split]
        if not path.is_file():
            raise ValueError(f"{path} is not there: remove its line in results.jsonl and run again")
        for line in read_json_lines(path, "id", "prediction", "score"):
            found.setdefault(line["id"], []).append(line)
    merged = {}
    for name, lines in found.items():
        texts = Counter(json.dumps(line["prediction"], ensure_ascii=False) for line in lines)
        common = json.loads(texts.most_common(1)[0][0])
        merged[name] = {**lines[0], "prediction": common, "score": float(np.mean([line["score"] for line in lines]))}
    return merged


def compare(a: Score, b: Score) -> dict[str, Any]:
    """Compare two scores of one task on the set that a report shows, or the other one where a run lacks that.

    `examples` are those on which the scores differ, the farthest apart first; `difference` is the mean of a's score
    minus b's, with its 95 % `interval` and the two-sided `p` that there is none.
    """
    from scipy.stats import binomtest  # half a second

    task = a.column.task
    split = replace(a, runs=[*a.runs, *b.runs]).split
    ours, theirs = answers_of(a, split), answers_of(b, split)
    both = [(ours[name], theirs[name]) for name in ours if name in theirs]
    both = [pair for pair in both if all(pair[0][key] == pair[1][key] for key in ("input", "gold"))]  # not the row only
    if not both:
        raise ValueError(f"{a.model} and {b.model} share no example of {a.column.title}: score them on one set")
    scores = np.array([[one["score"], other["score"]] for one, other in both])  # (N, 2)
    right = scores > 0.5
    cells = np.bincount(2 * right[:, 0] + right[:, 1], minlength=4)
    neither, only_b, only_a, both_right = cells.tolist()
    gap = np.round(scores[:, 0] - scores[:, 1], 9)  # thirds of seeds, so that equal ones are
    means = bootstrap(gap[:, None], lambda sums: sums[..., 0] / len(gap), samples=SAMPLES)
    whole = scores * [len(a.runs), len(b.runs)]  # sums of zeros and ones are whole numbers
    binary = bool(np.isclose(whole, whole.round()).all())
    p = float(binomtest(only_a, max(1, only_a + only_b)).pvalue) if binary else two_sided(means)
    names = [each.model if a.model != b.model else f"{each.runs[0]['folder']}:{each.model}" for each in (a, b)]
    examples = [
        {key: both[i][0].get(key) for key in ("id", "input", "options", "gold")}
        | {"a": both[i][0]["prediction"], "b": both[i][1]["prediction"], "scores": scores[i].tolist()}
        for i in np.argsort(-abs(gap), kind="stable").tolist()
        if gap[i]
    ]
    return {
        "task": a.column.name,
        "variation": a.column.variation,
        "split": split,
        "metric": task.metrics[0],
        "a": names[0],
        "b": names[1],
        "runs": [len(a.runs), len(b.runs)],
        "count": len(both),
        "left_out": len(ours) + len(theirs) - 2 * len(both),
        "both_right": both_right,
        "only_a": only_a,
        "only_b": only_b,
        "neither": neither,
        "other_words": sum(one["prediction"] != other["prediction"] for one, other in both),
        "means": scores.mean(0).tolist(),
        "difference": float(gap.mean()),
        "interval": list(interval_of(means)),
        "p": p,
        "test": "McNemar, exact" if binary else "bootstrap",
        "differences": list(differences([a, b])),
        "examples": examples,
    }


def two_sided(values: np.ndarray) -> float:
    """Return the two-sided p that a bootstrapped value is 0: twice the smaller share on one side of it."""
    side = min((values <= 0).sum(), (values >= 0).sum())
    return float(min(1.0, 2 * (side + 1) / (len(values) + 1)))


def question_of(column: Column, example: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the question of a prediction and its answers as texts; ValueError for a task that has none.

    >>> question_of(Column("medqa"), {"input": "Which?", "options": ["this", "that"], "gold": 1})
    ('Which?', ['that'])
    """
    kind, gold = kind_of(column.task), example["gold"]
    if isinstance(kind, Choice | Question):
        return example["input"], list(gold) if isinstance(kind, Question) else [example["options"][gold]]
    raise ValueError(f"--store joins questions with their answers, and {column.title} has none: name another --task")


def find_bridges(
    store: Store, graph: Any, questions: Sequence[tuple[str, Sequence[str]]], *, top: int = 3
) -> list[list[dict[str, Any]]]:
    """Find for each (question, answers) the linked documents that join its words with an answer, the best first.

    A bridge leads from a document without the answer to one that has it, word for word. The first BRIDGES are those
    whose first documents have the largest summed idf, max(0, log((N - df + 0.5) / (df + 0.5))), of the question's
    words; of these the best have the largest sum within WIDTH characters, as a long document has many words by chance.
    Memory holds the documents of words that at most FREQUENT have. `graph` is a LinkGraph: the edges of document d lead
    to targets[offsets[d] : offsets[d + 1]].
    """
    by_length: dict[int, list[tuple[int, str]]] = {}  # an answer's words -> number of its question, answer
    for number, (_, texts) in enumerate(questions):
        for answer in texts:
            by_length.setdefault(len(only_words(answer).split()), []).append((number, answer))
    by_length.pop(0, None)
    words = Grams.of_texts([question for question, _ in questions], 1)
    answers = [Grams.of_texts([answer for _, answer in each], length) for length, each in by_length.items()]
    (having, df), *answered = _documents_with(store, [words, *answers])
    idf = np.log((len(store) - df + 0.5) / (df + 0.5)).clip(0) * (df <= FREQUENT)
    bridges = []
    for number, (question, texts) in enumerate(questions):
        own = words.of[words.begins[number] : words.begins[number + 1]]
        weights, holds = idf[np.unique(own)] @ having[np.unique(own)], np.zeros(len(store), bool)
        for grams, each, (held, _) in zip(answers, by_length.values(), answered, strict=True):
            rows = [grams.of[grams.begins[i]] for i, (of, _) in enumerate(each) if of == number]
            holds |= held[rows].sum(0) > 0
        weights[holds] = 0
        best = np.argsort(-weights, kind="stable")[:SOURCES]
        value = {w: worth for w, worth in zip(only_words(question).split(), idf[own].tolist(), strict=True) if worth}
        links = ((s, graph.targets[graph.offsets[s] : graph.offsets[s + 1]]) for s in best[weights[best] > 0].tolist())
        edges = ((s, int(targets[holds[targets]].min())) for s, targets in links if holds[targets].any())
        near = [(snippet(store.document(s).text, value), s, target) for s, target in islice(edges, BRIDGES)]
        chosen = sorted(near, key=lambda each: -each[0][0])[:top]
        bridges.append([_bridge(store, part, source, target, value, texts) for part, source, target in chosen])
    return bridges


def _documents_with(store: Store, wanted: Sequence[Grams]) -> list[tuple[Any, np.ndarray]]:
    """Return for each collection which documents have its n-grams, (G, documents) sparse, and how many do, (G,).

    Of one that more than FREQUENT have, some documents only.
    """
    from scipy.sparse import csr_array

    found: list[list[np.ndarray]] = [[np.zeros((2, 0), np.int64)] for _ in wanted]
    df = [np.zeros(len(grams.hashes), np.int64) for grams in wanted]
    for hashed, starts, first in store_words(store):
        for grams, parts, counts in zip(wanted, found, df, strict=True):
            where, which = grams.find(hashed, starts)
            pairs = np.unique(np.stack([which, first + where]), axis=1)
            counts += np.bincount(pairs[0], minlength=len(counts))
            parts.append(pairs[:, counts[pairs[0]] <= FREQUENT])
    joined = [np.concatenate(parts, axis=1) for parts in found]
    return [
        (csr_array((np.ones(pairs.shape[1]), pairs), shape=(len(counts), len(store))), counts)
        for pairs, counts in zip(joined, df, strict=True)
    ]


def _bridge(
    store: Store, part: tuple[float, str], source: int, target: int, value: Mapping[str, float], answers: Sequence[str]
) -> dict[str, Any]:
    (score, text), end = part, store.document(target)
    held = f" {' '.join(only_words(end.text).split())} "
    spelled = ((each, only_words(each).split()) for each in answers)
    answer, own = next((each, own) for each, own in spelled if own and f" {' '.join(own)} " in held)
    words = sorted({*only_words(text).split()} & {*value}, key=lambda word: (-value[word], word))
    return {
        "score": score, "words": words, "answer": answer, "from": store.document(source).id, "from_text": text,
        "to": end.id, "to_text": snippet(end.text, dict.fromkeys(own, 1.0))[1],
    }  # fmt: skip


def snippet(text: str, value: Mapping[str, float], width: int = WIDTH) -> tuple[float, str]:
    """Find the part of a text, of about `width` characters, whose distinct words are worth the most, and their worth.

    >>> snippet("Nothing here. The river Leth is long. Nothing there.", {"leth": 2.0, "long": 1.0}, 20)
    (3.0, '… river Leth is long. …')
    """
    places = [(m.start(), m.end(), m[0]) for m in re.finditer(r"\S+", only_words(text)) if m[0] in value]
    best, start, stop = 0.0, 0, 0
    for i, (begin, end, _) in enumerate(places):
        inside = [place for place in places[i : i + width] if place[1] <= max(begin + width, end)]
        worth = sum(value[word] for word in dict.fromkeys(word for *_, word in inside))  # always in one order
        if worth > best:
            best, start, stop = worth, begin, inside[-1][1]
    room = max(0, width - (stop - start)) // 2
    start, stop = max(0, start - room), stop + room
    start = text.rfind(" ", 0, start + 1) + 1 if start else 0
    cut = " ".join(text[start:stop].rsplit(" ", 1)[0].split() if stop < len(text) else text[start:].split())
    return best, "… " * (start > 0) + cut + " …" * (stop < len(text))


def comparison_lines(found: Mapping[str, Any], top: int) -> Iterator[str]:
    """Lay a comparison out for reading: counts, the test, and the `top` examples that are farthest apart."""
    a, b = (f"{found[key]} ({count} runs)" for key, count in zip("ab", found["runs"], strict=True))
    near = found["metric"] in ("pearson", "spearman")  # an example's score is minus its distance from gold
    unit, digits = (1, 4) if near else (100, 2)
    mean_a, mean_b = (f"{unit * each:.{digits}f}" for each in found["means"])
    gap, low, high = (f"{unit * each:+.{digits}f}" for each in (found["difference"], *found["interval"]))
    title = f"{found['task']} {found['variation']}".strip()
    yield f"{title}, {found['split']}: {found['count']:,} examples; A: {a}, B: {b}"
    yield f"  mean {'of minus the distance from gold' if near else 'score of an example'}: A {mean_a}, B {mean_b}"
    yield f"  A - B: {gap} ({low} to {high}); p {found['p']:.3g} ({found['test']})"
    if not near:
        right = "right: both {both_right:,}, only A {only_a:,}, only B {only_b:,}, neither {neither:,}"
        yield f"  {right.format_map(found)}; other answers in {found['other_words']:,}"
    if found["left_out"]:
        yield f"  {found['left_out']:,} answers are left out: to examples that only one of the two has"
    if found["differences"]:
        yield f"  they differ in {'; '.join(found['differences'])}"
    for each in found["examples"][:top]:
        options = each["options"] or ()
        yield f"\n{each['id']}: {' '.join(each['input'].split())[:WIDTH]}"
        yield f"  gold: {_shown(each['gold'], options)}"
        for name, key, score in zip("AB", ("a", "b"), each["scores"], strict=True):
            yield f"  {name}, {unit * score:.{2 if near else 0}f}: {_shown(each[key], options)}"
        for bridge in each.get("bridges", ()):
            yield f"  {bridge['from']} -> {bridge['to']} ({', '.join(bridge['words'][:6])} -> {bridge['answer']})"
            yield f"    {bridge['from_text']}\n    -> {bridge['to_text']}"
        if not each.get("bridges", True):
            yield "  no two linked documents of the store join its words with the answer"


def _shown(value: Any, options: Sequence[str]) -> str:
    if options and isinstance(value, int):
        return f"{value} {options[value]}"[:WIDTH]
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words[:WIDTH] or "(nothing)"
