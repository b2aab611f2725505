"""Full text in JATS, such as PMC's open-access packages (.nxml, .xml; a folder, tar or zip of them) to Documents.

Title, abstract, paragraphs, headings and list items of an article come out, a block a line, with a link at each
citation, which leads to a paper by PMID, else PMCID, else DOI. The id is the first of the same three: read behind
PubMed's files, a full text takes the place of its abstract. Entities of a DOCTYPE are not expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html.entities import html5
from itertools import chain, pairwise
from typing import Any, NamedTuple
from urllib.parse import unquote

from linkbert.corpora.reader import CUT, NoOptions, Reader, Record, Skipped
from linkbert.corpora.readers.pubmed import XML, aliases
from linkbert.corpora.readers.site import words
from linkbert.records import Document, Link, Redirect

PARTS = ("front", "body", "back", "floats-group")
CONTAINERS = words("abstract app body boxed-text disp-quote list sec")
BLOCKS = CONTAINERS | words(
    "answer attrib def def-item def-list list-item p question sig-block speaker speech statement term title "
    "verse-group verse-line"
)
DROPPED = words(
    "ack array bio chem-struct chem-struct-wrap code disp-formula disp-formula-group fig fig-group fn fn-group "
    "glossary graphic index-term inline-formula inline-graphic label math media notes object-id preformat private-char "
    "ref-list sec-meta supplementary-material table table-wrap table-wrap-group tex-math"
)
FOOTNOTES = ("aff", "author-notes", "corresp", "fn", "table-fn")  # kinds of cross-references that are marks such as "*"
SHORT = ("graphical", "teaser", "toc")  # kinds of abstracts that only advertise
_Citation = tuple[int, int, list[int]]  # start and end in the block, places in the reference list
POINTERS = ("{*}ext-link", "{*}related-article", "{*}uri")
ANCHORS = ("ext-link", "related-article", "uri", "xref")
CITATIONS = ("{*}mixed-citation", "{*}element-citation", "{*}citation", "{*}nlm-citation")
HREF = "{http://www.w3.org/1999/xlink}href"
KINDS = {"pmid": "pmid", "pubmed": "pmid", "pmc": "pmc", "pmcid": "pmc", "doi": "doi"}
FORMS = {
    "pmid": re.compile(r"(?:pmid:?\s*)?(\d{1,9})", re.IGNORECASE),
    "pmc": re.compile(r"(?:PMC)?(\d{1,9})", re.IGNORECASE),
    "doi": re.compile(r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/)?(10\.\S+)", re.IGNORECASE),
}
ADDRESS = re.compile(
    r"(?:doi\.org/|^doi:\s*)(?P<doi>10\.\S+)"
    r"|(?:/pubmed/|//pubmed\.ncbi\.nlm\.nih\.gov/)(?P<pmid>\d{1,9})|/articles/PMC(?P<pmc>\d{1,9})",
    re.IGNORECASE,
)
DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212"
LONGEST = 200  # references that one range may name
_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(r"[\[(]?([0-9]{1,6})[\])]?")
_RANGE = re.compile(rf"[\[(]?([0-9]{{1,6}}) ?[{DASHES}] ?([0-9]{{1,6}})[\])]?")


def read_file(name: str, data: bytes, _: NoOptions, skipped: Skipped) -> Iterator[Record]:
    """Read the articles of a file; what is left out is counted in `skipped` by its cause."""
    from lxml import etree

    try:
        root = etree.fromstring(data, etree.XMLParser(**XML))
    except etree.XMLSyntaxError as error:
        skipped.note(CUT, f"{name} ({error})")
        return
    articles = list(root.iter("{*}article"))
    for article in articles:
        yield from _read_article(article, name, skipped)
    if not articles:
        skipped.note("XML that holds no article", name)


def _read_article(article: Any, name: str, skipped: Skipped) -> Iterator[Record]:
    parts: dict[str, Any] = {}
    for part in article:
        if (tag := _local(part)) in ("sub-article", "response"):
            skipped["sub-article or response (left out)"] += 1
        parts.setdefault(tag, part)
    meta: Any = parts["front"].find("{*}article-meta") if "front" in parts else None
    own = _names(meta.iterfind("{*}article-id")) if meta is not None else []
    if not own:
        skipped.note("article without a PMID, PMCID or DOI", name)
        return
    writer = _Writer([entry for tag in PARTS if tag in parts for entry in parts[tag].iter("{*}ref")], skipped)
    title = _title(meta)
    if title:
        writer.blocks.append(_Block(title, [], heading=True))
    for element in meta.iterfind("{*}abstract"):
        if element.get("abstract-type") not in SHORT:
            writer.write(element)
    appendices = parts["back"].iter("{*}app") if "back" in parts else ()
    for element in (*([parts["body"]] if "body" in parts else ()), *appendices):
        writer.write(element)
    for element in (*meta.iterfind("{*}related-article"), *article.iterfind("{*}floats-group")):
        writer.drop(element)
    if not writer.blocks:
        skipped.note("article without text", name)
        return
    yield writer.finish(own[0], title or own[0])
    yield from (Redirect(alias, own[0]) for alias in own[1:])


def _title(meta: Any) -> str:
    """Write title and subtitle in a line, without the marks of footnotes."""
    writer = _Writer([], Skipped())
    for element in chain(*(meta.iterfind("{*}title-group/{*}" + tag) for tag in ("article-title", "subtitle"))):
        writer.write(element)
    return ": ".join(block.text.rstrip(":") for block in writer.blocks)


class _Block(NamedTuple):
    """A paragraph, heading or list item, and its links by their places in it."""

    text: str
    links: list[Link]
    heading: bool


class _Writer:
    """Turns an article's elements, one after the other, into blocks, and these into a Document."""

    def __init__(self, references: list[Any], skipped: Skipped) -> None:
        self.references = [_cited(entry) for entry in references]  # in order, the papers that each names
        named = ((i, each) for i, entry in enumerate(references) for each in (entry, *entry.iter(*CITATIONS)))
        self.numbers = {each.get("id"): i for i, each in named}
        self.skipped = skipped
        if nameless := self.references.count(()):
            skipped["reference without a PMID, PMCID or DOI"] += nameless
        self.blocks: list[_Block] = []
        self.sections: list[tuple[str, int]] = []  # a name, and the number of the block that it stands before
        self.unanchored: list[str] = []
        self.pieces: list[str] = []  # of the open block
        self.size = 0  # characters of `pieces`
        self.citations: list[_Citation] = []
        self.pointers: list[Link] = []

    def write(self, root: Any) -> None:
        """Write all the text in an element."""
        waiting = [root]  # elements, the texts between them, and their ends; a stack, as XML may be nested to any depth
        while waiting:
            each = waiting.pop()
            if isinstance(each, str):
                self._add(each)
            elif isinstance(each, tuple):
                self._end(*each)
            elif not isinstance(each.tag, str):  # an entity: comments and instructions are not parsed
                if not (letter := html5.get(f"{each.name};", "")):
                    self.skipped["entity of a DTD's own (left out)"] += 1
                self._add(letter)
            elif (tag := _local(each)) in DROPPED or (each.get("ref-type") in FOOTNOTES and not self._cites(each)):
                self.drop(each)  # of cross-references, the mark of a footnote or an affiliation
            elif tag == "break":
                self._add(" ")
            else:
                if tag in BLOCKS:
                    self._end_block()
                if tag in CONTAINERS and each.get("id"):
                    self.sections.append((each.get("id"), len(self.blocks)))
                if tag in BLOCKS or tag in ANCHORS:
                    waiting.append((tag, each, len(self.blocks), self.size))
                for child in reversed(each):
                    waiting += [child.tail or "", child]
                self._add(each.text or "")
        self._end_block()

    def drop(self, element: Any) -> None:
        """Leave out an element; keep the papers that it points at (those of a reference list are known already)."""
        if _local(element) != "ref-list":
            self.unanchored += (target for each in element.iter(*POINTERS) for target in _names([each])[:1])

    def finish(self, id_: str, title: str) -> Document:
        """Join the blocks; papers to which nothing in the text leads are links without a place."""
        links: list[Link] = []
        starts = [0]
        for block in self.blocks:
            at = starts[-1]
            links += (Link(link.start + at, link.end + at, link.target) for link in block.links)
            starts.append(at + len(block.text) + 1)
        placed = {link.target for link in links}
        others = dict.fromkeys([*chain(*self.references), *self.unanchored])
        links += (Link(-1, -1, target) for target in others if target not in placed)
        sections = tuple((name, starts[number]) for name, number in self.sections)
        return Document(id_, title, "\n".join(block.text for block in self.blocks), tuple(links), sections=sections)

    def _cites(self, xref: Any) -> list[int]:
        return [self.numbers[each] for each in (xref.get("rid") or "").split() if each in self.numbers]

    def _add(self, text: str) -> None:
        """Add to the open block, white space folded."""
        text = _SPACE.sub(" ", text)
        if text[:1] == " " and (not self.pieces or self.pieces[-1][-1] == " "):
            text = text[1:]
        if text:
            self.pieces.append(text)
            self.size += len(text)

    def _end(self, tag: str, element: Any, blocks: int, start: int) -> None:
        """End an element that began when there were so many blocks, at this character of the open one."""
        if tag in BLOCKS:
            self._end_block(heading=tag == "title")
        if tag in CONTAINERS:
            while len(self.blocks) > blocks and self.blocks[-1].heading:  # nothing stands under it
                self.unanchored += (link.target for link in self.blocks.pop().links)
            while self.sections and self.sections[-1][1] >= len(self.blocks):
                self.sections.pop()
        start = start if len(self.blocks) == blocks else self.size  # an anchor that goes over several blocks has none
        if tag == "xref":
            if cited := self._cites(element):
                self.citations.append((start, self.size, cited))
            elif element.get("ref-type") == "bibr":
                self.skipped["citation of nothing in the reference list"] += 1
        elif tag in ANCHORS:
            self.pointers += (Link(start, self.size, target) for target in _names([element])[:1])

    def _end_block(self, *, heading: bool = False) -> None:
        text = "".join(self.pieces).rstrip()
        links = list(self.pointers)
        for start, end, cited in _with_ranges(text, self.citations, len(self.references)):
            links += (Link(start, end, target) for number in cited for target in self.references[number])
        placed = []
        for link in links:
            anchor = text[link.start : link.end]
            start = link.start + len(anchor) - len(anchor.lstrip())
            if anchor.strip():
                placed.append(Link(start, start + len(anchor.strip()), link.target))
            else:
                self.unanchored.append(link.target)
        if text:
            placed.sort(key=lambda link: (link.start, link.end))
            self.blocks.append(_Block(text, placed, heading))
        self.pieces, self.size, self.citations, self.pointers = [], 0, [], []


def _with_ranges(text: str, citations: list[_Citation], references: int) -> Iterator[_Citation]:
    """Add what a range leaves out: of "3-7", where 3 and 7 are citations, the three between, with "3-7" as anchor.

    The numbers must agree with the places in the reference list. Where "3-7" is one citation of 3 (or of 3 and 7), the
    list must start with 1.
    """
    for start, end, cited in citations:
        if found := _RANGE.fullmatch(text[start:end]):
            first, last = int(found[1]) - 1, int(found[2]) - 1
            if cited[0] == first < last < min(references, first + LONGEST) and {*cited} <= {first, last}:
                cited = [*range(first, last + 1)]
        yield start, end, cited
    for (start, end, before), (next_start, next_end, after) in pairwise(citations):
        first, last = before[-1], after[0]
        if 1 < last - first < LONGEST and text[end:next_start].strip(" ()[]") in [*DASHES]:
            one, other = _NUMBER.fullmatch(text[start:end]), _NUMBER.fullmatch(text[next_start:next_end])
            if one and other and int(other[1]) - int(one[1]) == last - first:
                yield start, next_end, [*range(first + 1, last)]


def _cited(entry: Any) -> tuple[str, ...]:
    """Name the papers of an entry of the reference list: one, more where it lists several, none if nobody knows."""
    papers = [_names(paper.iter("{*}pub-id", *POINTERS))[:1] for paper in entry.iter(*CITATIONS)]
    return tuple(dict.fromkeys(name for names in papers for name in names))


def _names(elements: Iterable[Any]) -> list[str]:
    """Write the PMID, PMCID and DOI that elements name, in one form each: ["21045829", "PMC2994229", "doi:10.1038/x"].

    An element says what kind of name it holds, or is a link to a page of PubMed's, PMC's or doi.org.
    """
    ids: dict[str, str] = {}
    for element in elements:
        kind = KINDS.get(element.get("pub-id-type") or element.get("ext-link-type") or "", "")
        value = (element.get(HREF) or "".join(element.itertext())).strip()
        if kind and (found := FORMS[kind].fullmatch(value)):
            ids.setdefault(kind, found[1])
        elif found := ADDRESS.search(unquote(value)):
            ids.setdefault(str(found.lastgroup), found[found.lastgroup or 0].rstrip(".,;"))
    pmid = [ids["pmid"]] if "pmid" in ids else []
    return pmid + aliases(ids)[::-1]


def _local(element: Any) -> str:
    """Return an element's name without its namespace, "" for what is no element."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


MARKS = (b"<article", b"<!DOCTYPE article")
READER = Reader(read_file=read_file, suffixes=(".nxml",), inside=(".xml",), marks=MARKS, latest=True)
