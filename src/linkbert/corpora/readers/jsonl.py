"""JSON lines in, Documents out: the format for a corpus of one's own.

    {"id": "a", "title": "A", "text": "See B.", "links": [{"start": 4, "end": 5, "target": "b"}, {"target": "c"}, "d"]}

One object a line; `id` and `text` are needed. docs/formats.md has all keys. A broken line is skipped and counted.
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
DOCUMENTS = ".documents.jsonl"  # how the file ends in which build_store hands over Documents
ONE_EACH = " (one object a line, no array over several lines: `jq -c '.[]'` makes such lines)"
EDGE = {"source", "target", "link", "section"}  # the keys of an edge, as `linkbert export` writes it


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
        where = f"documents[{number - 1}]" if name.endswith(DOCUMENTS) else f"{name} line {number}"
        try:
            record = load_json(decode_utf8(line, skipped, where), skipped, where)
        except ValueError:
            cause = CUT if number == last and not shard.faults else "not JSON"
            skipped.note(cause, where + ONE_EACH * (number == 1))
            continue
        if isinstance(record, dict):
            record |= {key: record.get(column) for key, column in columns.items()}
            where += f" (id {record.get('id')!r:.80})" * name.endswith(DOCUMENTS)
        if made := make_record(record, skipped, where):
            yield made


def load_json(text: str, skipped: Skipped, where: str) -> Any:
    """Parse JSON into values that files can hold; ValueError where it is broken, or nested too deeply."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    whole = _without_surrogates(value) if "\\ud" in text or "\\uD" in text else value
    if whole != value:
        skipped.note("half of a surrogate pair (replaced)", where)
    return whole


def make_record(record: Any, skipped: Skipped, where: str) -> Document | Redirect | None:
    """Make a Document of an object with `id`, `text`, `title` and `links`; None where it is not as it should be.

    Of its links one without a target is left out, one out of range kept without its place. All that is counted.
    """
    keys = record.keys() if isinstance(record, dict) else set[str]()
    if keys >= EDGE and record.get("text") is None:
        skipped["edge of an export (left out)"] += 1
        return None
    if "redirect" in keys and "text" not in keys:
        values: list[Any] = [record["redirect"], record.get("target"), record.get("fragment") or ""]
        if all(isinstance(value, str) for value in values) and all(values[:2]):
            return Redirect(*values)
        skipped.note("redirect without a name or a target", where)
        return None
    if fault := _fault(record):
        if keys and not keys >= {"id", "text"}:
            where += f", with the keys {', '.join(keys):.200} (--columns id=KEY,text=KEY takes others)"
        skipped.note(fault, where + ONE_EACH * isinstance(record, list))
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
            values = load_json(values, skipped, where)
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
