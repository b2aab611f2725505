"""The forms in which datasets are published: files -> examples.

A format is a function (sources, options, counts) -> examples. Sources are what a candidate of `files` in tasks.toml
names, open; options are the table's own: which column is what. So one reader serves every delimited file, and one every
JSON file; a dataset needs code only where its form is its own. What was odd is added to counts, by name; what cannot be
read is a ValueError with file and line.
"""

import csv
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import TextIOWrapper
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, cast

from linkbert.corpora.readers.parquet import RATIO, read_bounded
from linkbert.files import COMPRESSIONS, MANY, ROOMY, read_json, too_many
from linkbert.tasks.examples import ChoiceExample, Example, Label, QuestionExample, TaggedExample, TextExample


@dataclass(slots=True)
class Source:
    """An open file: UTF-8 without a byte order mark, whose lines end at line feeds only."""

    name: str  # its path, and its place in an archive
    stream: IO[str]
    item: str = ""  # where the object stands that is being read, for what is said of one of another form


Options = Mapping[str, Any]
Format = Callable[[Sequence[Source], Options, Counter[str]], Iterator[Example]]
Spans = tuple[tuple[int, int], ...]
Values = dict[str, Any]  # what an example is made of, by role: id, group, label; a, b or question, options
OPTIONAL = ("id", "group", "label")  # roles whose column may be missing
FORM = "is the file of this form?"
BREAK = "\n"  # between the paragraphs of a context that is put together
TAG = re.compile(r"O|[BIESLUMW](-.+)?")
FLAGS = {"0", "1", "false", "true"}  # of a class each
MISSING = ("nan", "na", "n/a", "null", "none", "<na>")  # what stands for no number
LONGEST = 64 << 20  # characters of a cell
HEADS = {"index", "id", "sentence", "sentence1", "sentence2", "text", "label", "labels", "score"}
TABLE = re.compile(r'\{"(columns": ?\[|schema": ?\{|[^"]*": ?\{"0":)')  # one line of JSON, as pandas writes
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")  # or a decimal comma: who knows
NUMBERS = ("labels", "number", "tag_names")  # options that say what the numbers of a column mean


def read_table(
    sources: Sequence[Source], options: Options, counts: Counter[str], *, separator: str
) -> Iterator[Example]:
    r"""Read delimited files, one after the other.

    `columns` gives a name of the header, or a number, for each role; without a `header`, numbers only. id, group and
    label may be missing (ids are row numbers then, labels are not known: GLUE's test files); a text may not. Where tabs
    separate, as in GLUE, a quotation mark is a letter like any other.

        sentence\tlabel\n"Fine\t1\n    ->    TextExample("0", '"Fine', label="1")
    """
    numbers, columns = itertools.count(), options["columns"]
    for source in sources:
        rows = read_rows(source, separator)
        first = next(rows, None)
        if first and not options.get("header", True) and HEADS.issuperset(cell.strip().lower() for cell in first[1]):
            counts["headers, not read"] += 1  # BLUE's ChemProt and DDI have one, and BioBERT's test sets
            first = next(rows, None)
        if first is None:
            raise ValueError(f"{source.name} is empty: fetch it again")
        renamed = options.get("renamed", {})
        header = [renamed.get(each, each) for each in first[1]] if options.get("header", True) else []
        cells = {}
        for role, column in columns.items():
            wanted = column if isinstance(column, list) else [column]
            if absent := [each for each in wanted if isinstance(each, str) and each not in header]:
                if role not in OPTIONAL:
                    raise ValueError(f"{source.name} has no column {absent[0]!r} but {', '.join(header)}: {FORM}")
                continue
            if twice := [each for each in wanted if header.count(each) > 1]:
                raise ValueError(f"{source.name} has the column {twice[0]!r} twice: rename one")
            cells[role] = itemgetter(*(header.index(each) if isinstance(each, str) else each for each in wanted))
        for line, row in rows if header else itertools.chain([first], rows):
            where = f"{source.name}, line {line}"
            try:
                row = none_over(header or row, row, where)
                values = {role: cell(row) for role, cell in cells.items()}
            except IndexError:
                if not options.get("skip_broken") or "label" not in cells:  # a test set's rows are counted
                    few = f"{where} has {len(row)} columns, too few for {dict(columns)}"
                    raise ValueError(f"{few}: is it whole? {FORM}") from None
                counts["broken lines, skipped"] += 1
                continue
            yield _example(values, options, where, next(numbers))


def read_rows(source: Source, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a delimited file, each with the line at which it begins; empty lines are skipped."""
    if separator == ",":
        csv.field_size_limit(LONGEST)
        head = source.stream.readline()  # spreadsheets of many countries write semicolons
        source.stream.seek(0)
        separator = next((each for each in ",;\t|" if each in head), separator)
        reader, begin = csv.reader(source.stream, delimiter=separator, strict=True), 1
        try:
            for row in reader:
                if row:
                    yield begin, row
                begin = reader.line_num + 1
        except csv.Error as error:  # a field that never ends, or text after its quotation mark
            raise ValueError(f"{source.name}, line {begin}: {error}: is a quotation mark missing?") from None
    else:
        for line, text in enumerate(source.stream, 1):
            if text := text.rstrip("\r\n"):
                yield line, text.split(separator)


def read_lines(sources: Sequence[Source], options: Options, _counts: Counter[str]) -> Iterator[Example]:
    """Read files whose lines belong together: first texts, second texts, labels; `roles` says which is which."""
    missing = object()
    streams = (source.stream for source in sources)
    for number, texts in enumerate(itertools.zip_longest(*streams, fillvalue=missing)):
        if missing in texts:
            raise ValueError(f"{sources[texts.index(missing)].name} ends at line {number}, before the files next to it")
        values = dict(zip(options["roles"], (str(text).rstrip("\r\n") for text in texts), strict=True))
        yield _example(values, options, f"{sources[0].name}, line {number + 1}", number)


def read_records(sources: Sequence[Source], options: Options, _counts: Counter[str], *, form: str) -> Iterator[Example]:
    """Read a list of objects or an object of objects by id (`json`), an object a line (`jsonl`), or a `parquet` table.

    `columns` gives the key for each role; a list of texts is joined. `items` is the key of the list where a file holds
    several. A second file, where there is one, has the labels by id (PubMedQA's test set); `keep` leaves out the
    objects that have none there ("known"), or those that have one, which keep their own ("others"). A set of another
    form than `json` may be of several files.
    """
    if options.get("keep") == "known":
        sources = sources[::-1]
    gold = _load(sources[1].stream.read()) if len(sources) > 1 and form == "json" else {}
    read = sources[:1] if form == "json" else sources
    for number, (where, key, record) in enumerate(records(read, options, form)):
        if "keep" in options and (key in gold) != (options["keep"] == "known"):
            continue
        values: Values = {"id": key}
        for role, column in options["columns"].items():
            wanted = column if isinstance(column, list) else [column]
            found = [record.get(each) for each in wanted]
            if role not in OPTIONAL:
                if absent := [each for each in wanted if each not in record]:
                    raise ValueError(f"{where} has no {absent[0]!r}: {FORM}")
                found = ["" if each is None else each for each in found]  # an empty text is counted
            values[role] = found if isinstance(column, list) else found[0]
        values["id"] = key if values["id"] is None else values["id"]
        if gold and options.get("keep") != "others":
            values["label"] = gold.get(key)
        yield _example(values, options, where, number)


def records(sources: Sequence[Source], options: Options, form: str = "") -> Iterator[tuple[str, str | None, Any]]:
    """Yield the objects of files: where each stands, its key where the file is an object, and itself."""
    for source in sources:
        found: Iterable[tuple[str, str | None, Any]]
        of = form or form_of(source)
        if of in ("csv", "tsv"):
            rows = read_rows(source, "\t" if of == "tsv" else ",")
            head = next(rows, (1, []))[1]
            whole_rows = ((at := f"line {line}", none_over(head, row, f"{source.name}, {at}")) for line, row in rows)
            found = ((at, None, dict(zip(head, row, strict=False))) for at, row in whole_rows)
        elif of == "jsonl":
            found = ((f"line {number}", None, line) for number, line in enumerate(source.stream, 1) if line.strip())
        else:
            whole: Any = _parquet(source, options) if of == "parquet" else _load(source.stream.read())
            if of == "json" and "items" in options and isinstance(whole, dict):
                whole = whole.get(options["items"], [])
            whole = by_row(whole) if of == "json" else whole
            pairs = whole.items() if isinstance(whole, dict) else enumerate(whole)
            found = ((f"item {key}", key if isinstance(key, str) else None, record) for key, record in pairs)
        for place, key, record in found:
            source.item = f"{source.name}, {place}"
            record = _load(record) if of == "jsonl" else record
            asked = record.get("question") if isinstance(record, dict) else None
            if isinstance(asked, dict) and {"stem", "choices"} <= asked.keys():  # ARC, OpenBookQA, CommonsenseQA
                choices = {key: [each[key] for each in asked["choices"]] for key in ("label", "text")}
                record |= {"question": asked["stem"], "choices": choices}
            yield source.item, key, record
        source.item = ""


def by_row(whole: Any) -> Any:
    """Return the rows of a table that is written by column, as pandas does, or below "data"; all else as it is.

    {"a": {"0": "x", "1": "y"}}, {"a": ["x", "y"]}, {"columns": ["a"], "data": [["x"], ["y"]]}, {"data": [{"a": "x"},
    {"a": "y"}]}    ->    [{"a": "x"}, {"a": "y"}]
    """
    if not isinstance(whole, dict):
        return whole
    rows, names, columns = whole.get("data"), whole.get("columns"), [*whole.values()]
    if isinstance(rows, list) and all(isinstance(row, dict) and "paragraphs" not in row for row in rows):
        return rows
    if isinstance(rows, list) and isinstance(names, list):
        return [dict(zip(names, row, strict=True)) for row in rows]
    if columns and all(isinstance(column, dict) for column in columns):
        if any([*column] != [str(number) for number in range(len(columns[0]))] for column in columns):
            return whole
        columns = [[*column.values()] for column in columns]
    elif not columns or not all(isinstance(column, list) for column in columns):
        return whole
    if len({*map(len, columns)}) > 1 or any(isinstance(value, dict) for column in columns for value in column):
        return whole
    return [dict(zip(whole, row, strict=True)) for row in zip(*columns, strict=True)]


def none_over(head: Sequence[str], row: list[str], where: str) -> list[str]:
    """Return a row; more cells than columns are a ValueError, lest what a comma cut off be lost."""
    if any(row[len(head) :]):
        raise ValueError(f"{where} has {len(row)} cells for {len(head)} columns: put a text with commas into quotes")
    return row


def _load(text: str) -> Any:
    """Load JSON; ValueError where it is nested too deep, or has half a surrogate pair, which no tokenizer takes."""
    if too_many(text, ROOMY):
        raise ValueError(f"it has more than {MANY:,} values, one in less than {ROOMY} characters: no dataset does")
    try:
        found = json.loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return found


def ending(name: str) -> str:
    """Return what a file's name says of its form: data.csv.gz -> csv."""
    name = name.lower()
    return name.removesuffix(next(filter(name.endswith, COMPRESSIONS), "")).rpartition(".")[2]


def form_of(source: Source) -> str:
    """Tell Parquet, CSV and TSV by their names, and JSON lines by their first two; a line of a whole table is none."""
    if (end := ending(source.name)) in ("parquet", "arrow", "csv", "tsv"):
        return "parquet" if end == "arrow" else end
    first = next((line for line in source.stream if line.strip()), "").lstrip()
    more = next((line for line in source.stream if line.strip()), "").lstrip()[:1]
    source.stream.seek(0)
    table = '"data"' in first[:99] or TABLE.match(first)
    return "jsonl" if first[:1] == "{" and (more == "{" or (not more and not table)) else "json"


def _parquet(source: Source, options: Options) -> list[dict[str, Any]]:
    """Read Parquet or a stream of Arrow; numbers of classes that the datasets library named are names."""
    data = bytes(cast(TextIOWrapper, source.stream).buffer.read())
    if (table := read_bounded(source.name, data, max(LONGEST, RATIO * len(data)))) is None:
        return []
    rows, columns = table.to_pylist(), options.get("columns", {})
    if "question" in columns or isinstance(columns.get("label"), list) or any(map(options.get, NUMBERS)):
        return rows  # the options say what numbers mean
    known = json.loads((table.schema.metadata or {}).get(b"huggingface", "{}")).get("info", {})
    if not known and (path := Path(source.name).with_name("dataset_info.json")).is_file():
        known = read_json(path)
    for column, feature in (known.get("features") or {}).items():
        of = feature[0] if isinstance(feature, list) else feature.get("feature", feature)  # of a list, or its own
        if of.get("_type") == "ClassLabel" and of.get("names"):
            names = dict(enumerate(of["names"])) | {-1: None}
            for row in rows:
                value = row[column]
                row[column] = [names.get(i, i) for i in value] if isinstance(value, list) else names.get(value, value)
    return rows


def read_triples(sources: Sequence[Source], options: Options, _counts: Counter[str]) -> Iterator[Example]:
    """Read SciRepEval's triples as two pairs each: a paper with one that it cites ("1"), and with another ("0")."""
    for number, (_, _, row) in enumerate(records(sources, options)):
        papers = [row[role] for role in ("query", "pos", "neg")]
        query, *others = (" ".join(filter(None, (each["title"], each.get("abstract")))) for each in papers)
        for label, other in zip("10", others, strict=True):
            yield TextExample(f"{number}-{label}", query, other, label, str(papers[0].get("corpus_id") or number))


def read_mrqa(sources: Sequence[Source], options: Options, counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read MRQA's lines: a header, then a context a line with its questions; [TLE], [DOC] and [PAR] stay in the text.

    `title` is the number of the line, from 0 without the header: what the authors' halves of dev number. Spans, whose
    end is the last character in the file, stand in the file's order: training takes the first, as the authors do.
    The hub's Parquet has a question a row, of all sets: those whose `subset` is like the option of that name are read.
    """
    for source in sources:
        rows = source.name.endswith(".parquet")
        found = _mrqa_lines(source, options) if rows else (item[2] for item in records([source], options, "jsonl"))
        for number, line in enumerate(item for item in found if "header" not in item):
            context = line["context"]
            for asked in line["qas"]:
                places = asked["detected_answers"]["char_spans"] if rows else asked["detected_answers"]
                ends = (zip(each["start"], each["end"], strict=True) if rows else each["char_spans"] for each in places)
                spans = [(a, b + 1) for each in ends for a, b in each]
                inside = tuple(span for span in spans if 0 <= span[0] < span[1] <= len(context))
                counts["spans outside of their context"] += len(spans) - len(inside)
                id_, answers = asked.get("qid") or asked["id"], tuple(asked["answers"])
                yield QuestionExample(id_, asked["question"].strip(), context, answers, inside, title=str(number))


def _mrqa_lines(source: Source, options: Options) -> Iterator[dict[str, Any]]:
    """Make lines of the hub's rows: those of one context, which lie together, are one."""
    wanted = options.get("subset", "*")
    rows = (row for _, _, row in records([source], options, "parquet") if fnmatchcase(row["subset"], wanted))
    for context, asked in itertools.groupby(rows, key=itemgetter("context")):
        yield {"context": context, "qas": list(asked)}


def read_squad(sources: Sequence[Source], options: Options, counts: Counter[str], form: str = "") -> Iterator[Example]:
    """Read SQuAD's JSON, 1.1 or 2.0, or a question a row, as the hub and the authors have it, or with texts alone."""
    for number, (where, _, row) in enumerate(records(sources, {"items": "data"} | dict(options), form)):
        for paragraph in row.get("paragraphs", [row]):
            if not isinstance(context := paragraph.get("context"), str):
                has = f"{context!r:.60}" if "context" in paragraph else f"only {', '.join(paragraph)}"
                raise ValueError(f"{where}: a question needs a 'context' that is one text, there is {has}: {FORM}")
            for asked in paragraph["qas"] if "paragraphs" in row else [{"id": number} | row]:
                title = row.get("title", where) if "paragraphs" in row else row.get("title") or context
                yield _placed(asked, context, title, options, counts)


def _placed(asked: Any, context: str, title: str, options: Options, counts: Counter[str]) -> QuestionExample:
    given = [] if options.get("unlabelled") else asked["answers"] if "answers" in asked else asked["answer"]
    if isinstance(given, Mapping) and isinstance(texts := given["text"], list):
        starts = given.get("answer_start") or [None] * len(texts)
        given = [{"answer_start": a, "text": b} for a, b in zip(starts, texts, strict=True)]
    listed = given if isinstance(given, list) else [given]
    said = [each if isinstance(each, Mapping) else {"text": each} for each in listed]
    places = [(str(each["text"]), each.get("answer_start")) for each in said if each["text"] is not None]
    places = [(text, at) for text, at in places if text.strip()]  # "" is none
    spans, loose = Spans(), []
    for text, at in places:
        if at is None or at < 0:
            loose.append(text)
        elif context.startswith(text, at):
            spans += ((at, at + len(text)),)
        else:
            found = re.finditer(re.escape(text.strip()), context)
            nearest = sorted((abs(each.start() - at), each.span()) for each in found)[:1]
            spans += tuple(span for _, span in nearest)
            counts["answers moved to where their text stands" if nearest else "spans that are not their answer"] += 1
    spans, answers = spans + find_answers(context, loose), tuple(text for text, _ in places)
    return QuestionExample(str(asked["id"]), asked["question"].strip(), context, answers, spans, title=title)


def read_oracle(sources: Sequence[Source], options: Options, _counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read questions with their one gold passage (nq-open-oracle), a line each; the place of an answer is searched."""
    for where, _, line in records(sources, options, "jsonl"):
        passage, answers, id_ = line["ctxs"][0], tuple(line["answers"]), where.rpartition(" ")[2]
        text, title = passage["text"], passage["title"]
        yield QuestionExample(id_, line["question"], text, answers, find_answers(text, answers), title=title)


def read_hotpot(sources: Sequence[Source], options: Options, _counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read HotpotQA: ten paragraphs, two of which support the answer; it may be yes or no, which stands nowhere.

    With the option `gold` those two alone.
    """
    for _, _, item in records(sources, options, "json"):
        gold = {title for title, _ in item["supporting_facts"]}
        pieces = [(f"{title}: {''.join(sentences)}", title in gold) for title, sentences in item["context"]]
        pieces = [each for each in pieces if each[1]] if options.get("gold") else pieces
        group = item.get("type") or _hops(len(gold))  # bridge or comparison
        yield _joined(item["_id"], item["question"], (item["answer"],), pieces, group)


def read_musique(sources: Sequence[Source], options: Options, _counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read MuSiQue, a list or lines: twenty paragraphs; the last step of a question names the one with the answer.

    With the option `gold` those that its steps name alone.
    """
    for _, _, item in records(sources, options):
        steps = item["question_decomposition"]
        named = [step["paragraph_support_idx"] for step in steps]
        read = [each for each in item["paragraphs"] if not options.get("gold") or each["idx"] in named]
        pieces = [(f"{each['title']}: {each['paragraph_text']}", each["idx"] == named[-1]) for each in read]
        answers = (item["answer"], *item.get("answer_aliases", ())) if item.get("answerable", True) else ()
        yield _joined(item["id"], item["question"], answers, pieces, _hops(len(steps)))


def read_subjqa(sources: Sequence[Source], _options: Options, counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read SubjQA's CSV: a question about a review, once an annotator; it has the answers that any of them found."""
    found: dict[str, list[dict[str, str]]] = {}
    for _, _, row in records(sources, {}, "csv"):
        found.setdefault(row["q_review_id"], []).append(row)
    for id_, rows in found.items():
        context = rows[0]["review"].removesuffix(" ANSWERNOTFOUND")
        texts = [row["human_ans_spans"] for row in rows if row["human_ans_spans"] != "ANSWERNOTFOUND"]
        counts["annotators disagree whether there is an answer"] += 0 < len(texts) < len(rows)
        places = [tuple(map(int, re.findall(r"\d+", row["human_ans_indices"]))) for row in rows]
        written = {re.sub(r"\W", "", text) for text in texts}  # as words, "ca n't"; the review's "can't" counts, too
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
    asked = [item for _, _, item in records(sources[:1], options, "json")]
    tables = {item["table_id"] for item in asked}
    lines = (line for _, _, line in records(sources[1:], options, "jsonl"))
    documents = {line["id"]: line for line in lines if line["id"] in tables or line["id"].startswith("/wiki/")}
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


def _hops(number: int) -> str:
    return f"{number} hop{'s' * (number != 1)}"


def read_tags(sources: Sequence[Source], options: Options, counts: Counter[str]) -> Iterator[Example]:
    r"""Read a word and its tag a line, a blank line after each sentence; a -DOCSTART- line begins a document.

    With `begin`, every I- becomes B-: each word is an entity of its own (EBM PICO). BIOES and BILUO become
    B and I. Before a sentence a line such as "# id = 1" is none of its words; where words are numbered, any "#".

        -DOCSTART- (7)\n\nLow\tI-INT\ndose\tO\n    ->    TaggedExample("0", ("Low", "dose"), ("B-INT", "O"), group="7")
    """
    group, number, words, tags, documents = "", 0, list[str](), list[str](), Counter[str]()
    for source in sources:
        numbered = is_numbered(source)
        for line, text in enumerate(itertools.chain(source.stream, [""]), 1):
            if text.strip() and not text.startswith("-DOCSTART-"):
                if not words and re.match("#" if numbered else r"# [^\t]*=[^\t]*$", text):
                    counts["lines of comment"] += 1
                    continue
                fields = _cells(text)[numbered:] or [""]
                tag = fields[-1].strip() if fields[1:] else ""
                if options.get("unlabelled"):
                    counts["cells besides the words, not read"] += len(fields) - 1 - bool(TAG.fullmatch(tag))
                    words.append(fields[0].strip())
                    continue
                if not fields[0].strip() or not TAG.fullmatch(tag):
                    where = f"{source.name}, line {line}"
                    raise ValueError(f"{where}: {text.strip()!r} is not a word and a tag (O, B or I)")
                words.append(fields[0].strip())
                tags.append(read_tag(tag, options, counts))
                continue
            if words:
                yield TaggedExample(str(number), tuple(words), tuple(tags) or None, group)
                number, words, tags = number + 1, [], []
            if text.strip():
                group = text.removeprefix("-DOCSTART-").strip(" ()\r\n\t")
                documents[group] += 1
                group += f"#{documents[group]}" * (not group or documents[group] > 1)  # CoNLL's are all "-X- O O"


def is_numbered(source: Source) -> bool:
    r"""Tell whether the first column of a file counts the words of each sentence, from 0 or from 1.

    1\tAnna\tB-PER\n2\tran\tO\n    ->    True
    """
    lines = (text for text in source.stream if not text.startswith("#"))
    rows = (_cells(text) if text.strip() and not text.startswith("-DOCSTART-") else [] for text in lines)
    first, found = "", False
    for sentence in ([*each] for words, each in itertools.groupby(rows, bool) if words):
        first = first or sentence[0][0]
        numbers = [str(number + (first == "1")) for number in range(len(sentence))]
        found |= any(row[2:] or not TAG.fullmatch(row[-1].strip()) for row in sentence)  # not a word 1 and its tag
        if [row[0] for row in sentence if row[1:]] != numbers:
            found = False
            break
    source.stream.seek(0)
    return found


def _cells(text: str) -> list[str]:
    return text.rstrip("\r\n").split("\t") if "\t" in text else re.findall(r"[^ \r\n]+", text)


def read_tag_rows(sources: Sequence[Source], options: Options, counts: Counter[str]) -> Iterator[Example]:
    """Read sentences as JSON lines or Parquet: a list of words, and one of tags or of numbers of `tag_names`."""
    columns = options["columns"]  # of words, tags and id; Parquet that the datasets library wrote has tag_names itself
    for number, (where, _, row) in enumerate(records(sources, options)):
        if not isinstance(words := row.get(columns["words"]), list):
            raise ValueError(f"{where} has no list {columns['words']!r}: {FORM}")
        if (given := None if options.get("unlabelled") else row.get(columns["tags"])) is not None:
            names = options.get("tag_names") or ()
            tags = [names[tag] if isinstance(tag, int) and 0 <= tag < len(names) else str(tag) for tag in given]
            if wrong := [tag for tag in tags if not TAG.fullmatch(tag)]:
                remedy = f"options.tag_names lists the names of numbers, from 0; it has {len(names)}"
                remedy = remedy if re.fullmatch(r"-?\d+", wrong[0]) else FORM
                raise ValueError(f"{where}: {wrong[0]!r} is not a tag (O, B or I); {remedy}")
            if len(tags) != len(words):
                raise ValueError(f"{where} has {len(words)} words and {len(tags)} tags: write a tag for each word")
            given = tuple(read_tag(tag, options, counts) for tag in tags)
        yield TaggedExample(str(row.get(columns.get("id", "id"), number)), tuple(map(str, words)), given)


def read_tag(tag: str, options: Options, counts: Counter[str]) -> str:
    """Turn a tag of BIOES or BILUO into one of BIO: one word (S, U) is B, a last or middle one (E, L, M) is I."""
    first = {"S": "B", "U": "B", "W": "B", "E": "I", "L": "I", "M": "I"}.get(tag[0])
    counts["tags of BIOES or BILUO, read as B and I"] += first is not None
    first = first or tag[0]
    return ("B" if options.get("begin") and first == "I" else first) + tag[1:]


def read_hoc(sources: Sequence[Source], options: Options, counts: Counter[str]) -> Iterator[Example]:
    r"""Read HoC: a sentence a row, with labels `0_0,1_1,...` or of `names`; the rows of an abstract are joined.

    0_0,1_1\tOne .\t7_s0\n0_1,1_0\tTwo .\t7_s1\n    ->    TextExample("7", "One . Two .", label=("0", "1"))
    """
    rows = read_table(sources, options, counts, separator="\t")
    number = {name: f"{i}_1" for i, name in enumerate(options.get("names", ()))}
    for group, found in itertools.groupby(rows, key=lambda row: row.group):
        sentences = [row for row in found if isinstance(row, TextExample)]
        labels = [number.get(each, each) for row in sentences for each in str(row.label or "").split(",") if each]
        if not all(re.fullmatch(r"\d+_[01]", label) for label in labels):
            raise ValueError(f"{sources[0].name}: {group} has labels that are not like 0_0,1_1 nor names: {FORM}")
        held = tuple(sorted({label[:-2] for label in labels if label.endswith("_1")})) if labels else None
        yield TextExample(group, " ".join(row.a for row in sentences), label=held, group=group)


def _example(values: Values, options: Options, where: str, number: int) -> Example:
    """Make an example of its values; `group` of the options finds the group in the id (or in a column of its own)."""
    id_ = str(number) if values.get("id") is None else str(values["id"]).strip()
    group = str(values.get("group") or (id_ if "group" in options else ""))
    if "group" in options and (found := re.match(options["group"], group)):
        group = found[0]
    label = values.get("label")
    if "question" in values:
        given = values["options"]
        if isinstance(given, Mapping):  # by name; ARC has a list of names and one of texts
            named = dict(zip(given["label"], given["text"], strict=True)) if {*given} == {"label", "text"} else given
            names, given = [*map(str, named)], named.values()
            label = names.index(str(label)) + options.get("first", 0) if str(label) in names else label
        texts = ["" if each is None else str(each).strip() for each in given]
        texts = [re.sub(options.get("strip", "^$"), "", each) for each in texts]
        right = read_choice(label, texts, options, where)
        while len(texts) > max((right or 0) + 1, 2) and not texts[-1]:  # a table's row of fewer options than columns
            texts.pop()
        return ChoiceExample(id_, _text(values["question"]), tuple(texts), right, group)
    return TextExample(id_, _text(values["a"]), _text(values.get("b", "")), read_label(label, options, where), group)


def _text(value: Any) -> str:
    return " ".join(str(each).strip() for each in value) if isinstance(value, list | tuple) else str(value).strip()


def _labels(values: Sequence[Any], options: Options, where: str) -> tuple[str, ...] | None:
    """Read several labels at once: names, or a 0 or 1 for each class, which has its name, its column's or its number.

    [0, 1, 0, 0, 1]    ->    ("1", "4")        ["b", "a"]    ->    ("a", "b")        ["b", None]    ->    None
    """
    if any(each is None or str(each).strip().casefold() in ("", MISSING[0]) for each in values):
        return None
    column = options.get("columns", {}).get("label")
    if strange := [each for each in values if isinstance(each, list | dict) or (isinstance(each, float) and each % 1)]:
        remedy = "write names, or a 0 or 1 for each class"
        raise ValueError(f"{where}: the label {strange[0]!r:.60} is neither a name nor a number of a class: {remedy}")
    names = column if isinstance(column, list) else options.get("classes") or [str(i) for i in range(len(values))]
    flags = [one_spelling(value) for value in values]
    if options.get("flags", len(values) > 1) and FLAGS.issuperset(flags):
        if len(flags) != len(names):
            raise ValueError(f"{where} has {len(flags)} labels of 0 and 1 for {len(names)} classes")
        return tuple(sorted(name for name, flag in zip(names, flags, strict=True) if flag in ("1", "true")))
    if isinstance(column, list):
        raise ValueError(f"{where}: the labels {', '.join(flags)} are not 0 or 1, one for each of {', '.join(column)}")
    return tuple(sorted({one_spelling(each) for each in values}))


def one_spelling(value: Any) -> str:
    """Spell what is one class alike: 1.0 as 1, True as true."""
    said = re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())
    return said.lower() if said.lower() in FLAGS else said


def read_label(value: Any, options: Options, where: str) -> Label:
    """Read a class, several or a number, as the options say."""
    if "separator" in options and isinstance(value, str):
        value = [each for each in value.split(options["separator"]) if each.strip()]
    if isinstance(value, Mapping):  # a 0 or 1 by class
        if not FLAGS.issuperset(one_spelling(each) for each in value.values() if each is not None):
            column = options.get("columns", {}).get("label")
            of = f"an object of {', '.join(map(str, value))}, not of a 0 or 1 for each class"
            raise ValueError(f"{where}: the label {column!r} is {of}: write the class as a column of its own")
        held = tuple(sorted(name for name, flag in value.items() if one_spelling(flag) in ("1", "true")))
        return None if None in value.values() else held
    if isinstance(value, list | tuple):
        return _labels(value, options, where)
    said = "" if value is None else str(value).strip()
    label = said if options.get("number") or said in options.get("classes", ()) else one_spelling(said)
    for pattern, name in options.get("labels", {}).items():  # "*false*" = "0"
        if fnmatchcase(said, pattern) or fnmatchcase(label, pattern):
            label = name
            break
    numbers = options.get("number") or options.get("whole")
    if not label or label.casefold() in MISSING[: len(MISSING) if numbers else 1]:
        return None
    found = as_number(label) if options.get("number") else label
    if found is None:
        raise ValueError(f"{where}: the label {label!r} is not a number")
    return found


def as_number(text: str) -> float | None:
    """Read a number, with a point or a comma before its decimals; one like 1,234 is none, as nobody knows which.

    "0,5", "1e-3", "inf", "1,234"    ->    0.5, 0.001, None, None
    """
    with suppress(ValueError):
        number = math.nan if THOUSANDS.fullmatch(text) else float(text.replace(",", "."))
        return number if math.isfinite(number) else None
    return None


def read_choice(value: Any, texts: list[str], options: Options, where: str) -> int | None:
    """Find the number of the right option, said by its letter, its number (from `first` on) or its text."""
    said = str(value).strip()
    unsaid = ("", MISSING[0], *(["-1"] * ("-1" not in texts)))  # -1 is Hugging Face's
    if value in (None, -1) or said.casefold() in unsaid:
        return None
    whole = re.fullmatch(r"(\d+)(\.0)?", said)  # pandas has 1.0 where a number is missing
    if whole and (not isinstance(value, str) or said not in texts or not options.get("by_text", True)):
        number = int(whole[1]) - options.get("first", 0)
    elif re.fullmatch("[A-Z]", said):
        number = ord(said) - ord("A")
    else:
        number = texts.index(said) if said in texts else -1
    if not 0 <= number < len(texts):
        ways = f"a letter, a text or a number from {options.get('first', 0)}"
        raise ValueError(f"{where}: the answer {value!r} is none of its {len(texts)} options ({ways})")
    return number
