"""The forms in which datasets are published: files -> examples.

A format is a function (sources, options, counts) -> examples. Sources are what a candidate of `files` in tasks.toml
names, open; options are the table's own: which column is what. So one reader serves every delimited file, and one every
JSON file; a dataset needs code only where its form is its own. What was odd is added to counts, by name; what cannot be
read is a ValueError with file and line.
"""

from __future__ import annotations

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

from linkbert.files import read_json
from linkbert.tasks.examples import ChoiceExample, Example, Label, TaggedExample, TextExample


@dataclass(slots=True)
class Source:
    """An open file: UTF-8 without a byte order mark, whose lines end at line feeds only."""

    name: str  # its path, and its place in an archive
    stream: IO[str]
    item: str = ""  # where the object stands that is being read, for what is said of one of another form


Format = Callable[[Sequence[Source], Mapping[str, Any], Counter[str]], Iterator[Example]]
Values = dict[str, Any]  # what an example is made of, by role: id, group, label; a, b or question, options
OPTIONAL = ("id", "group", "label")  # roles whose column may be missing
FORM = "is the file of this form?"
TAG = re.compile(r"O|[BIESLUM](-.+)?")
NUMBERS = ("labels", "number", "tag_names")  # options that say what the numbers of a column mean


def read_table(
    sources: Sequence[Source], options: Mapping[str, Any], counts: Counter[str], *, separator: str, quotes: bool
) -> Iterator[Example]:
    r"""Read delimited files, one after the other.

    `columns` gives a name of the header, or a number, for each role; without a `header`, numbers only. id, group and
    label may be missing (ids are row numbers then, labels are not known: GLUE's test files); a text may not. Without
    `quotes`, as in GLUE, a quotation mark is a letter like any other.

        sentence\tlabel\n"Fine\t1\n    ->    TextExample("0", '"Fine', label="1")
    """
    numbers, columns = itertools.count(), options["columns"]
    for source in sources:
        rows = read_rows(source, separator, quotes=quotes)
        if (first := next(rows, None)) is None:
            raise ValueError(f"{source.name} is empty: fetch it again")
        header = first[1] if options.get("header", True) else []
        cells = {}
        for role, column in columns.items():
            wanted = column if isinstance(column, list) else [column]
            if absent := [each for each in wanted if isinstance(each, str) and each not in header]:
                if role not in OPTIONAL:
                    raise ValueError(f"{source.name} has no column {absent[0]!r} but {', '.join(header)}: {FORM}")
                continue
            cells[role] = itemgetter(*(header.index(each) if isinstance(each, str) else each for each in wanted))
        for line, row in rows if header else itertools.chain([first], rows):
            where = f"{source.name}, line {line}"
            try:
                values = {role: cell(row) for role, cell in cells.items()}
            except IndexError:
                if not options.get("skip_broken") or "label" not in cells:  # a test set's rows are counted
                    raise ValueError(
                        f"{where} has {len(row)} columns, too few for {dict(columns)}: is it whole? {FORM}"
                    ) from None
                counts["broken lines, skipped"] += 1
                continue
            yield _example(values, options, where, next(numbers))


def read_rows(source: Source, separator: str, *, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a delimited file, each with the line at which it begins; empty lines are skipped."""
    if quotes:
        head = source.stream.readline()  # spreadsheets of many countries write semicolons
        source.stream.seek(0)
        separator = ";" if ";" in head and separator not in head else separator
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


def read_lines(sources: Sequence[Source], options: Mapping[str, Any], _counts: Counter[str]) -> Iterator[Example]:
    """Read files whose lines belong together: first texts, second texts, labels; `roles` says which is which."""
    missing = object()
    streams = (source.stream for source in sources)
    for number, texts in enumerate(itertools.zip_longest(*streams, fillvalue=missing)):
        if missing in texts:
            raise ValueError(f"{sources[texts.index(missing)].name} ends at line {number}, before the files next to it")
        values = dict(zip(options["roles"], (str(text).rstrip("\r\n") for text in texts), strict=True))
        yield _example(values, options, f"{sources[0].name}, line {number + 1}", number)


def read_records(
    sources: Sequence[Source], options: Mapping[str, Any], _counts: Counter[str], *, form: str
) -> Iterator[Example]:
    """Read a list of objects or an object of objects by id (`json`), an object a line (`jsonl`), or a `parquet` table.

    `columns` gives the key for each role; a list of texts is joined. `items` is the key of the list where a file holds
    several. A second file, where there is one, has the labels by id (PubMedQA's test set); `keep` leaves out the
    objects that have none there ("known"), or those that have one, which keep their own ("others"). A Parquet set may
    be of several files.
    """
    if options.get("keep") == "known":
        sources = sources[::-1]
    gold = _load(sources[1].stream.read()) if len(sources) > 1 and form == "json" else {}
    read = sources if form == "parquet" else sources[:1]
    for number, (where, key, record) in enumerate(itertools.chain(*(records(each, options, form) for each in read))):
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
        if gold and options.get("keep") != "others":
            values["label"] = gold.get(key)
        yield _example(values, options, where, number)


def records(source: Source, options: Mapping[str, Any], form: str) -> Iterator[tuple[str, str | None, Any]]:
    """Yield the objects of a file: where each stands, its key where the file is an object, and itself."""
    found: Iterable[tuple[str, str | None, Any]]
    if form in ("csv", "tsv"):
        rows = read_rows(source, "\t" if form == "tsv" else ",", quotes=form == "csv")
        head = next(rows, (1, []))[1]
        found = ((f"line {line}", None, dict(zip(head, row, strict=False))) for line, row in rows)
    elif form == "jsonl":
        found = ((f"line {number}", None, line) for number, line in enumerate(source.stream, 1) if line.strip())
    else:
        whole: Any = _parquet(source, options) if form == "parquet" else _load(source.stream.read())
        if form == "json" and "items" in options:
            whole = whole.get(options["items"], [])
        pairs = whole.items() if isinstance(whole, dict) else enumerate(whole)
        found = ((f"item {key}", key if isinstance(key, str) else None, record) for key, record in pairs)
    for place, key, record in found:
        source.item = f"{source.name}, {place}"
        yield source.item, key, _load(record) if form == "jsonl" else record
    source.item = ""


def _load(text: str) -> Any:
    """Load JSON; ValueError where it is nested too deep, or has half a surrogate pair, which no tokenizer takes."""
    try:
        found = json.loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return found


def form_of(source: Source) -> str:
    """Tell Parquet, CSV and TSV from their names, and JSON lines by their first two; SQuAD's one line is none."""
    if (end := source.name.rpartition(".")[2]) in ("parquet", "arrow", "csv", "tsv"):
        return "parquet" if end == "arrow" else end
    first, more = source.stream.readline(), source.stream.readline()
    source.stream.seek(0)
    return "jsonl" if first[:1] == "{" and more.strip()[:1] in ("{", "") and '"data"' not in first[:99] else "json"


def _parquet(source: Source, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read Parquet or a stream of Arrow; numbers of classes that the datasets library named are names.

    Not so where the options say what numbers mean.
    """
    from pyarrow import BufferReader, ipc, parquet

    buffer = BufferReader(cast(TextIOWrapper, source.stream).buffer.read())
    table = ipc.open_stream(buffer).read_all() if source.name.endswith(".arrow") else parquet.read_table(buffer)
    rows, columns = table.to_pylist(), options.get("columns", {})
    if "question" in columns or isinstance(columns.get("label"), list) or any(map(options.get, NUMBERS)):
        return rows
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


def read_triples(sources: Sequence[Source], options: Mapping[str, Any], _counts: Counter[str]) -> Iterator[Example]:
    """Read SciRepEval's triples as two pairs each: a paper with one that it cites ("1"), and with another ("0")."""
    for number, (_, _, row) in enumerate(itertools.chain(*(records(s, options, form_of(s)) for s in sources))):
        papers = [row[role] for role in ("query", "pos", "neg")]
        query, *others = (" ".join(filter(None, (each["title"], each.get("abstract")))) for each in papers)
        for label, other in zip("10", others, strict=True):
            yield TextExample(f"{number}-{label}", query, other, label, str(papers[0].get("corpus_id") or number))


def read_tags(sources: Sequence[Source], options: Mapping[str, Any], counts: Counter[str]) -> Iterator[Example]:
    r"""Read a word and its tag a line, a blank line after each sentence; a -DOCSTART- line begins a document.

    With `begin`, every I- becomes B-: each word is an entity of its own (EBM PICO). BIOES and BILUO become
    B and I.

        -DOCSTART- (7)\n\nLow\tI-INT\ndose\tO\n    ->    TaggedExample("0", ("Low", "dose"), ("B-INT", "O"), group="7")
    """
    group, number, words, tags = "", 0, list[str](), list[str]()
    for source in sources:
        for line, text in enumerate(itertools.chain(source.stream, [""]), 1):
            if text.strip() and not text.startswith("-DOCSTART-"):
                fields = text.rstrip("\r\n").split("\t") if "\t" in text else text.split()
                if options.get("unlabelled"):
                    words.append(fields[0].strip())
                    continue
                tag = fields[-1].strip()
                if len(fields) < 2 or not fields[0].strip() or not TAG.fullmatch(tag):
                    where = f"{source.name}, line {line}"
                    raise ValueError(f"{where}: {text.strip()!r} is not a word and a tag (O, B or I)")
                words.append(fields[0].strip())
                tags.append(_tag(tag, options, counts))
                continue
            if words:
                yield TaggedExample(str(number), tuple(words), tuple(tags) or None, group)
                number, words, tags = number + 1, [], []
            if text.strip():
                group = text.removeprefix("-DOCSTART-").strip(" ()\r\n\t")


def read_tag_rows(sources: Sequence[Source], options: Mapping[str, Any], counts: Counter[str]) -> Iterator[Example]:
    """Read sentences as JSON lines or Parquet: a list of words, and one of tags or of numbers of `tag_names`.

    `columns` gives the keys of words, tags and id. Parquet that the datasets library wrote has the names itself.
    """
    columns, number = options["columns"], 0
    for source in sources:
        for where, _, row in records(source, options, form_of(source)):
            if not isinstance(words := row.get(columns["words"]), list):
                raise ValueError(f"{where} has no list {columns['words']!r}: {FORM}")
            if (given := row.get(columns["tags"])) is not None and not options.get("unlabelled"):
                names = options.get("tag_names") or [str(each) for each in given]
                tags = [names[tag] if isinstance(tag, int) and tag < len(names) else str(tag) for tag in given]
                if wrong := [tag for tag in tags if not TAG.fullmatch(tag)]:
                    remedy = "options.tag_names lists the names of numbers" if wrong[0].isdecimal() else FORM
                    raise ValueError(f"{where}: {wrong[0]!r} is not a tag (O, B or I); {remedy}")
                given = tuple(_tag(tag, options, counts) for tag in tags)
            id_ = str(row.get(columns.get("id", "id"), number))
            yield TaggedExample(id_, tuple(map(str, words)), given)
            number += 1


def _tag(tag: str, options: Mapping[str, Any], counts: Counter[str]) -> str:
    """Turn a tag of BIOES or BILUO into one of BIO: one word (S, U) is B, a last or middle one (E, L, M) is I."""
    first = {"S": "B", "U": "B", "E": "I", "L": "I", "M": "I"}.get(tag[0])
    counts["tags of BIOES or BILUO, read as B and I"] += first is not None
    first = first or tag[0]
    return ("B" if options.get("begin") and first == "I" else first) + tag[1:]


def read_hoc(sources: Sequence[Source], options: Mapping[str, Any], counts: Counter[str]) -> Iterator[Example]:
    r"""Read HoC: a sentence a row, `0_0,1_1,...` as its labels; the rows of an abstract become one text, labels joined.

    0_0,1_1\tOne .\t7_s0\n0_1,1_0\tTwo .\t7_s1\n    ->    TextExample("7", "One . Two .", label=("0", "1"))
    """
    rows = read_table(sources, options, counts, separator="\t", quotes=False)
    for group, found in itertools.groupby(rows, key=lambda row: row.group):
        sentences = [row for row in found if isinstance(row, TextExample)]
        labels = [label for row in sentences if isinstance(row.label, str) for label in row.label.split(",")]
        if not all(re.fullmatch(r"\d+_[01]", label) for label in labels):
            raise ValueError(f"{sources[0].name}: {group} has labels that are not like 0_0,1_1: is it of this form?")
        held = tuple(sorted({label[:-2] for label in labels if label.endswith("_1")})) if labels else None
        yield TextExample(group, " ".join(row.a for row in sentences), label=held, group=group)


def _example(values: Values, options: Mapping[str, Any], where: str, number: int) -> Example:
    """Make an example of its values; `group` of the options finds the group in the id (or in a column of its own)."""
    id_ = str(number) if values.get("id") is None else str(values["id"]).strip()
    group = str(values.get("group") or (id_ if "group" in options else ""))
    if "group" in options and (found := re.match(options["group"], group)):
        group = found[0]
    label = values.get("label")
    if "question" in values:
        found = values["options"]
        texts = [str(each).strip() for each in (found.values() if isinstance(found, Mapping) else found)]
        texts = [re.sub(options.get("strip", "^$"), "", each) for each in texts]
        right = read_choice(label, texts, options, where)
        return ChoiceExample(id_, _text(values["question"]), tuple(texts), right, group)
    return TextExample(id_, _text(values["a"]), _text(values.get("b", "")), read_label(label, options, where), group)


def _text(value: Any) -> str:
    return " ".join(str(each).strip() for each in value) if isinstance(value, list | tuple) else str(value).strip()


def _labels(values: Sequence[Any], options: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Read several labels at once: names, or a 0 or 1 for each class, which has its name, its column's or its number.

    [0, 1, 0, 0, 1]    ->    ("1", "4")        ["b", "a"]    ->    ("a", "b")
    """
    column = options.get("columns", {}).get("label")
    names = column if isinstance(column, list) else options.get("classes") or [str(i) for i in range(len(values))]
    flags = [str(value).strip().removesuffix(".0").lower() for value in values]
    if len(values) > 1 and {"0", "1", "false", "true"}.issuperset(flags):
        if len(flags) != len(names):
            raise ValueError(f"{where} has {len(flags)} labels of 0 and 1 for {len(names)} classes")
        return tuple(sorted(name for name, flag in zip(names, flags, strict=True) if flag in ("1", "true")))
    if isinstance(column, list):
        raise ValueError(f"{where}: the labels {', '.join(flags)} are not 0 or 1, one for each of {', '.join(column)}")
    return tuple(sorted({str(each).strip() for each in values}))


def read_label(value: Any, options: Mapping[str, Any], where: str) -> Label:
    """Read a class, several or a number, as the options say."""
    if "separator" in options and isinstance(value, str):
        value = [each for each in value.split(options["separator"]) if each.strip()]
    if isinstance(value, list | tuple):
        return _labels(value, options, where)
    label = "" if value is None else str(value).strip()
    for pattern, name in options.get("labels", {}).items():  # "*false*" = "0"
        if fnmatchcase(label, pattern):
            label = name
            break
    if not label or not options.get("number"):
        return label or None
    with suppress(ValueError):
        if math.isfinite(number := float(label)):
            return number
    raise ValueError(f"{where}: the label {label!r} is not a number")


def read_choice(value: Any, texts: list[str], options: Mapping[str, Any], where: str) -> int | None:
    """Find the number of the right option, said by its letter, its number (from `first` on) or its text."""
    if value in (None, "", -1):  # -1 is Hugging Face's
        return None
    said = str(value).strip()
    if isinstance(value, int):
        number = value - options.get("first", 0)
    elif re.fullmatch("[A-Z]", said):
        number = ord(said) - ord("A")
    elif said.isdecimal() and said not in texts:
        number = int(said) - options.get("first", 0)
    else:
        number = texts.index(said) if said in texts else -1
    if not 0 <= number < len(texts):
        ways = f"a letter, a text or a number from {options.get('first', 0)}"
        raise ValueError(f"{where}: the answer {value!r} is none of its {len(texts)} options ({ways})")
    return number
