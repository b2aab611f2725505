"""JSON lines in, Documents out: the format for a corpus of one's own.

    {"id": "a", "title": "A", "text": "See B.", "links": [{"start": 4, "end": 5, "target": "b"}, {"target": "c"}, "d"]}

One object a line. `id` and `text` are needed; `title` is the id where absent. A link is a target alone, or an object
with `target` and perhaps `start` and `end` (characters of `text`; without them it has no place) and `fragment`;
`"disambiguation": true` marks a page that lists meanings, `"sections": [{"name": "History", "start": 40}]` names places
that fragments lead to. A line {"redirect": "Old A", "target": "a"} is another name of a document. Ids and targets may
be numbers: 7 and 7.0 are "7". `--columns id=url,text=body` names the keys that hold them, where those have other names.
A broken line is skipped and counted with its number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any

from linkbert.config import nearest
from linkbert.corpora.reader import CUT, EMPTY, FaultError, Reader, Shard, Skipped, number_as_text, option
from linkbert.corpora.readers.streams import cut_stream, decode_utf8
from linkbert.records import Document, Link, Redirect

SHARD_BYTES = 4 << 20
KEYS = ("id", "text", "title", "links")


@dataclass(frozen=True, slots=True)
class Options:
    """Which keys or columns are what."""

    columns: str = option("", "which columns or keys are id, text, title and links, such as id=url,text=body")

    def __post_init__(self) -> None:
        parse_columns(self.columns)


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


def plan(path: Path, _: Options) -> Iterator[Shard]:
    """Cut a file into runs of whole lines of about SHARD_BYTES, decompressed."""
    line = 1
    for data, start, stop, fault in cut_stream(path, b"\n", SHARD_BYTES):
        if not data and line == 1:
            raise FaultError(CUT if fault else EMPTY, fault or f"{path} is empty: there is no document in it")
        if data or fault:
            yield Shard(str(path), start, stop, data, line, ((CUT, fault),) if fault else ())
        line += data.count(b"\n")


def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Document | Redirect]:
    """Read the Documents of a shard; `skipped` counts lines and links that are not as they should be."""
    name, columns = PurePosixPath(shard.path).name, parse_columns(options.columns)
    lines = (shard.data or b"").split(b"\n")
    last = shard.first_line + len(lines) - 1  # nothing, where the last line ends as it should
    for number, line in enumerate(lines, shard.first_line):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line or line.isspace():
            continue
        where = f"{name} line {number}"
        try:
            record = load_json(decode_utf8(line, skipped, where))
        except ValueError:
            skipped.note(CUT if number == last and not shard.faults else "not JSON", where)
            continue
        if isinstance(record, dict):
            record |= {key: record.get(column) for key, column in columns.items()}
            if "redirect" in record and "text" not in record:
                values: list[Any] = [record["redirect"], record.get("target"), record.get("fragment") or ""]
                if all(isinstance(value, str) for value in values) and all(values[:2]):
                    yield Redirect(*values)
                else:
                    skipped.note("redirect without a name or a target", where)
                continue
        if document := make_document(record, skipped, where):
            yield document


def load_json(text: str) -> Any:
    """Parse JSON into values that files can hold; ValueError where it is broken, or nested too deeply."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    return _without_surrogates(value) if "\\ud" in text or "\\uD" in text else value


def make_document(record: Any, skipped: Skipped, where: str) -> Document | None:
    """Make a Document of an object with `id`, `text`, `title` and `links`; None where it is not as it should be.

    Of its links one without a target is left out, one out of range kept without its place. All that is counted.
    """
    if fault := _fault(record):
        skipped.note(fault, where)
        return None
    id_, body, title = str(number_as_text(record["id"])), record["text"], number_as_text(record.get("title"))
    links = _links(record.get("links"), len(body), skipped, where)
    sections = tuple((each["name"], each["start"]) for each in record.get("sections") or ())
    return Document(id_, id_ if title is None else title, body, links, bool(record.get("disambiguation")), sections)


def _fault(record: Any) -> str:
    if not isinstance(record, dict):
        return "not an object"
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


def _links(values: Any, size: int, skipped: Skipped, where: str) -> tuple[Link, ...]:
    """Read links: a list of targets and of objects, or one written as JSON."""
    if isinstance(values, str) and values:
        with suppress(ValueError):
            values = load_json(values)
    if not isinstance(values, list):
        if values not in (None, "") and values == values:
            skipped.note("links are not a list (left out)", where)
        return ()
    links = []
    for value in values:
        link = value if isinstance(value, dict) else {"target": value}
        target = number_as_text(link.get("target"))
        if not target:
            skipped.note("link without target", where)
            continue
        start, end, fragment = link.get("start"), link.get("end"), link.get("fragment")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= size:
            if not (start is end is None or start == end == -1):
                skipped.note("link out of range (kept without its place)", where)
            start = end = -1
        if not isinstance(fragment, str | None):
            skipped.note("fragment is not a string (left out)", where)
            fragment = None
        links.append(Link(start, end, target, fragment or ""))
    return tuple(links)


def _without_surrogates(value: Any) -> Any:
    # JSON may escape half of a surrogate pair, which no file of text can hold; one character for one keeps offsets.
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_surrogates(item) for key, item in value.items()}
    return value


READER = Reader(plan=plan, read=read, options=Options, suffixes=(".jsonl", ".ndjson"), marks=(b"{",))
