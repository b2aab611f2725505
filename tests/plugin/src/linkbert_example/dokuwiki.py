"""A reader of DokuWiki pages: a tree of text files, `namespace/page.doku`, with links such as [[ferns:moss|mosses]]."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from linkbert.corpora.reader import Reader, Skipped, option
from linkbert.records import Document, Link

LINK = re.compile(r"\[\[([^\]|]+)(?:\|([^\]]*))?\]\]")
HEADING = re.compile(r"^ *={2,6} *(.*?) *={2,6} *$", re.MULTILINE)


@dataclass(frozen=True)
class Options:
    """What the reader can be asked."""

    drop_namespace: str = option("", "leave out the pages of this namespace")


def read_file(name: str, data: bytes, options: Options, skipped: Skipped) -> Iterator[Document]:
    """Read a page: its id is its address, "ferns:moss", its title the first heading.

    >>> text = b"====== Moss ======\\nGrows on [[trees:oak|oaks]]."
    >>> page = next(read_file("ferns/moss.doku", text, Options(), Skipped()))
    >>> page.id, page.title, page.text, page.links[0].target
    ('ferns:moss', 'Moss', 'Moss\\nGrows on oaks.', 'trees:oak')
    """
    page = name.removesuffix(".doku").replace("/", ":")
    if options.drop_namespace and page.startswith(f"{options.drop_namespace}:"):
        skipped.note("page of a dropped namespace", name)
        return
    source = HEADING.sub(r"\1", data.decode("utf-8"))
    namespace = page.rpartition(":")[0]
    text, links, end = "", [], 0
    for match in LINK.finditer(source):
        text += source[end : match.start()]
        target, _, fragment = match[1].strip().partition("#")
        rooted, target = target.startswith(":"), target.lstrip(":")
        anchor = match[2] if match[2] is not None else target
        full = target if rooted or ":" in target or not namespace else f"{namespace}:{target}"
        links.append(Link(len(text), len(text) + len(anchor), full.lower().replace(" ", "_"), fragment))
        text += anchor
        end = match.end()
    text += source[end:]
    heading = HEADING.search(data.decode("utf-8"))
    yield Document(page, heading[1] if heading else page, text, tuple(links))


READER = Reader(read_file=read_file, options=Options, suffixes=(".doku",))
