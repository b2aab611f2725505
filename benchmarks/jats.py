"""Words that JATS's marks join, and the places of citations: `python benchmarks/jats.py FOLDER... [--examples 20]`.

The rule is the XML's own, apart from the reader. Two runs of letters and digits are *separate* where one ends and the
other starts, with nothing between them but
    mark      an edge of a citation: an `xref` to an entry of the reference list
    block     an edge of an element that is no inline mark (a paragraph), or such an element whole, or a whole formula
    exponent  the start of a `sup` of digits behind a digit ("10<sup>6</sup>")
    bare      the start of a `sup` of digits behind a word of four small letters or more (a mark without an `xref`)
They are *joined* if the reader's text has the two as one word more often than the XML has that word anywhere else. A
letter behind a year ("2001<xref>a</xref>") is no joined word. Links are checked, too: text[start:end] is the anchor.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from linkbert.corpora.reader import Skipped
from linkbert.corpora.sources import read_source
from linkbert.records import Document

INLINE = set(
    "abbrev bold chem-struct email ext-link fixed-case institution institution-wrap italic milestone-end "  # noqa: SIM905
    "milestone-start monospace named-content overline roman rp ruby sans-serif sc source strike styled-content sub sup "
    "textual-form underline uri xref year".split()
)
UNREAD = {"ref-list", "fn", "ack", "bio", "glossary", "object-id", "sec-meta", "math", "tex-math"}  # not looked into
KINDS = ("mark", "block", "exponent", "bare")
LAST, FIRST = re.compile(r"[^\W_]+$"), re.compile(r"[^\W_]+")
YEAR, NUMBERS = re.compile(r"(?:1[5-9]|20)\d\d"), re.compile(r"[\d,;–\- ]*\d[\d,;–\- ]*")
Piece = tuple[str, str, int]  # text; else "" with the kind of an edge and +1 (a start) or -1 (an end)


def pieces(root: Any, cited: set[str]) -> Iterator[Piece]:
    """Yield the texts of an element and the edges between them, in order."""
    yield root.text or "", "", 0
    for child in root:
        tag = etree.QName(child).localname if isinstance(child.tag, str) else ""
        inside = "".join(child.itertext()) if tag == "sup" else ""
        kind = "" if tag in INLINE else "block"
        if tag == "xref" and cited & set((child.get("rid") or "").split()):
            kind = "mark"
        elif tag == "sup" and NUMBERS.fullmatch(inside):
            kind = "sup"
        elif tag == "inline-formula":
            kind = "formula"
        yield "", kind, 1
        if tag and tag not in UNREAD:
            yield from pieces(child, cited)
        yield "", kind, -1
        yield child.tail or "", "", 0


def separate(parts: list[Piece]) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, left, right) of the runs that stand apart though no white space is between them."""
    for number, (_, kind, side) in enumerate(parts):
        if not kind:
            continue
        before = "".join(text for text, _, _ in parts[max(0, number - 12) : number])
        found = LAST.search(before[-40:])
        left = found[0] if found else ""
        ends = [number] if kind != "formula" else []
        if side == 1 and kind in ("block", "formula"):  # the element whole, as if nothing of it were read
            depth, end = 1, number
            while depth:
                end += 1
                depth += parts[end][2] if parts[end][1] == kind else 0
            ends.append(end)
        for end in ends:
            after = next((text for text, _, _ in parts[end + 1 : end + 12] if text), "")
            if not left or not (right := FIRST.match(after)):
                continue
            if kind == "sup":
                if side == 1 and left[-1].isdigit():
                    yield "exponent", left, right[0]
                elif side == 1 and re.search(r"[a-z]{4}$", left):
                    yield "bare", left, right[0]
            elif not (YEAR.fullmatch(left) and right[0].isalpha()):
                yield "mark" if kind == "mark" else "block", left, right[0]


def joined(article: Any, text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, word) of the words in a reader's text that the XML has only as two."""
    cited = {each.get("id") for ref in article.iter("{*}ref") for each in ref.iter()} - {None}
    have = Counter(re.findall(r"[^\W_]+", text))
    for element in article.iterfind("{*}sub-article"):
        article.remove(element)
    meta = "{*}front/{*}article-meta/"
    places = [*article.iterfind(f"{meta}{{*}}title-group"), *article.iterfind(f"{meta}{{*}}abstract")]
    places += article.iterfind("{*}body")
    apart: dict[str, str] = {}
    whole, cut = Counter(), Counter()  # the words of the XML elsewhere; and with superscripts as words of their own
    for place in [*places, *article.iterfind("{*}back//{*}app")]:
        parts = list(pieces(place, cited))
        apart |= {left + right: kind for kind, left, right in separate(parts)}
        formulas = " ".join(text for each in place.iter("{*}math", "{*}tex-math") for text in each.itertext())
        for count, kept in ((whole, ("", "sup")), (cut, ("",))):
            text = "".join(part if kind in kept else " " for part, kind, _ in parts)
            count.update(re.findall(r"[^\W_]+", f"{text} {formulas}"))
    for word, kind in apart.items():
        if have[word] > (cut[word] if kind in ("exponent", "bare") else max(cut[word], whole[word])):
            yield kind, word


def main() -> None:
    """Count over all articles of some folders and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--examples", type=int, default=0)
    arguments = parser.parse_args()
    articles, words, examples, publishers = Counter(), Counter(), [], set()
    placed = links = characters = holes = 0
    skipped = Skipped()
    for path in sorted(path for folder in arguments.folders for path in folder.rglob("*xml")):
        documents = [each for each in read_source("jats", path, None, skipped) if isinstance(each, Document)]
        if len(documents) != 1:
            continue
        (document,) = documents
        root = etree.parse(path, etree.XMLParser(resolve_entities=False, remove_comments=True, remove_pis=True))
        article = next(root.getroot().iter("{*}article"))
        publishers.add((article.findtext("{*}front/{*}journal-meta/{*}publisher/{*}publisher-name") or "").strip())
        found = list(joined(article, document.text))
        examples += [f"{path.name}: {kind} {word}" for kind, word in found]
        words.update(kind for kind, _ in found)
        articles.update({kind for kind, _ in found} | {"any"} if found else ())
        anchors = [document.text[link.start : link.end] for link in document.links if link.start >= 0]
        assert all(anchor.strip() == anchor != "" for anchor in anchors), path
        articles["all"] += 1
        placed += len(anchors)
        links += len(document.links)
        characters += len(document.text)
        holes += len(re.findall(r"\(\)|\[\]| [,;.:] ", document.text))
    print(f"{articles['all']} articles of {len(publishers)} publishers, {characters:,} characters, {holes} holes")
    print(f"{links:,} links, {placed:,} of them with a place; skipped {dict(skipped)}")
    for kind in ("any", *KINDS):
        print(f"{kind:9} {articles[kind]:4} articles ({articles[kind] / articles['all']:.1%}), {words[kind]:,} words")
    print("\n".join(examples[: arguments.examples]))


if __name__ == "__main__":
    main()
