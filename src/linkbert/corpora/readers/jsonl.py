"""JSON lines in, Documents out: the format for a corpus of one's own.

    {"id": "a", "title": "A", "text": "See B.", "links": [{"start": 4, "end": 5, "target": "b"}, {"target": "c"}, "d"]}

One object a line; `id` and `text` are needed. docs/formats.md has all keys. A broken line is skipped and counted.
"""

import ast
import codecs
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any

from linkbert.config import nearest
from linkbert.corpora.reader import CUT, DOCUMENTS, FaultError, Reader, Record, Shard, Skipped, number_as_text, option
from linkbert.corpora.readers import markup, wikipedia
from linkbert.corpora.readers.streams import (
    LARGEST_HELP,
    NO_OBJECT,
    OBJECTS,
    TOO_LARGE,
    check_largest,
    cut_stream,
    cut_values,
    decode_utf8,
    number_lines,
)
from linkbert.files import MANY, decompressed_blocks, too_many
from linkbert.records import Document, Link, Redirect

SHARD_BYTES = 4 << 20
KEYS = ("id", "text", "title", "links")
ONE_EACH = " (a file has one object a line, or is an array of objects; `jq -c .` makes lines of other forms)"
_SEMICOLON, _BAR = re.compile(r"(?<!CO);|\n"), re.compile(r"\|")  # not that of old DOIs, "(SICI)...3.0.CO;2-2"
_UNPARTED = re.compile(r"(['\"])\s+(?=['\"])")  # texts of an array, as pandas writes them
_COMMA, _ANY_COMMA, _NUMBERS = re.compile(r",(?!\s)"), re.compile(r"[,\s]+"), re.compile(r"[\d.]+(?:[,\s]+[\d.]+)+")
_NONE = re.compile(r"""('[^']*'|"[^"]*")|(?<=[\[,\s])(?:nan|NaN|null|NA|<NA>)(?=[\],\s])""")  # a text, or nothing
_SET = re.compile(r"(?:frozen)?set\((.*)\)", re.DOTALL)
_MARK = re.compile(r"\{\{(\w+):([^{}]*)\}\}")
OF_LISTS = "link that is a list (left out; --columns links=PATH.* takes what is in it)"
_OVER_LINES = re.compile(rb"\s*(?:\[|\{\s*\n)")  # how JSON begins that has no object a line
WRAPPED = 5  # keys at most of an object that is there for a list in it
LOOKED_AT = 100  # objects of a file that are looked at to see whether it has documents
NO_COLUMN = "file without the columns (left out)"
REDIRECT = ("redirect", "target", "fragment")  # the columns of other names of documents
EDGE = {"source", "target", "link", "section"}  # the keys of an edge, as `linkbert export` writes it


@dataclass(frozen=True, slots=True)
class Options:
    """Which keys or columns are what."""

    columns: str = option("", "which columns or keys are id, text, title and links: id=url,text=body,links=refs.*.id")
    markup: str = option("", f"what texts are written in, whose words and links are meant: {', '.join(markup.KINDS)}")

    def __post_init__(self) -> None:
        parse_columns(self.columns)
        if self.markup not in ("", *markup.KINDS):
            raise ValueError(f"--markup {self.markup} is not known: {nearest(self.markup, markup.KINDS)}")


@dataclass(frozen=True, slots=True)
class Lines(Options):
    """The options of JSON lines."""

    largest: int = option(0, LARGEST_HELP)

    def __post_init__(self) -> None:
        Options.__post_init__(self)
        check_largest(self)


def parse_columns(text: str) -> dict[str, str]:
    """Read what --columns says.

    >>> parse_columns("id=url, text=body")
    {'id': 'url', 'text': 'body'}
    """
    columns = {}
    for word in text.split(",") if text else ():
        key, _, name = (part.strip() for part in word.partition("="))
        if key not in KEYS:
            raise ValueError(f"--columns: unknown {key!r}; {nearest(key, KEYS)}")
        if not name:
            raise ValueError(f"--columns: {key} is which column? Say {key}=NAME, several with commas between them")
        columns[key] = name
    return columns


def choose_columns(names: Sequence[str], options: Options, file: str, own: Iterable[str] = ()) -> dict[str, str]:
    """Return {key: column, or a path in one} of a table; what is neither needed nor asked for may be missing."""
    wanted = parse_columns(options.columns)
    if {*names} == EDGE:
        raise FaultError("edges of an export (left out)", f"{file} has edges and no documents")
    if {*names} == {*REDIRECT}:
        return {name: name for name in REDIRECT}
    chosen = {key: wanted.get(key, key) for key in (*KEYS, *own)}
    for key, path in list(chosen.items()):
        if names.count(column_of(path, names)) != 1:
            if key in ("id", "text") or key in wanted:
                both = key == "id" and names.count(column_of(chosen["text"], names)) != 1
                needed = "id=NAME,text=NAME with two" if both else f"{key}=NAME with one"
                how = f"say --columns {needed} of its columns, {', '.join(names):.400}"
                how += "; a table of links is for --links" if {"source", "target"} <= {*names} else ""
                raise FaultError(NO_COLUMN, f"{file} has no column {path!r} to be the {key}: {how}")
            del chosen[key]
    return chosen


def column_of(path: str, names: Sequence[str]) -> str:
    """Return the column that a path starts in: "refs.*.id" -> "refs"; a column may have points in its name."""
    return path if path in names else path.partition(".")[0]


def plan(path: Path, options: Lines) -> Iterator[Shard]:
    """Cut a file into runs of whole lines of about SHARD_BYTES, decompressed; so an array, and objects over lines."""
    ours = DOCUMENTS.fullmatch(path.name)  # those were in memory already
    largest = sys.maxsize if ours else options.largest << 20
    head = b"" if ours else next(decompressed_blocks(path), (b"", 0))[0].removeprefix(codecs.BOM_UTF8)
    several = _OVER_LINES.match(head) or _is_run_on(head, path)
    shards = cut_values(path, SHARD_BYTES, largest) if several else cut_stream(path, b"\n", SHARD_BYTES, largest)
    for shard in shards:
        if ".json" in path.suffixes and shard.first_line == 1:  # which may be anything
            _check_keys(shard, parse_columns(options.columns))
        if shard.data or shard.faults:
            yield shard


def _is_run_on(head: bytes, path: Path) -> bool:
    """Return whether the first line of a .json file is no object, such as "{...},", and not just a long one."""
    line, more, _ = head.lstrip().partition(b"\n")
    try:
        return ".json" in path.suffixes and bool(more or len(head) < SHARD_BYTES >> 6) and not json.loads(line)
    except (ValueError, RecursionError):
        return True


def _check_keys(shard: Shard, columns: dict[str, str]) -> None:
    """Refuse a file of which no object among the first has an id and a text."""
    lines, first = [line for line in (shard.data or b"").split(b"\n") if line.strip()], None
    for line in lines[:LOOKED_AT]:
        with suppress(ValueError):
            record = load_json(line.decode(errors="replace"), Skipped(), "")
            if not isinstance(record, dict) or _is_own(select(record, columns) if columns else record):
                return
            first = record if first is None else first
    if first is not None:
        said = f"{shard.path} has no objects with {' and '.join(columns.get(key, key) for key in ('id', 'text'))}"
        way = _find_way(first, alone=len(lines) == 1)
        raise FaultError(NO_COLUMN, f"{said}, but {', '.join(first) or 'no key':.200}: {way}")


def _is_own(record: dict[str, Any]) -> bool:
    """Return whether an object is a document, or another that is read or counted as what it is."""
    other = wikipedia.find_form(record) or {"redirect", *EDGE} & {*record}
    return bool(other) or (record.get("id") is not None and record.get("text") is not None)


def _find_way(record: dict[str, Any], *, alone: bool) -> str:
    """Say how documents are read that stand deeper in an object, which may be `alone` in its file."""
    if len(record) > 1 and all(isinstance(value, dict) for value in record.values()):
        return "jq -c 'to_entries[] | .value + {id: .key}' makes lines of it"
    for key, value in record.items() if alone and len(record) <= WRAPPED else ():
        if isinstance(value, list) and isinstance(next(iter(value), 0), dict):
            return f"jq -c '.{key}[]' makes lines of its {key}"
    return "say --columns id=KEY,text=KEY"


@markup.telling
def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read the Documents of a shard; `skipped` counts lines and links that are not as they should be."""
    columns, name = parse_columns(options.columns), PurePosixPath(shard.path).name
    ours = DOCUMENTS.fullmatch(name)
    kind = "object" if (of_objects := shard.extra == OBJECTS) else "line"
    for number, line, last in number_lines(shard):
        where = f"documents[{number - 1}]" if ours else f"{name} {kind} {number}"
        try:
            record = load_json(decode_utf8(line, skipped, where), skipped, where)
        except ValueError as error:
            cause = getattr(error, "cause", CUT if last and not of_objects else "not JSON")
            skipped.note(cause, where + ONE_EACH * (number == 1 and not of_objects))
            continue
        if ours and isinstance(record, dict):
            where += f" (id {record.get('id')!r:.80})"
        if not columns and isinstance(record, dict) and (form := wikipedia.find_form(record)):
            yield from wikipedia.read_record(form, record, where, skipped)
        else:
            yield from make_records(record, skipped, where, columns, options.markup)


def load_json(text: str, skipped: Skipped, where: str) -> Any:
    """Parse JSON into values that files can hold; ValueError where it is broken, too large, or nested too deeply."""
    if too_many(text):
        raise FaultError(TOO_LARGE, f"JSON of more than {MANY:,} values")
    try:
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:  # it may escape half of a surrogate pair, which no file of text can hold
            written = json.dumps(value, ensure_ascii=False)
            whole = written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # one character for one
            if whole != written:
                skipped.note("half of a surrogate pair (replaced)", where)
                value = json.loads(whole)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    return value


def pick(value: Any, path: str) -> Any:
    """Return what stands at a path of an object: a key as it is, or keys with "." between them and "*" for every item.

    >>> pick({"refs": {"b0": {"id": 7}, "b1": {"id": [8]}}, "a.b": 1}, "refs.*.id"), pick({"a.b": 1}, "a.b")
    ([7, 8], 1)
    """
    if isinstance(value, str) and value[:1] in ("[", "{") and not too_many(value):  # JSON in JSON, as in S2ORC
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, dict) and path in value:
        return value[path]
    key, _, rest = path.partition(".")
    if key != "*" or not rest:
        inside = value if key == "*" else value.get(key) if isinstance(value, dict) else None
        return pick(inside, rest) if rest and inside is not None else inside
    found: list[Any] = []
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        each = pick(item, rest)
        several = isinstance(each, list) and ("*" in rest.split(".") or len(each) == 1)
        found += each if several else [each] if each not in (None, "", []) else []
    return found


def select(record: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
    """Return a record under our own keys, by --columns; a text in pieces or as an inverted index becomes one text.

    >>> select({"index": {"the": [0, 2], "cat": [1]}, "n": 1}, {"id": "n", "text": "index"})["text"]
    'the cat the'
    """
    record = record | {key: pick(record, path) for key, path in columns.items()}
    text = record.get("text") if "text" in columns else None
    if isinstance(text, dict) and text and all(isinstance(places, list) for places in text.values()):
        with suppress(TypeError):
            record["text"] = " ".join(word for _, word in sorted((at, word) for word in text for at in text[word]))
    elif isinstance(text, list) and text and all(isinstance(piece, str) for piece in text):
        record["text"] = "\n".join(text)
    elif isinstance(text, list) and all(isinstance(pick(piece, "text"), str) for piece in text):
        record |= _join(text, record, columns.get("links", ""))
    return record


def _join(paragraphs: list[Any], record: dict[str, Any], path: str) -> dict[str, Any]:
    """Join paragraphs of S2ORC's form; their `cite_spans` name entries of what `path` ("bib_entries.*.link") is in."""
    entries, _, rest = path.partition(".*.")
    known = found if isinstance(found := pick(record, entries), dict) and rest else {}
    text, links, placed = "", list[dict[str, Any]](), set[str]()
    for paragraph in paragraphs:
        body, spans = _read_marks(pick(paragraph, "text"), known, record)
        cited = spans or pick(paragraph, "cite_spans.*")
        for span in cited if isinstance(cited, list) else ():
            places: list[Any] = [pick(span, "start"), pick(span, "end")]
            target = pick(known.get(str(pick(span, "ref_id"))), rest)
            target = (
                target[0] if isinstance(target, list) and (len(target) == 1 or rest[-1] == "*") and target else target
            )
            if isinstance(target, str | int) and target:
                shown = body[slice(*places)] if all(type(at) is int for at in places) else ""
                right = shown and 0 <= places[0] < places[1] <= len(body) and pick(span, "text") in (None, shown)
                start, end = [len(text) + at for at in places] if right else ("?", "?")
                links.append({"start": start, "end": end, "target": target})
                placed.add(str(target))
        text += body + "\n"
    others = pick(record, path) if path else None
    others = [each for each in others if str(each) not in placed] if isinstance(others, list) else []
    return {"text": text.removesuffix("\n"), "links": links + others}


def _read_marks(body: str, known: dict[str, Any], record: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Write unarXive's marks as a paper shows them: "{{cite:ab}}" -> "[1]", a formula as LaTeX, figures as nothing."""
    spans, out, numbers = list[dict[str, Any]](), "", {name: number for number, name in enumerate(known, 1)}
    plain, *marks = _MARK.split(body)
    out += plain
    for kind, name, plain in zip(marks[::3], marks[1::3], marks[2::3], strict=True):
        shown = f"[{numbers[name]}]" if kind == "cite" and name in numbers else ""
        shown = str(pick(record, f"ref_entries.{name}.latex") or "") if kind == "formula" else shown
        spans += [{"start": len(out), "end": len(out) + len(shown), "ref_id": name}] if kind == "cite" and shown else []
        out += shown + plain
    return out, spans


def make_records(record: Any, skipped: Skipped, where: str, columns: dict[str, str], kind: str) -> Iterator[Record]:
    """Make a Document of an object, of the words and links of its text if that is written in a `kind` of markup."""
    made = make_record(record, skipped, where, columns)
    if isinstance(made, Document) and kind not in ("", "none"):
        yield from markup.read_marked(made, kind, record.get("url"), where, skipped)
    elif made:
        yield made


def make_record(
    record: Any, skipped: Skipped, where: str, columns: dict[str, str] | None = None
) -> Document | Redirect | None:
    """Make a Document of an object with `id`, `text`, `title` and `links`; None where it is not as it should be.

    Of its links one without a target is left out, one out of range kept without its place. All that is counted.
    """
    keys = record.keys() if isinstance(record, dict) else set[str]()
    record = select(record, columns) if columns and keys else record
    if keys and isinstance(record.get("title"), list):  # of several, as Crossref has them, the first
        record = record | {"title": next(iter(record["title"]), None)}
    if keys >= EDGE and record.get("text") is None:
        skipped["edge of an export (left out)"] += 1
        return None
    if "redirect" in keys and "text" not in keys:
        name, target, fragment = (
            number_as_text(record["redirect"]),
            number_as_text(record.get("target")),
            record.get("fragment"),
        )
        if name and target and isinstance(fragment, str | None):
            return Redirect(name, target, fragment or "")
        skipped.note("redirect without a name or a target", where)
        return None
    if fault := _fault(record):
        needed = {(columns or {}).get(key, key) for key in ("id", "text")}
        if keys and not keys >= {path if path in keys else path.partition(".")[0] for path in needed}:
            where += f", with the keys {', '.join(keys):.200} (--columns id=KEY,text=KEY takes others)"
        skipped.note(fault, where + ONE_EACH * isinstance(record, list))
        return None
    id_, body, title = str(number_as_text(record["id"])), record["text"], number_as_text(record.get("title"))
    links = _links(record.get("links"), len(body), skipped, where)
    sections = tuple((each["name"], each["start"]) for each in record.get("sections") or ())
    return Document(id_, id_ if title is None else title, body, links, bool(record.get("disambiguation")), sections)


def _fault(record: Any) -> str:
    if not isinstance(record, dict):
        return NO_OBJECT
    id_, text, sections = record.get("id"), record.get("text"), record.get("sections") or []
    faults = {
        "no id": id_ is None or id_ == "" or id_ != id_,  # what pandas writes for nothing is not equal to itself
        "no text": text is None,
        "id is not a string": number_as_text(id_) is None,
        "text is not a string": not isinstance(text, str),
        "title is not a string": not isinstance(record.get("title"), str | int | float | None),
        "disambiguation is not true or false": not isinstance(record.get("disambiguation"), bool | None),
        "sections are not a list of names and starts": not isinstance(sections, list)
        or not all(map(_is_section, sections)),
    }
    return next(compress(faults, faults.values()), "")


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and type(value.get("start")) is int


def _whole(value: Any) -> Any:
    """Return a place as int where pandas has made a float of it."""
    return int(value) if type(value) is float and value.is_integer() else value


def _links(values: Any, size: int, skipped: Skipped, where: str) -> tuple[Link, ...]:
    """Read links: a list of targets and of objects, or one in a cell."""
    if isinstance(values, str):
        values = _split(values.strip(), skipped, where)
    if (type(values) in (int, float) and values == values) or (isinstance(values, dict) and "target" in values):
        values = [values]
    if not isinstance(values, list):
        if values not in (None, "") and values == values:
            skipped.note("links are not a list (left out)", where)
        return ()
    links = []
    for value in values:
        link = value if isinstance(value, dict) else {"target": value}
        target = number_as_text(link.get("target"))
        if not target:
            skipped.note(OF_LISTS if isinstance(link.get("target"), list) else "link without target", where)
            continue
        start, end, fragment = *(_whole(link.get(key)) for key in ("start", "end")), link.get("fragment")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= size:
            if not (start is end is None or start == end == -1):
                skipped.note("link out of range (kept without its place)", where)
            start = end = -1
        if not isinstance(fragment, str | None):
            skipped.note("fragment is not a string (left out)", where)
            fragment = None
        links.append(Link(start, end, target, fragment or ""))
    return tuple(links)


def _split(cell: str, skipped: Skipped, where: str) -> Any:
    """Split a cell: JSON, or a list, tuple or set as Python writes it, or targets with ";", "|" or "," between them.

    A comma that a space follows may be part of a name ("Paris, Texas"), but not between ids and addresses.

    >>> _split("b; c", Skipped(), ""), _split("['b', 'c']", Skipped(), ""), _split("Paris, Texas|d", Skipped(), "")
    (['b', 'c'], ['b', 'c'], ['Paris, Texas', 'd'])
    >>> _split("['b' 'c']", Skipped(), ""), _split("[1 2]", Skipped(), "")  # as pandas writes arrays
    (['b', 'c'], ['1', '2'])
    """
    cell = found[1] if (found := _SET.fullmatch(cell)) else cell
    if cell.lower() in ("", "()", "null", "none", "nan"):
        return []
    if max(map(cell.count, ",;|")) > MANY:
        skipped.note("links too many (left out)", where)
        return []
    if cell[:1] in ("[", "{"):
        with suppress(ValueError):
            values = load_json(cell, skipped, where)
            return values if isinstance(values, list) else [values]
    if cell[:1] + cell[-1:] in ("[]", "{}") or (cell[:1] + cell[-1:] == "()" and "," in cell):
        if _NUMBERS.fullmatch(inner := cell[1:-1].strip()):
            return [part.rstrip(".") for part in _ANY_COMMA.split(inner)]
        parted = "[" + _UNPARTED.sub(r"\1, ", inner) + "]"  # a set in its order
        for text in (parted, _NONE.sub(lambda found: found[1] or "None", parted)):
            with suppress(TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
                return [value for value in ast.literal_eval(text) if value is not None]
    if cell[:1] in ("[", "{"):
        return cell
    between = next((each for each in (_SEMICOLON, _BAR) if each.search(cell)), _COMMA)
    parts = [part for part in cell.split(",") if part.strip()] if between is _COMMA else []
    between = _ANY_COMMA if _NUMBERS.fullmatch(cell) or (parts and all(map(_is_id, parts))) else between
    return [part.strip() for part in between.split(cell) if part.strip()]


def _is_id(text: str) -> bool:
    """Judge whether this is an id or an address, and no name: "W2", not "Texas" nor "Apollo 11"."""
    return len(text.split()) == 1 and (any(map(str.isdigit, text)) or "://" in text)


READER = Reader(
    plan=plan,
    read=read,
    options=Lines,
    suffixes=(".jsonl", ".ndjson"),
    inside=(*wikipedia.FILES, ".json"),
    marks=(rb"\A(?:\[\s*,?\s*)?\{",),
)
