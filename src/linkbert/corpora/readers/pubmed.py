"""PubMed's baseline and update files (PubmedArticleSet XML; .xml.gz or any other compression) to Documents.

A record's title and abstract are its text, its references links of the whole document, to a PMID, or else a DOI or a
PMCID: so a record's own are Redirects to its PMID. A file is a shard. Newer versions replace older ones and deletions
delete, in the order of the files, when the build ends. Entities of a DOCTYPE are not expanded and nothing is fetched.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from linkbert.corpora.reader import CUT, EMPTY, Deletion, FaultError, Reader, Record, Shard, Skipped, option
from linkbert.corpora.readers import papers
from linkbert.corpora.readers.streams import LARGEST_TREE, cut_stream
from linkbert.files import decompressed_blocks, source_size
from linkbert.records import Document, Link, Redirect

DATES = (
    "MedlineCitation/Article/Journal/JournalIssue/PubDate",
    "MedlineCitation/Article/ArticleDate",
    "PubmedData/History/PubMedPubDate[@PubStatus='pubmed']",
)
RECORD = b"PubmedArticle"
END, SHARD_BYTES = b"</PubmedArticle>", 1 << 16  # bytes that are parsed at a time
UNNAMED = ("[Not Available].", "[Not Available]")  # what stands for a missing title


@dataclass(frozen=True, slots=True)
class Options(papers.Options):
    """Which records a user wants, and which of their links."""

    min_words: int = option(0, "only abstracts of so many words or more")
    comments: bool = option(False, "comments and errata are links too")


def plan(path: Path, _: Options) -> Iterator[Shard]:
    """Make a shard of a file; ValueError if it is not one of PubMed's."""
    head = next(decompressed_blocks(path), (b"", 0))[0]
    if not head:
        raise FaultError(EMPTY, f"{path} is empty: there is no record in it, download it again")
    if b"<PubmedArticleSet" not in head:
        raise ValueError(f"{path} is not a PubMed file (it does not start with <PubmedArticleSet>)")
    return iter([Shard(str(path), 0, source_size(path), getattr(path, "data", None))])


def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read the records of a file; what is skipped is counted in `skipped` by its cause."""
    newest: dict[str, tuple[int, bool]] = {}  # version, and whether it is left out: of records that have several
    for element in _read_elements(shard.source, skipped):
        if element.tag == "PubmedBookArticle":
            skipped["book"] += 1
        elif element.tag == "DeleteCitation":
            yield from (Deletion(pmid.text.strip()) for pmid in element.iterfind("PMID") if pmid.text)
        else:
            yield from _read_record(element, newest, options, skipped)
    # Else an older version, in this file or one before it, would stay.
    yield from (Deletion(pmid) for pmid, (_, left_out) in newest.items() if left_out)


def _read_record(
    record: Any, newest: dict[str, tuple[int, bool]], options: Options, skipped: Skipped
) -> Iterator[Document | Redirect]:
    number, article = record.find("MedlineCitation/PMID"), record.find("MedlineCitation/Article")
    if number is None or article is None or not (pmid := (number.text or "").strip()):
        skipped.note("record without a PMID or an article", "?" if number is None else str(number.text))
        return
    written = number.get("Version", "1")
    version = int(written[:9]) if written.isdecimal() else 1
    if version < newest.get(pmid, (1, False))[0]:
        skipped["older version"] += 1
        return
    abstract = [line for part in article.iterfind("Abstract/AbstractText") if (line := _section(part))]
    title = _text(article.find("ArticleTitle"))
    title = "" if title in UNNAMED else title
    cause = "" if title or abstract else "record without text"
    if options.min_words and sum(len(line.split()) for line in abstract) < options.min_words:
        cause = "fewer words than --min-words"
    elif options.before and not _date(record) < papers.year_and_month(options.before):
        cause = papers.TOO_LATE
    if version > 1:
        newest[pmid] = version, bool(cause)
    if cause:
        skipped[cause] += 1
        skipped.empty += [pmid] * (not title and not abstract)
        return
    text = "\n".join([title, *abstract] if title else abstract)
    yield Document(pmid, title or pmid, text, tuple(Link(-1, -1, target) for target in _targets(record, options)))
    names = _identifiers(record.iterfind("PubmedData/ArticleIdList/*"))
    yield from (Redirect(name, pmid) for name in names if not name.isdecimal())


def _read_elements(path: Path, skipped: Skipped) -> Iterator[Any]:
    """Yield the records of a file one by one: a broken one costs only itself, and a file may hold several sets."""
    from lxml import etree

    parser, where, data = etree.XMLParser(**papers.XML), str(path), b""

    def parse(data: bytes, name: bytes) -> Iterator[Any]:
        """Yield what is called so in some data; what has no end, or is broken, is damage."""
        for piece in filter(None, data.split(b"</%b>" % name)[:-1]):  # nothing: one that was too large
            before, start, inside = piece.rpartition(b"<%b>" % name)
            if name == RECORD and before.strip():
                yield from chain(parse(before, b"PubmedBookArticle"), parse(before, b"DeleteCitation"))
            if b"<%b>" % name in before:
                skipped.note(CUT, f"{where} (a record has no end)")
            try:
                yield etree.fromstring(b'<!DOCTYPE a SYSTEM "">%b%b</%b>' % (start, inside, name), parser)
            except etree.XMLSyntaxError as error:
                skipped.note(CUT, f"{where} ({error.msg.partition(' line ')[0].rstrip(',')})")

    for piece in cut_stream(path, END, SHARD_BYTES, LARGEST_TREE):
        for fault in piece.faults:
            skipped.note(*fault)
        where, data = f"{path} near byte {piece.stop}", piece.data or b""
        yield from parse(data, RECORD)
    rest = data.rpartition(END)[2]
    yield from chain(parse(rest, b"PubmedBookArticle"), parse(rest, b"DeleteCitation"))
    if CUT not in dict(piece.faults) and not rest.rstrip().endswith(b"</PubmedArticleSet>"):
        skipped.note(CUT, f"{path} ends too early")


def _targets(record: Any, options: Options) -> Iterator[str]:
    """Yield what a record cites: its references (their lists may be nested), then comments that are links.

    A reference leads to its PMID, else PMCID, else DOI; where it has none of them, to what its citation names in words.
    """
    data = record.find("PubmedData")
    for reference in () if data is None else data.iter("Reference"):
        names: list[str] = []
        for part in reversed(reference):  # the citation comes before the names: it counts if they are none
            if part.tag == "ArticleIdList":
                pmid = part[0].text if len(part) and part[0].get("IdType") == "pubmed" else ""  # of most; this is quick
                names = [pmid] if pmid and pmid.isdecimal() else _identifiers(part)
            elif part.tag == "Citation" and not names:
                names = papers.find_names(["".join(part.itertext()) if len(part) else part.text or ""])
        yield from names[:1]
    for comment in record.iterfind("MedlineCitation/CommentsCorrectionsList/CommentsCorrections"):
        target = comment.findtext("PMID")
        if target and (options.comments or comment.get("RefType") == "Cites"):
            yield target.strip()


def _identifiers(ids: Any) -> list[str]:
    """Return the PMID, PMCID and DOI of an ArticleIdList."""
    return papers.find_names(f"{papers.KINDS.get(each.get('IdType'), '')}{each.text or ''}" for each in ids)


def _section(part: Any) -> str:
    """Write a part of an abstract with its label: <AbstractText Label="RESULTS">Few.</...> -> "RESULTS: Few.".

    A label alone is text where it says more than a heading does: "LEVEL OF EVIDENCE: 4".
    """
    text, label = _text(part), " ".join(part.get("Label", "").split())
    if not text:
        return label if re.search(r"\d|:\s*\S|\b[IV]+$", label) else ""
    return f"{label}: {text}" if label and label != "UNLABELLED" else text


def _text(element: Any) -> str:
    """Join an element's text, inline marks left out, superscripts and formulas in plain text, white space folded."""
    if element is None:
        return ""
    if len(element) == 0:
        return " ".join((element.text or "").split())
    pieces: list[str] = []
    waiting = [element]  # nodes, and the texts behind them; a stack, as marks may be nested to any depth
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            pieces.append(each)
        elif papers.local(each) == "math":
            pieces.append(papers.write_formula(each))
        elif isinstance(each.tag, str):
            marks = papers.superscript("".join(pieces[-4:]), each) if each.tag == "sup" else ("", "")
            pieces += [marks[0], each.text or ""]
            waiting.append(marks[1])
            for child in reversed(each):
                waiting += [child.tail or "", child]
    return " ".join("".join(pieces).split())


def _date(record: Any) -> tuple[int, int]:
    """Return when a record was published: the journal's date, else that of the article, else when PubMed had it."""
    dates = (papers.read_date(each) for path in DATES for each in record.iterfind(path))
    return next((date for date in dates if date != papers.UNDATED), papers.UNDATED)


READER = Reader(plan=plan, read=read, options=Options, inside=(".xml",), marks=(b"<PubmedArticleSet",), latest=True)
