"""What a reader is: one function that cuts a source into shards, one that turns a shard into Documents.

A source comes in, Documents and Redirects go out. Cutting happens in one process, lazily and the same way every time;
reading happens in any process. That is all a build needs to restart and to spread over machines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkbert.records import Document, Redirect

CUT, TABLE_CUT, PAGE_CUT = "source cut off or damaged", "links table: cut off or damaged", "page cut off"
DAMAGE = (CUT, TABLE_CUT, PAGE_CUT)  # causes that say that a source is not whole


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may ask of a reader."""

    table_cells: bool = False  # keep the cells of tables as text (mediawiki, markdown, html, zim)
    before: tuple[int, int] | None = None  # only what was published before this year and month (pubmed)
    min_words: int = 0  # only abstracts of so many words or more (pubmed)
    comments: bool = False  # comments, errata and the like are links too (pubmed)
    body: str = ""  # CSS selector of the main text (html, zim)
    drop: str = ""  # CSS selector of what is left out of it (html, zim)
    columns: str = ""  # which column is what, such as "id=url,text=body" (parquet)


@dataclass(frozen=True, slots=True)
class Deletion:
    """The document of this id is withdrawn, wherever it stood so far; one that comes in a later shard counts."""

    id: str


Record = Document | Redirect | Deletion


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a source that one worker reads; it pickles.

    `start` and `stop` are bytes of the file on disk (stop -1: its end): a build's progress counts them. `data` holds
    the part itself where only the planner can cut it out (a compressed stream). `faults` are what the planner found
    amiss, each a cause and a place, counted with the shard: CUT says that the source breaks off after it.
    """

    path: str
    start: int = 0
    stop: int = -1
    data: bytes | None = None
    first_line: int = 0
    faults: tuple[tuple[str, str], ...] = ()
    extra: Any = None  # what a reader's plan hands to its read, such as the declarations at the head of a dump


class Skipped(Counter[str]):
    """Counts by cause what a reader skips or mends, and remembers where the first few stand."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: list[str] = []

    def note(self, cause: str, where: str) -> None:
        """Count one; `where` is for the report, such as 'notes.jsonl line 17'."""
        if self[cause] < 3:
            self.examples.append(f"{where}: {cause}")
        self[cause] += 1


@dataclass(frozen=True, slots=True)
class Reader:
    """A source format: `plan` cuts a source into shards, `read` reads one of them, counting what it skips by cause.

    `suffixes` are the ends of the names of its files, `marks` what stands at the head of one. With `trees`, a folder,
    a tar or a zip of such files is a source, too; in there its files may also end in `inside`. Of several documents of
    one id the first counts, or (`latest`) the last.
    """

    plan: Callable[[Path, Options], Iterator[Shard]]
    read: Callable[[Shard, Options, Skipped], Iterator[Record]]
    suffixes: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    marks: tuple[bytes, ...] = ()
    trees: bool = False
    latest: bool = False
