"""What PubMed and JATS share: the names of papers, months of publication, superscripts and formulas as plain text."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import unquote

from linkbert.corpora.reader import option

MONTHS = {name: i for i, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}  # noqa: SIM905
SEASONS = {"winter": 1, "spring": 4, "summer": 7, "autumn": 10, "fall": 10}
UNDATED = (9999, 12)
TOO_LATE = "not published before --before, or of unknown date"
XML = {"huge_tree": True, "resolve_entities": False, "no_network": True, "remove_comments": True, "remove_pis": True}


@dataclass(frozen=True, slots=True)
class Options:
    """Which papers a user wants."""

    before: str = option("", "only what was published before this month, such as 2020-02")

    def __post_init__(self) -> None:
        if self.before:
            year_and_month(self.before)


def year_and_month(text: str) -> tuple[int, int]:
    """Read a month: "2020-02" -> (2020, 2)."""
    if not (found := re.fullmatch(r"(\d{4})-(0?[1-9]|1[0-2])", text)):
        raise ValueError(f"{text!r} is not a month such as 2020-02")
    return int(found[1]), int(found[2])


def read_date(place: Any) -> tuple[int, int]:
    """Return the (year, month) of a date's element; a year alone counts as its December, no date as UNDATED."""
    parts = {local(part).lower(): (part.text or "").strip().lower() for part in place.iterfind("*")}
    year, month, season = (parts.get(tag, "") for tag in ("year", "month", "season"))
    free = parts.get("medlinedate") or parts.get("string-date") or ""
    if not year and (found := re.search(r"\b(1[5-9]|20)\d\d\b", free)):
        year, month, season = found[0], free[found.end() :].split("-")[0], free
    if not year.isdecimal():
        return UNDATED
    by_season = next((number for word, number in SEASONS.items() if word in season), 12)
    return int(year[:9]), int(month[:9]) if month.isdecimal() else MONTHS.get(month.strip()[:3], by_season)


# ---- names

_HINT = re.compile(r"10\.\d|PM|pmid|pmc|ub[mM]ed|/MED/")  # without one there is no name: most texts
KINDS = {"pmid": "PMID:", "pubmed": "PMID:", "medline": "PMID:", "pmc": "PMCID:", "pmcid": "PMCID:", "doi": "DOI:"}
_NAME = re.compile(
    r"(?:\bDOI:?\s*|doi\.org/|(?<![\d.])(?=10\.\d{4}))(?P<doi>10\.\d+(?:\.\d+)*/[^\s\"“”]+)"
    r"|(?:\bPMID:?\s*|\bPubMed(?: PMID| ID)?:\s*|/pubmed/|/MED/|//pubmed\.ncbi\.nlm\.nih\.gov/)(?P<pmid>\d{1,9})\b"
    r"|(?:\bPMCID:?\s*(?:PMC)?|/articles/PMC)(?P<pmc>\d{1,9})\b",
    re.IGNORECASE,
)


def find_names(texts: Iterable[str]) -> list[str]:
    """Find the first PMID, PMCID and DOI that texts or addresses name, and write each in its one form, in this order.

    >>> find_names(["PMID: 21", "see https://www.doi.org/10.1000%2FOne."])
    ['21', 'doi:10.1000/one']
    """
    names: dict[str, str] = {}
    for text in texts:
        text = unquote(text) if "%" in text else text
        if (hint := _HINT.search(text)) is None:
            continue
        for found in _NAME.finditer(text, max(hint.start() - 8, 0)):
            names.setdefault(str(found.lastgroup), found[found.lastgroup or 0])
    found_names = [names["pmid"]] if "pmid" in names else []
    if "pmc" in names:
        found_names.append(f"PMC{names['pmc']}")
    if doi := names.get("doi", "").lower().rstrip(".,;:"):
        while doi[-1] in ")]" and doi.count(doi[-1]) > doi.count("(" if doi[-1] == ")" else "["):
            doi = doi[:-1].rstrip(".,;:")
        found_names.append(f"doi:{doi}")
    return found_names


# ---- text


def local(element: Any) -> str:
    """Return an element's name without its namespace, "" for what is no element."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


_SIGNED, _NUMBERS = re.compile(r"[-+−–±]\s?\w.*"), re.compile(r"\d[\d,.;−–-]*")


def superscript(before: str, element: Any) -> tuple[str, str]:
    """Return what to write around a superscript, given the text before it, so that it joins neither number nor word.

    "10", 6 -> "10^6"; "m", -2 -> "m^-2"; "report", 34 (a mark of the literature) -> "report [34]"; "CD4", + -> "CD4+".
    """
    inside = "".join(islice(element.itertext(), 8)).strip()
    number, word = _NUMBERS.fullmatch(inside), re.search(r"[a-z]{4}$", before)
    if word and number and inside not in ("2", "3"):  # "height^2" is none
        return " [", "]"
    if (before[-1:].isalnum() and _SIGNED.fullmatch(inside)) or (number and (word or re.search(r"[\d)\]]$", before))):
        return "^", ""
    return ("[", "]") if number and re.search(r"[a-z)][.,;:]$", before) else ("", "")


_BETWEEN = {"msup": "^", "msub": "_", "mover": "^", "munder": "_", "msubsup": "_^", "munderover": "_^", "mfrac": "/"}
_RELATIONS, _UNSEEN = frozenset("=<>≤≥≈∼~≠→∈×±"), re.compile("[\u200b\u2061-\u2064\ufeff]")


def write_formula(element: Any) -> str:
    """Write MathML in a line, "x^2/(n+1)", or else TeX as it is, "$x^2$"; "" for what is neither, such as a picture."""
    math, tex = (next(element.iter(tag), None) for tag in ("{*}math", "{*}tex-math"))
    if math is None:
        source = "".join(tex.itertext()) if tex is not None else ""
        body = source.partition(r"\begin{document}")[2].partition(r"\end{document}")[0] or source
        return f"${' '.join(body.split()).strip('$ ')}$" if body.strip() else ""
    parts = [*math.iterdescendants("{*}*")]
    for each in parts:
        each.text, each.tail = "" if "annotation" in each.tag else (each.text or "").strip(), ""
    for each in parts:
        tag, marks = local(each), _BETWEEN.get(local(each), "")
        for child, mark in zip(each, marks, strict=False):
            child.tail = mark
        for group in each if marks else [each] if tag in ("mfenced", "msqrt") else ():
            if len(group) > (tag != "mfenced") + (len(group) and group[0].text in ("-", "−")):
                group.text, group[-1].tail = "(", ")"
        if marks and not each.tail and (behind := each.getnext()) is not None and next(behind.itertext(), "").isalnum():
            each.tail = " "  # "x_1 y", not "x_1y"
        if tag == "msqrt":
            each.text = f"√{each.text}"
        elif tag in ("mtext", "mtd", "mspace") or (tag == "mi" and len(each.text) > 1) or each.text in _RELATIONS:
            each.text = f" {each.text} "
    return re.sub(r"\s+(?=[\s,;.)_^])", "", _UNSEEN.sub("", "".join(math.itertext()))).strip()
