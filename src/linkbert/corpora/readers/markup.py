"""Texts of records that are written in HTML, Markdown or wikitext: their words and links, as of a page in a file.

A record has no tree around it, so its links lead to ids, to titles, or, where the id or `url` is one, to addresses.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import wraps
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any

from linkbert.corpora.reader import DOCUMENTS, Record, Shard, Skipped
from linkbert.corpora.resolve import SOURCE_SUFFIX, Place, find_place, names, note_name, note_path, resolve
from linkbert.records import Document, Link, Redirect

KINDS = ("html", "markdown", "wikitext", "none")
NO_TEXT = "document without text"
TENTH = 10  # of documents, so many of which have to seem written so
_WEB = re.compile(r"https?://[^/\s]+", re.IGNORECASE)
_SIGNS = {  # of links in each, after what stands in all of them
    "html": ("<a ", re.compile(r"<a\s[^<>]{0,500}?href\s*=\s*[\"']?[^\s\"'<>]", re.IGNORECASE)),
    "markdown": ("](", re.compile(r"\[[^\[\]\n]{1,200}\]\((?:https?://|[./#]|[\w-]+(?:/[\w-]+)*\.\w+)[^\s()]*\)")),
    "wikitext": ("[[", re.compile(r"(?<![\w\])])\[\[[^\W\d][^\[\]{}\n]{0,200}\]\]")),
}
Made = tuple[Document | Redirect | None, Iterable[str]]  # and what else it is called


def find_kind(text: str) -> str:
    """Return what a text with links in it seems to be written in, "" for none of the kinds.

    >>> find_kind("See <a href='b'>b</a>."), find_kind("See [b](b.md)."), find_kind("See [[b]]."), find_kind("x[[1]]")
    ('html', 'markdown', 'wikitext', '')
    """
    return next((kind for kind, (part, sign) in _SIGNS.items() if part in text and sign.search(text)), "")


def telling(read: Callable[..., Iterator[Record]]) -> Callable[..., Iterator[Record]]:
    """Make a reader of tables count texts without links whose markup seems to have some, where one in TENTH has."""

    @wraps(read)
    def read_and_tell(shard: Shard, options: Any, skipped: Skipped) -> Iterator[Record]:
        documents, found, where = 0, Counter[str](), dict[str, str]()
        ours = options.markup or DOCUMENTS.fullmatch(PurePosixPath(shard.path).name)
        for record in read(shard, options, skipped):
            if isinstance(record, Document) and not ours:
                documents += 1
                if not record.links and (kind := find_kind(record.text)):
                    found[kind] += 1
                    where.setdefault(kind, f"{PurePosixPath(shard.path).name}, {record.id!r:.80}")
            yield record
        for kind, count in found.items():
            if TENTH * count >= documents:
                cause = f"text that seems to have links of {kind} (--markup {kind} reads them, none says no)"
                skipped.note(cause, where[kind])
                skipped[cause] += count - 1

    return read_and_tell


def read_marked(document: Document, kind: str, url: object, where: str, skipped: Skipped) -> Iterator[Record]:
    """Yield a Document whose text was written so, and its other names; links that came beside it lose their places."""
    from linkbert.corpora.readers import html

    if kind == "html" and not html.is_bounded(document.text):
        skipped.note(html.NESTED, where, document.id)
        return
    address = next((each for each in (url, document.id) if isinstance(each, str) and _WEB.match(each)), "")
    read = {"html": _read_html, "markdown": _read_markdown, "wikitext": _read_wikitext}[kind]
    made, others = read(document, address)
    if not made or (isinstance(made, Document) and not made.text.strip()):
        skipped.note(NO_TEXT, where, document.id)
        return
    if isinstance(made, Document):
        beside = (replace(link, start=-1, end=-1) for link in document.links)
        title = made.title if made.title and document.title == document.id else document.title
        made = replace(made, title=title, links=(*made.links, *beside))
    yield made
    form = resolve(address, Place()) if address else None
    called = dict.fromkeys((form[0] if form else "", *names(document.id), *others))
    yield from (Redirect(name, document.id) for name in called if name not in ("", document.id))


def _read_html(document: Document, address: str) -> Made:
    from linkbert.corpora.readers import html

    place = find_place("" if address else document.id, base=address)
    if not (page := html.parse(document.text)):
        return None, ()
    links = tuple(Link(start, end, *to) for start, end, href in page.links if (to := resolve(href, place)))
    return replace(document, title=page.title, text=page.text, links=links, sections=page.sections), ()


def _read_markdown(document: Document, address: str) -> Made:
    from linkbert.corpora.readers.markdown import read_page
    from linkbert.corpora.readers.pages import INDEXES

    place = find_place("", base=address)
    last = address.partition("?")[0].rpartition("/")[2] or "index"
    own = note_path(f"{place.folder}{last}" if place.host else document.id, "")
    page = read_page(document.text, own)

    def lead(link: Link) -> Link:
        if link.target[:2] == "[[" or not (place.host or "://" in link.target):
            return link
        to = resolve(link.target if "://" in link.target else f"https://{place.host}/{link.target}", Place())
        return replace(link, target=to[0]) if to else link

    links = tuple(map(lead, page.links))
    folder, _, last = own.rpartition("/")
    form = resolve(address, Place()) if place.host else None
    paths = [SOURCE_SUFFIX.sub("", form[0])] if form else [own, *[folder or "."] * (last.lower() in INDEXES)]
    ends = accumulate(reversed(own.split("/")), lambda end, part: f"{part}/{end}")
    called = (note_name(name) for name in (document.id, document.title, *page.names, *ends) if name[:1] != "/")
    made = replace(document, title=page.title, text=page.text, links=links, sections=page.sections)
    return made, [*paths, *called]


def _read_wikitext(document: Document, address: str) -> Made:
    from linkbert.corpora.readers import mediawiki, wikipedia
    from linkbert.corpora.readers.site import name_subpages, normal_title, resolve
    from linkbert.corpora.readers.wikitext import parse

    site = wikipedia.find_site(address)
    title = normal_title(document.title, site)
    if moved := mediawiki.REDIRECT_TEXT.match(document.text):
        to = resolve(moved[1], site)
        return Redirect(document.id, to.title, to.fragment) if to.kind == "article" else None, [title]
    text, links = parse(name_subpages(document.text, title) if site.subpages else document.text, site)
    return replace(document, text=text, links=links), [title]
