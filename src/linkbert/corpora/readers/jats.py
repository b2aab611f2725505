"""Full text in JATS, such as PMC's open-access packages (.nxml, .xml; a folder, tar or zip of them) to Documents.

Title, abstract, paragraphs, headings and list items of an article come out, a block a line, with a link at each
citation, which leads to a paper by PMID, else PMCID, else DOI. The id is the first of the same three: read behind
PubMed's files, a full text takes the place of its abstract. Entities of a DOCTYPE are not expanded.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from html.entities import html5
from itertools import chain, pairwise
from typing import Any, NamedTuple

from linkbert.corpora.reader import CUT, Reader, Record, Skipped
from linkbert.corpora.readers import papers
from linkbert.corpora.readers.site import words
from linkbert.corpora.readers.streams import LARGEST_TREE, TOO_LARGE
from linkbert.records import Document, Link, Redirect

PARTS = ("front", "body", "back", "floats-group")
CONTAINERS = words("abstract app body boxed-text disp-quote list sec")
BLOCKS = CONTAINERS | words(
    "answer attrib def def-item def-list list-item p question sig-block speaker speech statement term title "
    "verse-group verse-line"
)
DROPPED = words(
    "ack array bio chem-struct chem-struct-wrap code fig fig-group fn fn-group glossary graphic index-term "
    "inline-graphic label media notes object-id preformat private-char ref-list sec-meta supplementary-material table "
    "table-wrap table-wrap-group"
)
FORMULAS = words("alternatives math tex-math")
APART = words("abbrev disp-formula disp-formula-group disp-quote fig table-wrap")  # white space stands around them
FOOTNOTES = ("aff", "author-notes", "corresp", "fn", "table-fn")  # kinds of cross-references that are marks such as "*"
SHORT = ("graphical", "teaser", "toc")  # kinds of abstracts that only advertise
_Citation = tuple[int, int, list[int], bool | None]  # its place, what it cites; if it is a mark, whether raised
_Edit = tuple[int, int, str]  # start and end in the block, what takes the place
POINTERS = ("{*}ext-link", "{*}related-article", "{*}uri")
ANCHORS = ("ext-link", "related-article", "uri", "xref")
NAMED = ("{*}pub-id", "{*}object-id", *POINTERS)
CITATIONS = ("{*}citation-alternatives", "{*}mixed-citation", "{*}element-citation", "{*}citation", "{*}nlm-citation")
HREF = "{http://www.w3.org/1999/xlink}href"
DEPOSITED = ("nihms-submitted", "pmc-release")  # dates of an article that are not of its publication
END = b"</article>"
_ARTICLE = re.compile(rb"(?=<article[\s>])")
_NAMESPACE = re.compile(rb"\sxmlns(?::[\w.-]+)?=(?:\"[^\"<]*\"|'[^'<]*')")
_ENCODING = re.compile(rb"\s*<\?xml[^>]*?encoding=[\"']([A-Za-z][\w.-]*)")
DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212"
LONGEST = 200  # references that one range may name
_MARK, _JOINT = re.compile(rf"(?=[{DASHES},; ]*\d)[{DASHES}\d,; ]+[a-z]?"), re.compile(rf"[{DASHES}\s,;]{{0,3}}")
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d[a-z]?")
_GLUED, _STOP = re.compile(r"(?:[\w)\]%”\"’']|[^\W\d][.,;:]|[)\]%”\"’][.,;:])$"), re.compile(r"[.,;:!?][”\"’')]?$")
_SPACE = re.compile(r"[^\S ]\s*| \s+")  # all but a single space
_NUMBER = re.compile(r"[\[(]?([0-9]{1,6})[\])]?")
_RANGE = re.compile(rf"[\[(]?([0-9]{{1,6}}) ?[{DASHES}] ?([0-9]{{1,6}})[\])]?")


def read_file(name: str, data: bytes, options: papers.Options, skipped: Skipped) -> Iterator[Record]:
    """Read the articles of a file; what is left out is counted in `skipped` by its cause."""
    for root in _parse(name, data, skipped):
        articles = [*root.iter("{*}article")]
        for article in articles:
            yield from _read_article(article, name, options, skipped)
        if not articles:
            skipped.note("XML that holds no article", name)


def _parse(name: str, data: bytes, skipped: Skipped) -> Iterator[Any]:
    """Yield the roots of a file; where it is not well-formed, or holds several documents, article by article."""
    from lxml import etree

    whole = f"{len(data) >> 20} MB"
    try:
        if len(data) <= LARGEST_TREE:
            yield etree.fromstring(data, etree.XMLParser(**papers.XML))
            return
    except etree.XMLSyntaxError as error:
        whole = str(error)
    head, *articles = _ARTICLE.split(data)
    if not articles:
        skipped.note(CUT, f"{name} ({whole})")
    try:
        declared = _ENCODING.match(data)
        parser = etree.XMLParser(encoding=declared and declared[1].decode(), **papers.XML)
    except LookupError:  # no such encoding
        parser = etree.XMLParser(**papers.XML)
    opening = b'<!DOCTYPE set SYSTEM ""><set %b>' % b" ".join({*_NAMESPACE.findall(head)})
    for number, article in enumerate(articles, 1):
        stop = article.rfind(END)
        if len(article) > LARGEST_TREE:
            skipped.note(TOO_LARGE, f"{name}, article {number} of {len(articles)}")
            continue
        try:
            yield etree.fromstring(opening + article[: stop + len(END)] + b"</set>" if stop >= 0 else article, parser)
        except etree.XMLSyntaxError as error:
            skipped.note(CUT, f"{name}, article {number} of {len(articles)} ({error})")


def _read_article(article: Any, name: str, options: papers.Options, skipped: Skipped) -> Iterator[Record]:
    parts: dict[str, Any] = {}
    for part in article:
        if (tag := papers.local(part)) in ("sub-article", "response"):
            skipped["sub-article or response (left out)"] += 1
        parts.setdefault(tag, part)
    meta: Any = parts["front"].find("{*}article-meta") if "front" in parts else None
    own = _names(meta.iterfind("{*}article-id")) if meta is not None else []
    if not own:
        skipped.note("article without a PMID, PMCID or DOI", name)
        return
    if options.before:
        dates = [each for each in meta.iterfind("{*}pub-date") if each.get("pub-type") not in DEPOSITED]
        if not min(map(papers.read_date, dates), default=papers.UNDATED) < papers.year_and_month(options.before):
            skipped[papers.TOO_LATE] += 1
            return
    writer = _Writer([entry for tag in PARTS if tag in parts for entry in parts[tag].iter("{*}ref")], skipped)
    title = _title(meta)
    if title:
        writer.blocks.append(_Block(title, [], heading=True))
    for element in meta.iterfind("{*}abstract"):
        if element.get("abstract-type") not in SHORT:
            writer.write(element)
    bodies = [parts["body"]] if "body" in parts else []
    for element in bodies[0].iter("{*}preformat") if bodies else ():
        if "ocr" in element.get("preformat-type", "").lower() or element.getparent() is bodies[0]:
            skipped["OCR text of scanned pages (kept as one paragraph)"] += 1
            element.tag = "p"  # it is set like code
    for element in (*bodies, *(parts["back"].iter("{*}app") if "back" in parts else ())):
        writer.write(element)
    for element in (*meta.iterfind("{*}related-article"), *article.iterfind("{*}floats-group")):
        writer.drop(element)
    if not writer.blocks:
        skipped.note("article without text", name, *own)
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

    def __init__(self, entries: list[Any], skipped: Skipped) -> None:
        cited = [_cited(entry) for entry in entries]  # of each entry in order, (its citation, the paper's name)
        self.references = [tuple(dict.fromkeys(name for _, name in each if name)) for each in cited]
        self.entries = len(entries)
        self.numbers = {entry.get("id"): i for i, entry in enumerate(entries)}
        for i, each in enumerate(cited):
            for element, name in each:
                self.numbers |= dict.fromkeys([one.get("id") for one in element.iter(*CITATIONS)], i)
                if len(each) > 1 and element.get("id"):  # of several papers a mark may name its own
                    self.numbers[element.get("id")] = len(self.references)
                    self.references.append((name,) if name else ())
        self.skipped = skipped
        if nameless := self.references[: self.entries].count(()):
            skipped["reference without a PMID, PMCID or DOI"] += nameless
        self.blocks: list[_Block] = []
        self.sections: list[tuple[str, int]] = []  # a name, and the number of the block that it stands before
        self.unanchored: list[str] = []
        self.inline = 0  # elements that are open, in which a paragraph is no block
        self._start_block()

    def _start_block(self) -> None:
        self.pieces: list[str] = []
        self.size = 0  # characters of `pieces`
        self.citations: list[_Citation] = []
        self.pointers: list[Link] = []
        self.holes: list[int] = []  # where something is left out, and the edges of formulas

    def write(self, root: Any) -> None:
        """Write all the text in an element."""
        waiting = [root]  # elements, texts between them, and their ends; a stack, as XML may be nested to any depth
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
            elif (tag := papers.local(each)) in FORMULAS:
                self._add_apart(papers.write_formula(each))
            elif tag in DROPPED or (each.get("ref-type") in FOOTNOTES and not self._cites(each)):
                self.drop(each)  # of cross-references, the mark of a footnote or an affiliation
                self._add_apart("")
            elif tag == "break":
                self._add(" ")
            else:
                waiting.append((tag, each, len(self.blocks), *self._start(tag, each)))
                for child in reversed(each):
                    waiting += [child.tail or "", child]
                self._add(each.text or "")
        self._end_block()

    def _start(self, tag: str, element: Any) -> tuple[int, str]:
        """Start an element; return at which character of the open block, and what is to be written at its end."""
        behind = ""
        self.inline += tag == "abbrev"
        if tag in APART or (tag in BLOCKS and self.inline):
            behind = " "
            self._add_apart(" ")
        elif tag in BLOCKS:
            self._end_block()
        elif tag == "sup" and not [*element.iter("{*}xref"), *element.iterancestors("{*}xref")]:
            before, behind = papers.superscript("".join(self.pieces[-8:]), element)
            self._add(before)
        elif tag == "inline-formula":
            self._add_apart("")
        if tag in CONTAINERS and element.get("id"):
            self.sections.append((element.get("id"), len(self.blocks)))
        return self.size, behind

    def drop(self, element: Any) -> None:
        """Leave out an element; keep the papers that it points at (those of a reference list are known already)."""
        if papers.local(element) != "ref-list":
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
        if text[:1] == " " and (not self.pieces or self.pieces[-1][-1] in " ^"):
            text = text[1:]
        if text:
            self.pieces.append(text)
            self.size += len(text)

    def _add_apart(self, text: str) -> None:
        """Add what takes the place of an element; whether white space is missing around it is seen later."""
        self.holes.append(self.size)
        self._add(text)
        self.holes.append(self.size)

    def _end(self, tag: str, element: Any, blocks: int, start: int, behind: str) -> None:
        """End an element that began when there were so many blocks, at this character of the open one."""
        if tag in BLOCKS and not self.inline:
            self._end_block(heading=tag == "title")
        self.inline -= tag == "abbrev"
        if tag in CONTAINERS:
            while len(self.blocks) > blocks and self.blocks[-1].heading:  # nothing stands under it
                self.unanchored += (link.target for link in self.blocks.pop().links)
            while self.sections and self.sections[-1][1] >= len(self.blocks):
                self.sections.pop()
        start = start if len(self.blocks) == blocks else self.size  # an anchor that goes over several blocks has none
        if tag == "xref":
            if cited := self._cites(element):
                shown = "".join(element.itertext()).strip()
                raised = bool([*element.iter("{*}sup"), *element.iterancestors("{*}sup")])
                is_mark = raised or bool(_MARK.fullmatch(shown) and not _YEAR.fullmatch(shown))
                self.holes += [] if is_mark else [start, self.size]
                self.citations.append((start, self.size, cited, raised if is_mark else None))
            elif element.get("ref-type") == "bibr":
                self.skipped["citation of nothing in the reference list"] += 1
        elif tag in ANCHORS:
            self.pointers += (Link(start, self.size, target) for target in _names([element])[:1])
        if behind.isspace() or tag == "inline-formula" or start == self.size:
            self._add_apart(behind)
        else:
            self._add(behind)

    def _end_block(self, *, heading: bool = False) -> None:
        text = "".join(self.pieces).rstrip()
        links = list(self.pointers)
        for start, end, cited, _ in _with_ranges(text, self.citations, self.entries):
            links += (Link(start, end, target) for number in cited for target in self.references[number])
        if edits := [*_mend(text, self.holes), *_set_apart(text, self.citations)]:
            text, links = _edit(text, links, sorted(edits))
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
        self._start_block()


def _mend(text: str, holes: list[int]) -> Iterator[_Edit]:
    """Close the holes of what is left out: "a well (|) is |, or" -> "a well is, or"; set words apart: "by|where"."""
    for hole in dict.fromkeys(holes):
        start = end = min(hole, len(text))
        while True:
            start = start - 1 if text[start - 1 : start] == " " else start
            end = end + 1 if text[end : end + 1] == " " else end
            before, after = text[max(start - 1, 0) : start], text[end : end + 1]
            if before + after in ("()", "[]"):
                start, end = start - 1, end + 1
            elif after in (",", ";") and before in ("", "(", "["):
                end += 1
            elif before in (",", ";") and after in (")", "]"):
                start -= 1
            elif " " not in (before, after):
                break
        words_meet = end > start or re.match(r"[\w$]{2}", before + after)
        space = " " if words_meet and before not in ("", "(", "[") and after not in ("", *".,;:)]") else ""
        if text[start:end] != space:
            yield start, end, space


def _set_apart(text: str, citations: list[_Citation]) -> Iterator[_Edit]:
    """Set marks of citations apart from words and numbers: "years1,2" -> "years [1,2]", "old.3 In" -> "old.[3] In"."""
    marks = [(start, end, raised) for start, end, _, raised in citations if raised is not None and start < end]
    last, apart = -1, False  # where the mark before ends; whether its run is set apart
    for (start, end, raised), (following, _, _) in pairwise([*marks, (-1, 0, False)]):
        before = text[max(start - 2, 0) : start]
        if last >= 0 and _JOINT.fullmatch(text, last, start):  # of a run, with nothing but a comma or a dash between
            if last == start:
                yield start, start, ","
        else:
            apart = bool(raised or _GLUED.search(before)) and before[-1:] not in ("(", "[") and text[start] not in "(["
            if apart:
                yield start, start, "[" if before[-1:] in ("", " ") or _STOP.search(before) else " ["
        last = end
        if apart and not _JOINT.fullmatch(text, end, following):
            yield end, end, "] " if text[end : end + 1].isalnum() else "]"


def _edit(text: str, links: list[Link], edits: list[_Edit]) -> tuple[str, list[Link]]:
    """Make changes to a text, in order (one that overlaps another is left out), and move the links with it."""
    pieces, starts, ends, grown, moved, last = [], [], [], [0], [], 0
    for start, end, new in edits:
        if start >= last:
            pieces += [text[last:start], new]
            starts.append(start)
            ends.append(end)
            grown.append(grown[-1] + len(new) - (end - start))
            last = end
    for link in links:
        start = link.start + grown[bisect_right(ends, link.start)]
        moved.append(Link(start, link.end + grown[bisect_left(starts, link.end)], link.target))
    return "".join([*pieces, text[last:]]), moved


def _with_ranges(text: str, citations: list[_Citation], references: int) -> Iterator[_Citation]:
    """Add what a range leaves out: of "3-7", where 3 and 7 are citations, the three between, with "3-7" as anchor.

    The numbers must agree with the places in the reference list. Where "3-7" is one citation of 3 (or of 3 and 7), the
    list must start with 1.
    """
    for start, end, cited, raised in citations:
        if found := _RANGE.fullmatch(text[start:end]):
            first, last = int(found[1]) - 1, int(found[2]) - 1
            if cited[0] == first < last < min(references, first + LONGEST) and {*cited} <= {first, last}:
                cited = [*range(first, last + 1)]
        yield start, end, cited, raised
    for (start, end, before, raised), (next_start, next_end, after, _) in pairwise(citations):
        first, last = before[-1], after[0]
        if 1 < last - first < LONGEST and text[end:next_start].strip(" ()[]") in [*DASHES]:
            one, other = _NUMBER.fullmatch(text[start:end]), _NUMBER.fullmatch(text[next_start:next_end])
            if one and other and int(other[1]) - int(one[1]) == last - first:
                yield start, next_end, [*range(first + 1, last)], raised


def _cited(entry: Any) -> list[tuple[Any, str]]:
    """Name the papers of an entry of the reference list: (citation, name), "" for a name that nobody knows.

    Forms of one citation are one. A name that no element declares may stand in the text.
    """
    citations = [each for each in entry.iter(*CITATIONS) if papers.local(each.getparent()) != "citation-alternatives"]
    citations = citations or [entry]  # of a note alone
    return [(each, (_names(each.iter(*NAMED)) or papers.find_names(each.itertext()) or [""])[0]) for each in citations]


def _names(elements: Iterable[Any]) -> list[str]:
    """Write the PMID, PMCID and DOI that elements name, in one form each: ["21045829", "PMC2994229", "doi:10.1038/x"].

    An element says what kind of name it holds, or is a link to a page of PubMed's, PMC's or doi.org, or shows a name.
    """
    texts = []
    for element in elements:
        kind = papers.KINDS.get(element.get("pub-id-type") or element.get("ext-link-type") or "", "")
        address, shown = element.get(HREF), "".join(element.itertext())
        texts += [kind + (address or shown), shown]
    return papers.find_names(texts)


_NO_DOCBOOK = rb"(?s)\A(?!.*(?:docbook\.org/ns|DTD DocBook)).*?"  # whose articles are others
MARKS = (_NO_DOCBOOK + b"<article", _NO_DOCBOOK + b"<!DOCTYPE article")
READER = Reader(
    read_file=read_file, suffixes=(".nxml",), inside=(".xml",), options=papers.Options, marks=MARKS, latest=True
)
