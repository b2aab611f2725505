"""PubMed's baseline and update files (PubmedArticleSet XML; .xml.gz or any other compression) to Documents.

A record comes in; its title and abstract come out, a line each, with its references as links of the whole document. A
file is a shard: it holds at most 30,000 records, and what a record means depends on the files before it. Newer versions
of a record replace older ones and deletions delete, in the order of the files; that is settled when the build ends.

A citation names a PMID, or else a DOI or a PMCID; so a record's own DOI and PMCID are Redirects to its PMID. Entities
that a DOCTYPE declares are not expanded and nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from linkbert.corpora.reader import CUT, Deletion, Options, Reader, Record, Shard, Skipped
from linkbert.files import CutFileError, DecompressedFile, decompressed_blocks, source_path, source_size
from linkbert.records import Document, Link, Redirect

MONTHS = {name: i for i, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}  # noqa: SIM905
SEASONS = {"winter": 1, "spring": 4, "summer": 7, "autumn": 10, "fall": 10}
UNNAMED = ("[Not Available].", "[Not Available]")  # what stands for a title that is not there


def plan(path: Path, _: Options) -> Iterator[Shard]:
    """Make a shard of a file; ValueError if it is not one of PubMed's."""
    head = next(decompressed_blocks(path), (b"", 0))[0]
    if not head:
        raise ValueError(f"{path} is empty: there is no record in it, download it again")
    if b"<PubmedArticleSet" not in head:
        raise ValueError(f"{path} is not a PubMed file (it does not begin with <PubmedArticleSet>)")
    return iter([Shard(str(path), 0, source_size(path))])


def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read the records of a file; what is skipped is counted in `skipped` by its cause."""
    newest: dict[str, int] = {}  # of the records in this file that have several versions
    events = etree.iterparse(
        DecompressedFile(source_path(shard.path)),
        tag=("PubmedArticle", "PubmedBookArticle", "DeleteCitation"),
        huge_tree=True,
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        for _, element in events:
            if element.tag == "PubmedArticle":
                yield from _read_record(element, options, newest, skipped)
            elif element.tag == "DeleteCitation":
                yield from (Deletion(pmid.text.strip()) for pmid in element.iterfind("PMID") if pmid.text)
            else:
                skipped["book"] += 1
            element.clear()
            while element.getprevious() is not None:  # else the finished ones hang on their parent
                del element.getparent()[0]
    except (etree.XMLSyntaxError, CutFileError) as error:
        skipped.note(CUT, f"{shard.path} ({error})")


def _read_record(
    record: Any, options: Options, newest: dict[str, int], skipped: Skipped
) -> Iterator[Document | Redirect]:
    citation, data = record.find("MedlineCitation"), record.find("PubmedData")
    number, article = (None, None) if citation is None else (citation.find("PMID"), citation.find("Article"))
    if number is None or article is None or not (number.text or "").strip():
        skipped.note("record without a PMID or an article", "?" if number is None else str(number.text))
        return
    pmid = number.text.strip()
    version = _number(number.get("Version", "1"))
    if version < newest.get(pmid, 1):
        skipped["older version"] += 1
        return
    if version > 1:
        newest[pmid] = version
    title = _text(article.find("ArticleTitle"))
    title = "" if title in UNNAMED else title
    lines = [_section(part) for part in article.iterfind("Abstract/AbstractText")]
    abstract = [line for line in lines if line]
    if options.min_words and sum(len(line.split()) for line in abstract) < options.min_words:
        skipped["fewer words than --min-words"] += 1
        return
    if options.before and not _date(article, data) < options.before:
        skipped["not published before --before, or of unknown date"] += 1
        return
    links = [] if data is None else _references(data)
    for comment in citation.iterfind("CommentsCorrectionsList/CommentsCorrections"):
        target = comment.find("PMID")
        if target is not None and target.text and (comment.get("RefType") == "Cites" or options.comments):
            links.append(target.text.strip())
    text = "\n".join([title, *abstract] if title else abstract)
    yield Document(pmid, title or pmid, text, tuple(Link(-1, -1, target) for target in links))
    own = None if data is None else data.find("ArticleIdList")
    if own is not None:
        yield from (Redirect(alias, pmid) for alias in _aliases(_identifiers(own)))


def _references(data: Any) -> list[str]:
    """List what a record cites, in order: PMIDs, or where there is none a DOI or a PMCID; lists may be nested."""
    targets: list[str] = []
    for reference in data.iter("Reference"):
        ids = reference.find("ArticleIdList")
        if ids is not None:
            found = _identifiers(ids)
            pmid = found.get("pubmed") or found.get("pmid")
            targets += [pmid] if pmid else _aliases(found)[:1]
    return targets


def _identifiers(ids: Any) -> dict[str, str]:
    return {each.get("IdType"): each.text.strip() for each in ids if each.text}


def _aliases(ids: dict[str, str]) -> list[str]:
    """Write a DOI and a PMCID in one form each: {"doi": "10.1/A", "pmc": "pmc7"} -> ["doi:10.1/a", "PMC7"]."""
    found = []
    doi, pmc = ids.get("doi", "").lower(), (ids.get("pmc") or ids.get("pmcid") or "").upper()
    if doi:
        found.append("doi:" + (doi if doi[0] == "1" else re.sub(r"^(?:https?://(?:dx\.)?doi\.org/|doi:)\s*", "", doi)))
    if pmc:
        found.append(pmc if pmc.startswith("PMC") else f"PMC{pmc}")
    return found


def _section(part: Any) -> str:
    """Write a part of an abstract with its label: <AbstractText Label="RESULTS">Few.</...> -> "RESULTS: Few."."""
    text, label = _text(part), part.get("Label", "").strip()
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


def _date(article: Any, data: Any) -> tuple[int, int]:
    """Say when a record was published: (year, month); a year alone counts as its December, no date as never.

    The journal's date comes first, then that of the article, then when PubMed had it.
    """
    places = [article.find("Journal/JournalIssue/PubDate"), article.find("ArticleDate")]
    places += [] if data is None else data.findall("History/PubMedPubDate[@PubStatus='pubmed']")
    for place in places:
        if place is None:
            continue
        year, month, season, free = (
            (place.findtext(tag) or "").strip().lower() for tag in ("Year", "Month", "Season", "MedlineDate")
        )
        if not year and (found := re.search(r"\b(1[5-9]|20)\d\d\b", free)):
            year, month, season = found[0], free[found.end() :].split("-")[0], free
        if year.isdecimal():
            name = month.strip()[:3]
            by_season = next((number for word, number in SEASONS.items() if word in season), 12)
            return int(year), int(month) if month.isdecimal() else MONTHS.get(name, by_season)
    return 9999, 12


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 1


READER = Reader(plan, read, marks=(b"<PubmedArticleSet",), latest=True)
