"""The posts of a Stack Exchange site (Posts.xml) in, a Document a question or answer out; its id is its number.

Bodies are HTML. A link to a post of the same site names its number, at its place; an answer also links to its question,
a question to the accepted answer, without one. A row is a line, so a damaged one costs itself.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from linkbert.corpora.reader import CUT, Reader, Shard, Skipped, option
from linkbert.corpora.readers import html
from linkbert.corpora.readers.jsonl import SHARD_BYTES
from linkbert.corpora.readers.papers import XML
from linkbert.corpora.readers.streams import LARGEST_TREE, cut_stream, number_lines
from linkbert.corpora.resolve import Place, resolve
from linkbert.records import Document, Link

QUESTION, ANSWER = "1", "2"
OTHER_POST, BROKEN = "post that is neither question nor answer", "row that is not XML (left out)"
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*\.[a-z]{2,4}")
_ADDRESS = re.compile(rb"https?://(?:www\.)?([\w.-]+)/(?:questions|q|a)/\d")
_POST = re.compile(r"https://([^/]+)/(?:(?:q|a)/(\d+)|questions/(\d+)(?:/[^/?]+/(\d+))?)(?![^/?])")


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say of a dump."""

    site: str = option(
        "", "host of the site, such as cs.stackexchange.com  [default: the folder's name, or by the links]"
    )


def plan(path: Path, options: Options) -> Iterator[Shard]:
    """Cut a dump into runs of lines; `extra` is the host that its links to itself have."""
    shards = cut_stream(path, b"\n", SHARD_BYTES, LARGEST_TREE)
    first = next(shards)
    found = Counter(_ADDRESS.findall(first.data or b"")).most_common(1)
    site = options.site or (path.parent.name if _HOST.fullmatch(path.parent.name) else "")
    if not site and found:
        site = found[0][0].decode()
        logging.getLogger(__name__).warning("%s: links to %s are taken as its own; --site says another", path, site)
    yield from (replace(shard, extra=site) for shard in chain([first], shards))


def read(shard: Shard, _: Options, skipped: Skipped) -> Iterator[Document]:
    """Read the posts of a shard; what is left out is counted in `skipped`."""
    from lxml import etree

    for number, line, last in number_lines(shard):
        where = f"{Path(shard.path).name} line {number}"
        try:
            row: Any = etree.fromstring(line, etree.XMLParser(**XML)) if b"<row" in line else None
        except etree.XMLSyntaxError as error:
            skipped.note(CUT if last else BROKEN, f"{where} ({error})")
            continue
        if row is None:
            continue
        if row.get("PostTypeId") not in (QUESTION, ANSWER):
            skipped[OTHER_POST] += 1
        elif not html.is_bounded(body := row.get("Body", "")):
            skipped.note(html.NESTED, where)
        elif not (page := html.parse(body)) or not page.text or not row.get("Id"):
            skipped.note("no text", where, row.get("Id", ""))
        else:
            place = Place(shard.extra, "questions/0/") if shard.extra else Place()
            found = ((start, end, _number(href, place)) for start, end, href in page.links)
            others = (row.get(name) for name in ("ParentId", "AcceptedAnswerId"))
            links = [Link(start, end, *to) for start, end, to in found if to]
            links += [Link(-1, -1, other) for other in others if other]
            yield Document(
                row.get("Id"), row.get("Title") or row.get("Id"), page.text, tuple(links), sections=page.sections
            )


def _number(href: str, place: Place) -> tuple[str, str] | None:
    """Return the number of the post that an address names, else the address; None where it is none."""
    target = resolve(href, place)
    post = _POST.match(target[0]) if target else None
    if target and post and place.host and post[1] == place.host:
        return next(number for number in (post[4], post[2], post[3]) if number), ""
    return target


READER = Reader(plan=plan, read=read, options=Options, inside=(".xml",), marks=(rb"<posts>\s*<row ",))
