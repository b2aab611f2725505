"""PubMed's baseline and update files (PubmedArticleSet XML; .xml.gz or any other compression) to Documents.

A record comes in; its title and abstract come out, a line each, with its references as links of the whole document. A
file is a shard: it holds at most 30,000 records, and what a record means depends on the files before it. Newer versions
of a record replace older ones and deletions delete, in the order of the files; that is settled when the build ends.

A citation names a PMID, or else a DOI or a PMCID; so a record's own DOI and PMCID are Redirects to its PMID. Entities
that a DOCTYPE declares are not expanded and nothing is fetched.

Most of a record is of no use here (authors, dates, headings), and a tree of it costs more than all else. So a record is
cut out by its tags and the parts wanted are looked up in its bytes; they must be where the DTD has them, written as the
National Library of Medicine writes them. Where anything differs, a real parser reads the record instead; it reads
everything between the records, too, and the whole file where its head is unusual or tags may stand in a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import unescape

from lxml import etree

from linkbert.corpora.reader import CUT, Deletion, Reader, Record, Shard, Skipped, option
from linkbert.files import CutFileError, decompressed_blocks, source_path, source_size
from linkbert.records import Document, Link, Redirect

MONTHS = {name: i for i, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}  # noqa: SIM905
SEASONS = {"winter": 1, "spring": 4, "summer": 7, "autumn": 10, "fall": 10}
UNNAMED = ("[Not Available].", "[Not Available]")  # what stands for a title that is not there
_XML = {"huge_tree": True, "resolve_entities": False, "no_network": True, "remove_comments": True, "remove_pis": True}
_PARSER = etree.XMLParser(**_XML)

# How a file is written. Where a tag stands that should not, it is the last group of a pattern, "(<)".
_BEGIN, _END = b"<PubmedArticle>", b"</PubmedArticle>"
_LONG = 1 << 24  # bytes; more are not held only to see a record end
_HEAD = re.compile(
    rb"""(?:\xef\xbb\xbf)?(?:<\?xml version=["']1.0["'](?: encoding=["']utf-8["'])?(?: standalone=["']\w+["'])?\s*"""
    rb"""\?>)?\s*(?:<!DOCTYPE [^<>\[]*>)?\s*<PubmedArticleSet>\s*""",
    re.IGNORECASE,
)
_ODD = re.compile(rb"<[!?]|<PubmedArticle[\s/>]|</PubmedArticleSet")  # between records
_ATTRIBUTES = rb'(?: \w+="[^"<>]*")*'
_FRONT = re.compile(
    rb'<PubmedArticle>\s*<MedlineCitation%b>\s*<PMID(?: Version="(\d+)")?>(\d+)</PMID>'
    rb"(?:\s*</?(?:Date\w+|Year|Month|Day)>\s*\d*)*\s*<Article%b>" % (_ATTRIBUTES, _ATTRIBUTES)
)
_PIECE = re.compile(
    rb"<(ArticleTitle|AbstractText)(%b)>([^<]*(?:<(?!/\1>)[^<]*)*)</\1>"
    rb"|<CopyrightInformation>[^<]*</CopyrightInformation>|(<)" % _ATTRIBUTES
)
_DATA = re.compile(rb"</MedlineCitation>\s*(?:<PubmedData>|</PubmedArticle>)")
_LABEL = re.compile(rb' Label="([^"]*)"')
_MARK, _UNKNOWN = re.compile(r"</?(?:i|b|u|sub|sup)>"), re.compile(r"<|&(?!(?:amp|lt|gt);)")
_REFERENCE = re.compile(
    rb"<Reference>\s*(?:<Citation>[^<]*(?:</?(?:i|b|u|sub|sup)>[^<]*)*</Citation>\s*)?"
    rb"(?:<ArticleIdList>((?:\s*<ArticleId [^<>]+>[^<]*</ArticleId>)*)\s*</ArticleIdList>\s*)?</Reference>"
    rb"|</?ReferenceList>|<Title>[^<]*</Title>|(<)"
)
_FINISH = re.compile(rb"</ReferenceList>\s*</PubmedData>\s*</PubmedArticle>")
_IDENTIFIER, _PUBMED = (
    re.compile(rb'<ArticleId IdType="(\w+)">([^<]+)</ArticleId>|(<)'),
    re.compile(rb'"pubmed">(\d+)<'),
)
_DATE = re.compile(rb'<(PubDate|ArticleDate|PubMedPubDate)(?: DateType="\w+"| PubStatus="pubmed")?>.*?</\1>', re.S)


@dataclass(frozen=True, slots=True)
class Options:
    """Which records a user wants, and which of their links."""

    before: str = option("", "only what was published before this month, such as 2020-02")
    min_words: int = option(0, "only abstracts of so many words or more")
    comments: bool = option(False, "comments and errata are links too")

    def __post_init__(self) -> None:
        self.before and year_and_month(self.before)


def year_and_month(text: str) -> tuple[int, int]:
    """Read a month: "2020-02" -> (2020, 2)."""
    found = re.fullmatch(r"(\d{4})-(0?[1-9]|1[0-2])", text)
    if not found:
        raise ValueError(f"{text!r} is not a month such as 2020-02")
    return int(found[1]), int(found[2])


class Fields(NamedTuple):
    """What is read of a record."""

    pmid: str
    version: int
    title: str
    abstract: list[str]
    comments: list[tuple[str | None, str]]  # their kind and PMID; "Cites" is one
    aliases: list[str]
    references: list[str]
    dates: list[dict[str, str]]  # {"Year": "2019", "Month": "Nov"}: the journal's, the article's, PubMed's


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
    newest: dict[str, tuple[int, bool]] = {}  # version, and whether it is left out: of records that have several
    for found in _read_file(source_path(shard.path), options, skipped):
        if isinstance(found, Deletion):
            yield found
            continue
        if found.version < newest.get(found.pmid, (1, False))[0]:
            skipped["older version"] += 1
            continue
        cause = _filter(found, options)
        if found.version > 1:
            newest[found.pmid] = found.version, bool(cause)
        if cause:
            skipped[cause] += 1
        else:
            yield from _write(found, options)
    # Else an older version, in this file or one before it, would stay.
    yield from (Deletion(pmid) for pmid, (_, left_out) in newest.items() if left_out)


def _filter(found: Fields, options: Options) -> str:
    """Say why the user's options leave a record out; "" if they do not."""
    if options.min_words and sum(len(line.split()) for line in found.abstract) < options.min_words:
        return "fewer words than --min-words"
    if options.before and not _date(found.dates) < year_and_month(options.before):
        return "not published before --before, or of unknown date"
    return ""


def _write(found: Fields, options: Options) -> Iterator[Document | Redirect]:
    comments = (pmid for kind, pmid in found.comments if kind == "Cites" or options.comments)
    links = tuple(Link(-1, -1, target) for target in (*found.references, *comments))
    title = "" if found.title in UNNAMED else found.title
    text = "\n".join([title, *found.abstract] if title else found.abstract)
    yield Document(found.pmid, title or found.pmid, text, links)
    yield from (Redirect(alias, found.pmid) for alias in found.aliases)


def _read_file(path: Path, options: Options, skipped: Skipped) -> Iterator[Fields | Deletion]:
    parser = etree.XMLPullParser(("end",), tag=("PubmedArticle", "PubmedBookArticle", "DeleteCitation"), **_XML)
    quick: bool | None = None  # whether records may be read without the parser
    damage = ""
    try:
        for part, position in _cut(path):
            is_record = part.endswith(_END)
            if quick and is_record:
                try:
                    yield _scan(part, dates=bool(options.before))
                    continue
                except (ValueError, etree.XMLSyntaxError):
                    pass  # the parser reads it, and says if it is broken
            elif quick and part.isspace():
                continue
            elif quick:
                quick = len(part) < _LONG and not _ODD.search(part)
            elif quick is None:
                quick = _HEAD.fullmatch(part) is not None
            try:
                parser.feed(part)
            except etree.XMLSyntaxError as error:
                damage = f"{path} near byte {position} ({error.msg.partition(' line ')[0].rstrip(',')})"
            elements = [element for _, element in parser.read_events()]
            for element in elements:
                yield from _read_element(element, skipped)
                element.clear()
                while element.getprevious() is not None:  # else the finished ones hang on their parent
                    del element.getparent()[0]
            if damage:  # what came before it is read
                skipped.note(CUT, damage)
                return
            quick = quick and (not is_record or len(elements) == 1)  # else its end tag was part of a comment
        parser.close()
    except etree.XMLSyntaxError as error:
        skipped.note(CUT, f"{path} ends too early ({error.msg.partition(' line ')[0].rstrip(',')})")
    except CutFileError as error:
        skipped.note(CUT, f"{path} ({error})")


def _cut(path: Path) -> Iterator[tuple[bytes, int]]:
    """Cut a file into records and what is before, between and behind them, each with the position in the file."""
    pending = b""
    for block, position in decompressed_blocks(path):
        at, seen = 0, max(len(pending) - len(_END), 0)
        pending += block
        while (stop := pending.find(_END, max(at, seen))) >= 0:
            start = max(pending.rfind(_BEGIN, at, stop), at)
            yield from ((part, position) for part in (pending[at:start], pending[start : stop + len(_END)]) if part)
            at = stop + len(_END)
        pending = pending[at:]
        if len(pending) > _LONG:
            yield pending, position
            pending = b""
    if pending:
        yield pending, position


def _scan(record: bytes, *, dates: bool) -> Fields:
    """Look up the fields of a record that is written as usual; where it is not, a ValueError or XMLSyntaxError."""
    front = _FRONT.match(record)
    if not front or (b"!" in record and b"<!" in record) or (b"?" in record and b"<?" in record):
        raise ValueError
    title = record.index(b"<ArticleTitle", front.end())
    title_stop = record.index(b"</ArticleTitle>", title) + len(b"</ArticleTitle>")
    article_stop = record.index(b"</Article>", title_stop)
    citation_stop = record.index(b"</MedlineCitation>", article_stop)
    if not _DATA.match(record, citation_stop):
        raise ValueError
    [heading] = _find_all(_PIECE, record, title, title_stop)
    pieces = _find_all(_PIECE, record, *_span(record, b"Abstract", title_stop, article_stop))
    start, stop = _span(record, b"CommentsCorrectionsList", article_stop, citation_stop)
    comments = _comments(etree.fromstring(b"<X>%b</X>" % record[start:stop], _PARSER)) if stop > start else []
    cited: list[str] = []
    references = record.find(b"<ReferenceList", citation_stop)
    if references < 0:
        references = len(record)
    else:
        finish = record.rindex(b"</ReferenceList>")
        if not _FINISH.fullmatch(record, finish):
            raise ValueError
        for identifiers, _ in _find_all(_REFERENCE, record, references, finish):
            if pmids := _PUBMED.findall(identifiers):
                cited.append(pmids[-1].decode())
            elif identifiers:
                cited += _target(_scan_identifiers(identifiers))
    start, stop = _span(record, b"ArticleIdList", citation_stop, references)
    places = _DATE.finditer(record, front.end(), references) if dates else ()
    return Fields(
        front[2].decode(),
        int(front[1] or 1),
        _scan_text(*heading),
        [line for piece in pieces if (line := _scan_text(*piece))],
        comments,
        aliases(_scan_identifiers(record[start:stop])),
        cited,
        [_place(etree.fromstring(place[0], _PARSER)) for place in places],
    )


def _span(record: bytes, name: bytes, start: int, stop: int) -> tuple[int, int]:
    """Say where the content of the first element of a name starts and stops; there it may have no attributes."""
    at = record.find(b"<" + name, start, stop)
    if at < 0:
        return start, start
    inside = at + len(name) + 2
    if record[inside - 1 : inside] != b">":
        raise ValueError
    return inside, record.index(b"</" + name + b">", inside, stop)


def _find_all(pattern: re.Pattern[bytes], record: bytes, start: int, stop: int) -> list[tuple[bytes, ...]]:
    found = pattern.findall(record, start, stop)
    if any(groups[-1] for groups in found):
        raise ValueError  # a tag that should not be there
    return found


def _scan_text(_: bytes, attributes: bytes, inside: bytes, __: bytes) -> str:
    """Write a title or a part of an abstract as `_section` does."""
    text, label = inside.decode(), attributes and _LABEL.search(attributes)
    if "<" in text:
        text = _MARK.sub("", text)
    odd = b"&" in attributes or (("<" in text or "&" in text) and _UNKNOWN.search(text))
    if "  " in text or not text.isprintable():
        text = " ".join(text.split())
    if odd or not text.isprintable():
        return _section(etree.fromstring(b"<X%b>%b</X>" % (attributes, inside), _PARSER))
    return _labelled(unescape(text).strip(), label[1].decode() if label else "")


def _scan_identifiers(inside: bytes) -> dict[str, str]:
    if b"&" in inside:
        return _identifiers(etree.fromstring(b"<X>%b</X>" % inside, _PARSER))
    found = _find_all(_IDENTIFIER, inside, 0, len(inside))
    return {kind.decode(): text.decode().strip() for kind, text, _ in found}


def _read_element(element: Any, skipped: Skipped) -> Iterator[Fields | Deletion]:
    if element.tag == "DeleteCitation":
        yield from (Deletion(pmid.text.strip()) for pmid in element.iterfind("PMID") if pmid.text)
        return
    if element.tag == "PubmedBookArticle":
        skipped["book"] += 1
        return
    number, article = element.find("MedlineCitation/PMID"), element.find("MedlineCitation/Article")
    if number is None or article is None or not (number.text or "").strip():
        skipped.note("record without a PMID or an article", "?" if number is None else str(number.text))
        return
    abstract = [_section(part) for part in article.iterfind("Abstract/AbstractText")]
    comments, own = element.find("MedlineCitation/CommentsCorrectionsList"), element.find("PubmedData/ArticleIdList")
    # Lists of references may be nested.
    lists = [reference.find("ArticleIdList") for reference in element.iterfind("PubmedData//Reference")]
    places = [article.find("Journal/JournalIssue/PubDate"), article.find("ArticleDate")]
    places += element.findall("PubmedData/History/PubMedPubDate[@PubStatus='pubmed']")
    yield Fields(
        number.text.strip(),
        _number(number.get("Version", "1")),
        _text(article.find("ArticleTitle")),
        [line for line in abstract if line],
        [] if comments is None else _comments(comments),
        [] if own is None else aliases(_identifiers(own)),
        [target for each in lists if each is not None for target in _target(_identifiers(each))],
        [_place(place) for place in places if place is not None],
    )


def _place(place: Any) -> dict[str, str]:
    return {part.tag: (part.text or "").strip() for part in place.iterfind("*")}


def _comments(comments: Any) -> list[tuple[str | None, str]]:
    found = comments.iterfind("CommentsCorrections")
    targets = ((comment.get("RefType"), comment.findtext("PMID")) for comment in found)
    return [(kind, target.strip()) for kind, target in targets if target]


def _target(ids: dict[str, str]) -> list[str]:
    """Choose what a reference names: its PMID, or where there is none its DOI or PMCID; [] without any."""
    pmid = ids.get("pubmed") or ids.get("pmid")
    return [pmid] if pmid else aliases(ids)[:1]


def _identifiers(ids: Any) -> dict[str, str]:
    return {each.get("IdType"): each.text.strip() for each in ids if each.text}


def aliases(ids: dict[str, str]) -> list[str]:
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
    return _labelled(_text(part), part.get("Label", ""))


def _labelled(text: str, label: str) -> str:
    label = " ".join(label.split())
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


def _date(places: list[dict[str, str]]) -> tuple[int, int]:
    """Say when a record was published: (year, month); a year alone counts as its December, no date as never.

    The journal's date comes first, then that of the article, then when PubMed had it.
    """
    for place in places:
        year, month, season, free = (place.get(tag, "").lower() for tag in ("Year", "Month", "Season", "MedlineDate"))
        if not year and (found := re.search(r"\b(1[5-9]|20)\d\d\b", free)):
            year, month, season = found[0], free[found.end() :].split("-")[0], free
        if year.isdecimal():
            name = month.strip()[:3]
            by_season = next((number for word, number in SEASONS.items() if word in season), 12)
            return int(year), int(month) if month.isdecimal() else MONTHS.get(name, by_season)
    return 9999, 12


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 1


READER = Reader(plan=plan, read=read, options=Options, marks=(b"<PubmedArticleSet",), latest=True)
