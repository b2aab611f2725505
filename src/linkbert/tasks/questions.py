"""Forms in which questions with a context are published: files -> QuestionExamples. And contexts with distractors.

As in formats.py, a format is a function (sources, options, counts) -> examples. `title` is what a question must not be
parted from when a set is divided: its article, its table, or its context.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from linkbert.files import read_json
from linkbert.tasks.examples import QuestionExample
from linkbert.tasks.formats import Source, form_of, records

BREAK = "\n"  # between the paragraphs of a context that is put together
Spans = tuple[tuple[int, int], ...]
Options = Mapping[str, Any]


def read_mrqa(sources: Sequence[Source], options: Options, counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read MRQA's lines: a header, then a context a line with its questions; [TLE], [DOC] and [PAR] stay in the text.

    `title` is the number of the line, from 0 without the header: what the authors' halves of dev number. Spans, whose
    end is the last character in the file, stand in the file's order: training takes the first, as the authors do.
    The hub's Parquet has a question a row, of all sets: those whose `subset` is like the option of that name are read.
    """
    for source in sources:
        rows = source.name.endswith(".parquet")
        found = _mrqa_lines(source, options) if rows else (item[2] for item in records(source, options, "jsonl"))
        for number, line in enumerate(item for item in found if "header" not in item):
            context = line["context"]
            for asked in line["qas"]:
                spans = [(a, b + 1) for each in asked["detected_answers"] for a, b in each["char_spans"]]
                inside = tuple(span for span in spans if 0 <= span[0] < span[1] <= len(context))
                counts["spans outside of their context"] += len(spans) - len(inside)
                id_, answers = asked.get("qid") or asked["id"], tuple(asked["answers"])
                yield QuestionExample(id_, asked["question"].strip(), context, answers, inside, title=str(number))


def _mrqa_lines(source: Source, options: Options) -> Iterator[dict[str, Any]]:
    """Make lines of the hub's rows: those of one context, which lie together, are one."""
    wanted = options.get("subset", "*")
    rows = (row for _, _, row in records(source, options, "parquet") if fnmatchcase(row["subset"], wanted))
    for context, asked in groupby(rows, key=itemgetter("context")):
        lines = []
        for row in asked:
            spans = row["detected_answers"]["char_spans"]
            places = [{"char_spans": list(zip(each["start"], each["end"], strict=True))} for each in spans]
            lines.append({**row, "detected_answers": places})
        yield {"context": context, "qas": lines}


def read_squad(sources: Sequence[Source], options: Options, counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read SQuAD's JSON, 1.1 or 2.0: articles, their paragraphs, questions and the places of answers."""
    for source in sources:
        for where, _, article in records(source, {"items": "data"} | dict(options), "json"):
            for paragraph in article["paragraphs"]:
                context = paragraph["context"]
                for asked in paragraph["qas"]:
                    answers = [] if options.get("unlabelled") else asked["answers"]
                    places = [(each["answer_start"], each["text"]) for each in answers]
                    yield _placed(asked, context, places, article.get("title", where), counts)


def read_squad_rows(sources: Sequence[Source], options: Options, counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read SQuAD as the hub's Parquet or the authors' JSON lines have it: a question a row, two lists of answers."""
    for source in sources:
        for number, (_, _, row) in enumerate(records(source, options, form_of(source))):
            answers = {"answer_start": (), "text": ()} if options.get("unlabelled") else row["answers"]
            places = list(zip(answers["answer_start"], answers["text"], strict=True))
            yield _placed({"id": number} | row, row["context"], places, row.get("title") or row["context"], counts)


def _placed(
    asked: Mapping[str, Any], context: str, places: Sequence[tuple[int, str]], title: str, counts: Counter[str]
) -> QuestionExample:
    spans = tuple((at, at + len(text)) for at, text in places if text and context.startswith(text, at))
    counts["spans that are not their answer"] += len(places) - len(spans)
    answers = tuple(text for _, text in places)
    return QuestionExample(str(asked["id"]), asked["question"].strip(), context, answers, spans, title=title)


def read_oracle(sources: Sequence[Source], options: Options, _counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read questions with their one gold passage (nq-open-oracle), a line each; the place of an answer is searched."""
    for where, _, line in records(sources[0], options, "jsonl"):
        passage, answers, id_ = line["ctxs"][0], tuple(line["answers"]), where.rpartition(" ")[2]
        text, title = passage["text"], passage["title"]
        yield QuestionExample(id_, line["question"], text, answers, find_answers(text, answers), title=title)


def read_hotpot(sources: Sequence[Source], options: Options, _counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read HotpotQA: ten paragraphs, two of which support the answer; it may be yes or no, which stands nowhere.

    The group is the question's type, bridge or comparison, where the file has it.
    """
    for source in sources:
        for _, _, item in records(source, options, "json"):
            gold = {title for title, _ in item["supporting_facts"]}
            pieces = [(f"{title}: {''.join(sentences)}", title in gold) for title, sentences in item["context"]]
            group = item.get("type") or _hops(len(gold))
            yield _joined(item["_id"], item["question"], (item["answer"],), pieces, group)


def read_musique(sources: Sequence[Source], options: Options, _counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read MuSiQue, a list or lines: twenty paragraphs; the last step of a question names the one with the answer."""
    for _, _, item in records(sources[0], options, form_of(sources[0])):
        steps = item["question_decomposition"]
        last = steps[-1]["paragraph_support_idx"]
        pieces = [(f"{each['title']}: {each['paragraph_text']}", each["idx"] == last) for each in item["paragraphs"]]
        answers = (item["answer"], *item.get("answer_aliases", ())) if item.get("answerable", True) else ()
        yield _joined(item["id"], item["question"], answers, pieces, _hops(len(steps)))


def read_subjqa(sources: Sequence[Source], _options: Options, counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read SubjQA's CSV: a question about a review, once an annotator; it has the answers that any of them found.

    An answer is written as words there ("ca n't"); as it stands in the review ("can't") it counts, too.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for source in sources:
        for _, _, row in records(source, {}, "csv"):
            found.setdefault(row["q_review_id"], []).append(row)
    for id_, rows in found.items():
        context = rows[0]["review"].removesuffix(" ANSWERNOTFOUND")
        texts = [row["human_ans_spans"] for row in rows if row["human_ans_spans"] != "ANSWERNOTFOUND"]
        counts["annotators disagree whether there is an answer"] += 0 < len(texts) < len(rows)
        places = [tuple(map(int, re.findall(r"\d+", row["human_ans_indices"]))) for row in rows]
        written = {re.sub(r"\W", "", text) for text in texts}  # they are written as words: "ca n't"
        exact = tuple((a, b) for a, b in places if re.sub(r"\W", "", context[a:b]) in written)
        answers, group = tuple(dict.fromkeys([*(context[a:b] for a, b in exact), *texts])), rows[0]["domain"]
        spans = exact or find_answers(context, answers)
        yield QuestionExample(id_, rows[0]["question"], context, answers, spans, group, rows[0]["item_id"])


def read_traced(sources: Sequence[Source], options: Options, counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read OTT-QA's and HybridQA's traced questions (JSON), and the tables and passages they are about (Documents).

    The context is every row that the trace names, each followed by the passages it links to, whether the answer stands
    there or not; spans are searched where the trace says only. A passage of the trace that its row does not link to
    stands at the end. Left out and counted: a question whose table is not among the documents, or that has no trace.
    """
    asked = [item for _, _, item in records(sources[0], options, "json")]
    tables = {item["table_id"] for item in asked}
    documents = {
        line["id"]: line
        for _, _, line in records(sources[1], options, "jsonl")
        if line["id"] in tables or line["id"].startswith("/wiki/")
    }
    for item in asked:
        table, nodes = documents.get(item["table_id"]), item["answer-node"]
        if table is None or not nodes:
            counts["without a trace" if table else "tables that are not there"] += 1
            continue
        rows = _rows(table)
        cells = {row[0] for _, row, _, kind in nodes if kind == "table"}
        traced = {target for _, _, target, kind in nodes if kind == "passage"}
        pieces: dict[str, bool] = {}
        for number in sorted({row[0] for _, row, _, _ in nodes}):
            text, links = rows[number] if number < len(rows) else ("", [])
            pieces[text] = number in cells
            pieces |= {documents[link]["text"]: link in traced for link in links if link in documents}
        pieces |= {documents[link]["text"]: True for link in sorted(traced) if link in documents}
        group = "answer in a passage" if traced else "answer in the table"
        whole = [(text, holds) for text, holds in pieces.items() if text]
        yield _joined(item["question_id"], item["question"], (item["answer-text"],), whole, group, item["table_id"])


def _rows(table: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """List a table's rows, the lines "head : cell ; head : cell" behind its lead, with the targets of their links."""
    rows, begin, lines = list[tuple[str, list[str]]](), 0, table["text"].split("\n")
    head = lines[-1].partition(" : ")[0]
    for line in lines:
        end = begin + len(line)
        if rows or line.startswith(head + " : "):
            rows.append((line, [link["target"] for link in table["links"] if begin <= link.get("start", -1) < end]))
        begin = end + 1
    return rows


def _joined(
    id_: str, question: str, answers: tuple[str, ...], pieces: Iterable[tuple[str, bool]], group: str, title: str = ""
) -> QuestionExample:
    """Join pieces of text to a context; answers are searched in those that are said to hold one."""
    context, spans = "", Spans()
    for text, holds in pieces:
        begin = len(context) + len(BREAK) if context else 0
        context = f"{context}{BREAK}{text}" if context else text
        if holds:
            spans += tuple((begin + first, begin + last) for first, last in find_answers(text, answers))
    return QuestionExample(id_, question, context, answers, spans, group, title)


def find_answers(context: str, answers: Sequence[str]) -> Spans:
    """Find the places where an answer stands as whole words, as written; failing that, whatever the case.

    find_answers("Romans in Rome; rome", ["Rome"]) -> ((10, 14),)
    """
    pattern = "|".join(rf"(?<!\w){re.escape(each.strip())}(?!\w)" for each in answers if each.strip())
    for flags in (re.NOFLAG, re.IGNORECASE) if pattern else ():
        if spans := tuple(match.span() for match in re.finditer(pattern, context, flags)):
            return spans
    return ()


def distracted(examples: Sequence[QuestionExample], least: int, most: int, *, seed: int = 0) -> list[QuestionExample]:
    r"""Put contexts of other documents before or after each context: `least` to `most` of them.

    How many, which of the other contexts (whose title must be another one) and which side follow from the seed
    and the question's id. Spans move with their context.

        "Rome fell .", span (0, 4), and "A cat ."    ->    "A cat .\nRome fell .", (8, 12), or "Rome fell .\nA cat ."
    """
    contexts = list(dict.fromkeys((each.title or each.id, each.context) for each in examples))
    titles = Counter(title for title, _ in contexts)
    made = []
    for example in examples:
        title = example.title or example.id
        if (left := len(contexts) - titles[title]) < most:
            there = f"its split has {left} contexts besides the document of question {example.id}"
            raise ValueError(f"distract={least}..{most}: {there}; ask for no more")
        drawn = _numbers(f"{seed} {example.id}")
        wanted, chosen = least + next(drawn) % (most - least + 1), dict[int, None]()
        before = next(drawn) % 2
        while len(chosen) < wanted:
            number = next(drawn) % len(contexts)
            if contexts[number][0] != title:
                chosen[number] = None
        added = BREAK.join(contexts[number][1] for number in chosen)
        context = BREAK.join([added, example.context] if before else [example.context, added])
        shift = (len(added) + len(BREAK)) * before
        spans = tuple((first + shift, last + shift) for first, last in example.spans)
        made.append(dataclasses.replace(example, context=context, spans=spans))
    return made


def halve(examples: Sequence[QuestionExample], path: Path) -> dict[str, list[QuestionExample]]:
    """Part an MRQA dev set as a file says: {"dev": [0, 3], "test": [1, 2]}, numbers of its lines (the contexts)."""
    halves = read_json(path)
    if not isinstance(halves, dict) or not all(isinstance(halves.get(split), list) for split in ("dev", "test")):
        raise ValueError(f'dev_split={path} is not of the form {{"dev": [0, 3], "test": [1, 2]}}')
    half = {str(number): split for split in ("dev", "test") for number in halves[split]}
    missing = {each.title for each in examples} ^ half.keys()
    if missing or len(half) < len(halves["dev"]) + len(halves["test"]):
        both = f"of its {len(half)} contexts and the dev set's {len(missing)} are not in both, or one is there twice"
        raise ValueError(f"dev_split={path}: {both}: is it of this dataset?")
    return {split: [each for each in examples if half[each.title] == split] for split in ("dev", "test")}


def _numbers(key: str) -> Iterator[int]:
    """Draw numbers below 2**64 from a key, the same on every machine."""
    block = key.encode()
    while True:
        block = hashlib.sha256(block).digest()
        yield from (int.from_bytes(block[i : i + 8], "big") for i in range(0, 24, 8))


def _hops(number: int) -> str:
    return f"{number} hop{'s' * (number != 1)}"
