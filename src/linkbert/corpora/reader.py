"""What a reader is: an object that turns a source into Documents, and its options; its name goes to workers.

A function read(source, options) is one, or a Reader, which a plugin registers in the entry points linkbert.readers:

    Reader(read=read)                   one source, one worker
    Reader(read_file=read_file)         small files; this package walks folders and archives, and cuts them into shards
    Reader(plan=plan, read=read_shard)  large files, which `plan` cuts into shards: lazily, the same way every time
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import TypeAdapter, ValidationError

from linkbert import registry
from linkbert.config import nearest
from linkbert.files import Member, source_path, without_secrets
from linkbert.records import Document, Redirect

CUT, TABLE_CUT, PAGE_CUT = "source cut off or damaged", "links table: cut off or damaged", "page cut off"
DAMAGE = (CUT, TABLE_CUT, PAGE_CUT)  # causes that say that a source is not whole
DOCUMENTS = re.compile(r"\..+\.documents\.jsonl")  # the file in which build_store hands over Documents
EMPTY, NO_TEXT = "empty file", "no text in the file"
SEVERAL = "links that several pages are meant by (one taken)"
OTHER = "file of another kind: "  # and its suffix


@dataclass(frozen=True, slots=True)
class Deletion:
    """The document of this id is withdrawn, wherever it stood so far; one that comes in a later shard counts."""

    id: str


Record = Document | Redirect | Deletion


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a source that one worker reads; it pickles.

    `start` and `stop` are bytes of the file on disk (stop -1: its end): a build's progress counts them. `data` holds
    the part itself where only the planner can cut it out (a compressed stream). `faults` are what the planner found,
    each a cause and a place: CUT says that the source breaks off after the shard. One without a path has only faults.
    """

    path: str
    start: int = 0
    stop: int = -1
    data: bytes | None = None
    first_line: int = 0
    faults: tuple[tuple[str, str], ...] = ()
    others: Mapping[str, int] = dataclasses.field(default_factory=dict)  # causes of what is only counted
    known: Any = None  # what a reader's survey returned
    also: tuple[tuple[str, str], ...] = ()  # names of links in a tree, and of the files that they lead to
    extra: Any = None  # what a reader's plan hands to its read, such as the declarations at the head of a dump

    @property
    def source(self) -> Path:
        """The file of a shard that is a whole one."""
        return source_path(self.path) if self.data is None else cast(Path, Member(self.path, self.data))


def number_as_text(value: Any) -> str | None:
    """Return an id as text, a number without its ".0"; None for what is neither text nor a finite number.

    >>> number_as_text(102.0), number_as_text(7), number_as_text("007"), number_as_text(1.5), number_as_text(True)
    ('102', '7', '007', '1.5', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return str(int(value) if value == int(value) else value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


class FaultError(ValueError):
    """FaultError(cause, message): a file cannot be read; one among others is counted under its `cause`."""

    cause = property(lambda self: self.args[0])

    def __str__(self) -> str:
        return str(self.args[1])


class Skipped(Counter[str]):
    """Counts by cause what a reader skips or mends, and remembers where the first few stand."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: list[str] = []
        self.empty: list[str] = []  # what links call the pages that have no text

    def note(self, cause: str, where: str, *empty: str) -> None:
        """Count one; `where` is for the report, such as 'notes.jsonl line 17', `empty` what links call it."""
        self.empty += empty
        if self[cause] < 3:
            self.examples.append(without_secrets(f"{where:.1000}: {cause}").encode(errors="backslashreplace").decode())
        self[cause] += 1


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a reader that has none."""


def option(default: Any, help: str) -> Any:  # noqa: A002 - as argparse and typer call it
    """Declare an option of a reader: a field of its frozen dataclass, of type str, int or bool."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Reader:
    """A kind of source: how it is read, with which options, and how it is recognised.

    `read_file(name, data, options, skipped)` reads the bytes of one file, named by its path in the source; with
    `survey(files, options, unread)`, what that made of all files (name, data), and of the names of those that are not
    read (with the data of those called as in `settings`), comes in place of options. With `plan`, `plan(path, options)`
    yields Shards and `read(shard, options, skipped)` reads one; else `read(path, options)` reads a whole source. All of
    them yield Records. `options` is a frozen dataclass of `option` fields, whose __post_init__ may refuse values with a
    ValueError. `suffixes` are the ends of the names of its files, `marks` patterns of the heads of some, `inside` other
    suffixes that they may have, `head` how files begin that are its own where their names do not tell.
    `called(name)` lists what links call the file of this name, its id first: so a symbolic link is another name. With
    `sample`, a survey gets the data of so many files, evenly drawn, and None of the others. Files of more
    than `largest` bytes are left out. Of documents of one id the first counts, or the `latest`.
    """

    read: Callable[..., Iterator[Record]] | None = None
    plan: Callable[[Path, Any], Iterator[Shard]] | None = None
    read_file: Callable[[str, bytes, Any, Skipped], Iterator[Record]] | None = None
    survey: Callable[[Iterator[tuple[str, Any]], Any, dict[str, bytes]], Any] | None = None
    settings: tuple[str, ...] = ()
    sample: int = 0
    options: type = NoOptions
    called: Callable[[str], list[str]] | None = None
    suffixes: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    marks: tuple[bytes, ...] = ()
    head: bytes = b""
    largest: int = 64 << 20
    latest: bool = False

    def __post_init__(self) -> None:
        if (self.read is None) == (self.read_file is None) or (self.plan and self.read is None):
            raise TypeError("a Reader has either read_file, or read, or plan and read")


def load_reader(name: str) -> Reader:
    """Import a reader by its name or as "package.module:attribute"; ValueError where there is none."""
    found = registry.find("readers", name)
    if isinstance(found, Reader):
        return found
    if not callable(found):
        raise ValueError(f"{name} is neither a Reader nor a function read(source, options)")
    return Reader(read=found)


class ReaderOption(NamedTuple):
    """An option of a reader, as `linkbert build --help` shows it."""

    reader: str
    name: str
    type: type
    default: Any
    help: str


def list_options(readers: Iterable[str] | None = None) -> list[ReaderOption]:
    """List the options of some readers, or of all that are registered, in the order of their names."""
    return [
        ReaderOption(reader, field.name, type(field.default), field.default, field.metadata["help"])
        for reader in (sorted(registry.usable("readers")) if readers is None else readers)
        for field in dataclasses.fields(load_reader(reader).options)
    ]


def make_options(readers: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Make the options of each reader in use, {reader: options}, from those given, {name: value as text or as it is}.

    An option that none of these readers takes is a ValueError that names the readers that take it.
    """
    taken: dict[str, dict[str, Any]] = {reader: {} for reader in readers}
    for name, value in values.items():
        name, flag = name.replace("-", "_"), f"--{name.replace('_', '-')}"
        rows = [row for row in list_options(taken) if row.name == name]
        if not rows:
            known = list_options()
            if not (takers := " and ".join(row.reader for row in known if row.name == name)):
                near = list_options(taken) if ":" in "".join(taken) else known
                flags = dict.fromkeys(f"--{row.name.replace('_', '-')}" for row in near)
                raise ValueError(f"unknown option {flag}; {nearest(flag, flags)}")
            others = ", ".join(taken) or "this source"
            raise ValueError(f"{flag} is an option of {takers}, not of {others}: leave it out or name a --format")
        for row in rows:
            try:
                taken[row.reader][name] = TypeAdapter(row.type).validate_python(value)
            except ValidationError:
                raise ValueError(f"{flag} must be of type {row.type.__name__}, got {value!r}") from None
    return {reader: load_reader(reader).options(**own) for reader, own in taken.items()}
