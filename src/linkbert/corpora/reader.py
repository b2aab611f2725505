"""What every reader is: a way to cut a source into shards, and a way to turn one shard into records.

A path comes in, Documents and Redirects go out. Planning is cheap and happens in the parent; reading is the work and may
happen in any process, so a Shard is small, frozen and picklable. The same path and options always give the same shards
in the same order: a build that was stopped skips the shards it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from linkbert.records import Document, Redirect


@dataclass(frozen=True, slots=True)
class Shard:
    """One piece of a source: bytes [start, stop) of the file at `path`, or `data` where those cannot be found again cheaply.

    `stop = -1` means the end of the file. `header` is what the head of the source says about all of it (a dump's
    siteinfo). `first_line` is the number, from 1, of the first line, for messages. `problem` is a cause that the plan met
    behind this shard (a truncated archive); `read` counts it.
    """

    path: str
    start: int = 0
    stop: int = -1
    data: bytes | None = None
    first_line: int = 1
    header: bytes = b""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may choose about reading; `table_cells` keeps the cells of tables as text."""

    table_cells: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """A format: `plan` cuts a path into shards, `read` turns one shard into records.

    `plan` raises ValueError (what, where, remedy) when the file as a whole is not what it claims to be. `read` skips bad
    records one by one and counts each in the Counter under its cause. `recognises` looks at a path's name and first bytes.
    """

    plan: Callable[[Path, Options], Iterator[Shard]]
    read: Callable[[Shard, Options, Counter[str]], Iterator[Document | Redirect]]
    recognises: Callable[[Path], bool]
