"""The scanner against mwparserfromhell on real pages: the first row of the issue's bars, and left-over markup.

The oracle has its own idea of which links are articles and how titles are written: little code, apart from ours.
"""

import html
import re
from collections import Counter
from itertools import pairwise, zip_longest

import mwparserfromhell
import pytest
from mwparserfromhell.nodes import ExternalLink, Heading, Tag, Text, Wikilink

from linkbert.corpora.reader import NoOptions
from linkbert.corpora.readers.mediawiki import plan, read_site
from linkbert.corpora.readers.wikitext import parse
from linkbert.files import decompressed_blocks

EXCERPT = "corpora/mediawiki/enwiki-excerpt-pages-articles.xml.bz2"
DROPPED_TAGS = re.compile("ref|references|table|gallery|math|nowiki|timeline|source|pre|syntaxhighlight", re.IGNORECASE)
ELSEWHERE = re.compile(
    "media|special|talk|user|wikipedia|file|image|mediawiki|template|help|category|portal|book|draft|module|commons|"
    "wikt|wiktionary|wikisource|wikiquote|wikibooks|wikidata|wikispecies|meta|species|[wvsqbnmd]"
)
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z-]+)?|simple")


@pytest.fixture(scope="module")
def pages(data):
    path = data / EXCERPT
    xml = b"".join(block for block, _ in decompressed_blocks(path)).decode()
    site = read_site(next(plan(path, NoOptions())).extra[0])
    found = []
    for page in re.findall(r"<page>(.*?)</page>", xml, re.DOTALL):
        if "<ns>0</ns>" in page and "<redirect" not in page:
            title = html.unescape(re.search(r"<title>(.*?)</title>", page)[1])
            wikitext = html.unescape(re.search(r"<text[^>]*>(.*?)</text>", page, re.DOTALL)[1])
            found.append((title, wikitext, *parse(wikitext, site)))
    return found


def without_tables_and_references(wikitext):
    """Take them out beforehand: a stray apostrophe or an unclosed link in them makes mwparserfromhell see none."""
    wikitext = re.sub(r"<ref\b[^<>]*(?:/>|(?<!/)>.*?</ref>)", "", wikitext, flags=re.DOTALL)
    while (
        without := re.sub(r"^[ :]*\{\|(?:(?!^[ :]*\{\|).)*?^\|\}", "", wikitext, flags=re.DOTALL | re.M)
    ) != wikitext:
        wikitext = without
    return wikitext


def article_links(code):
    """Yield (target, anchor) of the article links that stand in the text, as mwparserfromhell finds them."""
    nodes = code.nodes
    for node, after in zip_longest(nodes, nodes[1:]):
        if isinstance(node, Wikilink):
            title = " ".join(html.unescape(str(node.title)).replace("_", " ").split())
            prefix = title.partition(":")[0].strip().lower() if ":" in title else ""
            if title.startswith(":") or ELSEWHERE.fullmatch(prefix) or LANGUAGE.fullmatch(prefix):
                continue
            title = title.partition("#")[0].strip()
            if not title or re.search(r"[<>\[\]{}|]", title):
                continue
            shown = str(node.title) if node.text is None else node.text.strip_code()
            trail = re.match(r"[a-z]*", str(after))[0] if isinstance(after, Text) else ""
            first = title[0].upper() if len(title[0].upper()) == 1 else title[0]
            anchor = " ".join(html.unescape(shown + trail).split())
            if anchor:  # else a template is all its text
                yield first + title[1:], anchor
        elif isinstance(node, Tag) and not DROPPED_TAGS.fullmatch(str(node.tag)) and node.contents is not None:
            yield from article_links(node.contents)
        elif isinstance(node, (Heading, ExternalLink)) and node.title is not None:
            yield from article_links(node.title)


@pytest.mark.data
def test_links_are_those_mwparserfromhell_finds(pages):
    expected = missed = 0
    misses = []
    for title, wikitext, text, links in pages:
        theirs = Counter(article_links(mwparserfromhell.parse(without_tables_and_references(wikitext))))
        ours = Counter(
            (link.target, " ".join(text[link.start : link.end].split())) for link in links if link.start >= 0
        )
        lost = theirs - ours
        expected += theirs.total()
        missed += lost.total()
        misses += [(title, *pair) for pair in lost.elements()]
    assert expected > 20_000
    assert missed / expected < 0.001, misses  # the bar is 0.01; measured: 0 of 22,587


@pytest.mark.data
def test_no_markup_is_left_over(pages):
    characters = left = 0
    found = []
    for title, _, text, _ in pages:
        characters += len(text)
        for node in mwparserfromhell.parse(text).nodes:
            if not isinstance(node, Text):
                left += len(str(node))
                found.append((title, str(node)[:80]))
        for markup in re.finditer(r"\[\[|\]\]|\{\{|\}\}|\{\||\|\}|''|<ref", text):
            left += len(markup[0])
            found.append((title, text[max(0, markup.start() - 30) : markup.end() + 30]))
    assert characters > 2_000_000
    assert left / characters < 0.00001, found  # the bar is 0.0001; measured: 0 of 2,893,795


@pytest.mark.data
def test_places_of_links_are_whole_words(pages):
    for _, _, text, links in pages:
        places = [(link.start, link.end) for link in links if link.start >= 0]
        assert not [
            text[start:end] for start, end in places if text[start:end] != text[start:end].strip() or start == end
        ]
        assert all(stop <= start for (_, stop), (start, _) in pairwise(places))
