"""PubMed's baseline and update files (PubmedArticleSet XML; .xml.gz or any other compression) to Documents.

A record's title and abstract are its text, its references links of the whole document, to a PMID, or else a DOI or a
PMCID: so a record's own are Redirects to its PMID. A file is a shard. Newer versions replace older ones and deletions
delete, in the order of the files, when the build ends. Entities of a DOCTYPE are not expanded and nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkbert.corpora.reader import CUT, EMPTY, Deletion, FaultError, Reader, Record, Shard, Skipped, option
from linkbert.files import CutFileError, decompressed_blocks
from linkbert.records import Document, Link, Redirect

MONTHS = {name: i for i, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}  # noqa: SIM905
SEASONS = {"winter": 1, "spring": 4, "summer": 7, "autumn": 10, "fall": 10}
XML = {"huge_tree": True, "resolve_entities": False, "no_network": True, "remove_comments": True, "remove_pis": True}
DATES = (
    "MedlineCitation/Article/Journal/JournalIssue/PubDate",
    "MedlineCitation/Article/ArticleDate",
    "PubmedData/History/PubMedPubDate[@PubStatus='pubmed']",
)
UNNAMED = ("[Not Available].", "[Not Available]")  # what stands for a missing title


@dataclass(frozen=True, slots=True)
class Options:
    """Which records a user wants, and which of their links."""

    before: str = option("", "only what was published before this month, such as 2020-02")
    min_words: int = option(0, "only abstracts of so many words or more")
    comments: bool = option(False, "comments and errata are links too")

    def __post_init__(self) -> None:
        if self.before:
            year_and_month(self.before)


def year_and_month(text: str) -> tuple[int, int]:
    """Read a month: "2020-02" -> (2020, 2)."""
    if not (found := re.fullmatch(r"(\d{4})-(0?[1-9]|1[0-2])", text)):
        raise ValueError(f"{text!r} is not a month such as 2020-02")
    return int(found[1]), int(found[2])


def plan(path: Path, _: Options) -> Iterator[Shard]:
    """Make a shard of a file; ValueError if it is not one of PubMed's."""
    head = next(decompressed_blocks(path), (b"", 0))[0]
    if not head:
        raise FaultError(EMPTY, f"{path} is empty: there is no record in it, download it again")
    if b"<PubmedArticleSet" not in head:
        raise ValueError(f"{path} is not a PubMed file (it does not start with <PubmedArticleSet>)")
    return iter([Shard.whole(path)])


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
    version = int(written) if written.isdecimal() else 1
    if version < newest.get(pmid, (1, False))[0]:
        skipped["older version"] += 1
        return
    abstract = [line for part in article.iterfind("Abstract/AbstractText") if (line := _section(part))]
    cause = ""
    if options.min_words and sum(len(line.split()) for line in abstract) < options.min_words:
        cause = "fewer words than --min-words"
    elif options.before and not _date(record) < year_and_month(options.before):
        cause = "not published before --before, or of unknown date"
    if version > 1:
        newest[pmid] = version, bool(cause)
    if cause:
        skipped[cause] += 1
        return
    title = _text(article.find("ArticleTitle"))
    title = "" if title in UNNAMED else title
    text = "\n".join([title, *abstract] if title else abstract)
    yield Document(pmid, title or pmid, text, tuple(Link(-1, -1, target) for target in _targets(record, options)))
    yield from (Redirect(alias, pmid) for alias in aliases(_identifiers(record.find("PubmedData/ArticleIdList"))))


def _read_elements(path: Path, skipped: Skipped) -> Iterator[Any]:
    """Yield the records of a file one by one; where it is damaged, those before the damage."""
    from lxml import etree

    parser = etree.XMLPullParser(("end",), tag=("PubmedArticle", "PubmedBookArticle", "DeleteCitation"), **XML)
    where = f"{path} ends too early"
    try:
        for block, position in decompressed_blocks(path):
            where = f"{path} near byte {position}"
            parser.feed(block)
            for _, element in parser.read_events():
                yield element
                element.clear()
                while element.getprevious() is not None:  # else the finished ones hang on their parent
                    del element.getparent()[0]
        where = f"{path} ends too early"
        parser.close()
    except etree.XMLSyntaxError as error:
        yield from (element for _, element in parser.read_events())
        skipped.note(CUT, f"{where} ({error.msg.partition(' line ')[0].rstrip(',')})")
    except CutFileError as error:
        skipped.note(CUT, f"{path} ({error})")


def _targets(record: Any, options: Options) -> Iterator[str]:
    """Yield what a record cites: its references (their lists may be nested), then comments that are links."""
    data = record.find("PubmedData")
    for reference in () if data is None else data.iter("Reference"):
        ids = _identifiers(reference.find("ArticleIdList"))
        pmid = ids.get("pubmed") or ids.get("pmid")
        yield from [pmid] if pmid else aliases(ids)[:1]
    for comment in record.iterfind("MedlineCitation/CommentsCorrectionsList/CommentsCorrections"):
        target = comment.findtext("PMID")
        if target and (options.comments or comment.get("RefType") == "Cites"):
            yield target.strip()


def _identifiers(ids: Any) -> dict[str, str]:
    """Return what an ArticleIdList holds by its kind, {"doi": "10.1/A"}; {} for None."""
    return {} if ids is None else {each.get("IdType"): each.text.strip() for each in ids if each.text}


def aliases(ids: dict[str, str]) -> list[str]:
    """Write a DOI and a PMCID in one form each: {"doi": "10.1/A", "pmc": "pmc7"} -> ["doi:10.1/a", "PMC7"]."""
    doi, pmc = ids.get("doi", "").lower(), (ids.get("pmc") or ids.get("pmcid") or "").upper()
    found = ["doi:" + re.sub(r"^(?:https?://(?:dx\.)?doi\.org/|doi:)\s*", "", doi)] if doi else []
    return found + ([f"PMC{pmc.removeprefix('PMC')}"] if pmc else [])


def _section(part: Any) -> str:
    """Write a part of an abstract with its label: <AbstractText Label="RESULTS">Few.</...> -> "RESULTS: Few."."""
    text, label = _text(part), " ".join(part.get("Label", "").split())
    return f"{label}: {text}" if text and label and label != "UNLABELLED" else text


def _text(element: Any) -> str:
    """Join an element's text, inline marks and formulas left out, white space folded; "" for None."""
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
        elif isinstance(each.tag, str) and not each.tag.endswith("}math"):
            pieces.append(each.text or "")
            for child in reversed(each):
                waiting += [child.tail or "", child]
    return " ".join("".join(pieces).split())


def _date(record: Any) -> tuple[int, int]:
    """Return when a record was published: (year, month); a year alone counts as its December, no date as never.

    The journal's date comes first, then that of the article, then when PubMed had it.
    """
    for place in (each for path in DATES for each in record.iterfind(path)):
        parts = {part.tag: (part.text or "").strip().lower() for part in place.iterfind("*")}
        year, month, season, free = (parts.get(tag, "") for tag in ("Year", "Month", "Season", "MedlineDate"))
        if not year and (found := re.search(r"\b(1[5-9]|20)\d\d\b", free)):
            year, month, season = found[0], free[found.end() :].split("-")[0], free
        if year.isdecimal():
            name = month.strip()[:3]
            by_season = next((number for word, number in SEASONS.items() if word in season), 12)
            return int(year), int(month) if month.isdecimal() else MONTHS.get(name, by_season)
    return 9999, 12


READER = Reader(plan=plan, read=read, options=Options, inside=(".xml",), marks=(b"<PubmedArticleSet",), latest=True)
