"""Corpora of any size with Wikipedia's shape: a seed comes in, a dump or a file of JSON lines goes out.

    python benchmarks/generate.py pages-articles.xml.bz2 --articles 100000     a MediaWiki dump
    python benchmarks/generate.py documents.jsonl --articles 10000000          small documents, for what rows cost
    python benchmarks/generate.py --measure pages-articles.xml.bz2             the shape of any dump, this one's too

Everything is a function of the seed and of a page's number, in blocks: memory stays as it is (some 60 MB), and whoever
links to a page knows its title without a table. A `.bz2` has a stream for every 100 pages, as Wikipedia's. What the
text says is noise, so trainings on it mean nothing; its words are syllables, rare ones longer, by Zipf's law.

The shape, and where it comes from ("excerpt": the first 106 articles of an English dump, in the gensim wheel;
"titles": 187,666 titles of the corpus wikipedia-tables; "links": the 52,458 links of wikipedia-articles; "paper":
what is known of the whole, 7 M articles, 21.8 M pages, 100 GB of XML, 250 M links, 7 G WordPieces):
"""

from __future__ import annotations

import argparse
import bz2
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from linkbert.files import decompressed_blocks

REDIRECTS = 1.4  # an article; paper: 10 M redirects beside 7 M titles (excerpt: 0.93)
OTHERS = 0.7  # pages of other namespaces an article; paper: what is left of 21.8 M pages
CHARACTERS, SPREAD = 13_000, 1.32  # mean wikitext of an article, paper; standard deviation of its logarithm, excerpt
LINKS = 250 / 7 / CHARACTERS  # a character; paper (the excerpt's long articles have 1.8 times as many)
REFERENCES = 1.44e-3  # a character; excerpt, where they take 40 % of it, mostly as templates
PIPED = 0.30  # of links; excerpt
SECTION = 0.009  # of links; excerpt
THROUGH_REDIRECT = 0.1  # of links; assumed
DEAD = 0.05  # of links; assumed: no part of a dump can tell
CHAINED = 0.005  # of redirects, to another one; assumed (bots mend them)
FLAT = 30  # in-degree falls as 1 / (rank + FLAT): slope -1.04 between ranks N / 100 and N / 4, most 0.9 % of all; links
PARAGRAPH = 590  # characters; excerpt
SENTENCE = 18  # words
BLOCK = 500  # articles made at a time
SMALL, SMALL_LINKS = (7, 12), 10  # words, from and below, and links of a small document
STREAM = 100  # pages of a bz2 stream

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
  <siteinfo>
    <sitename>Noise</sitename>
    <dbname>noisewiki</dbname>
    <base>https://en.wikipedia.org/wiki/Main_Page</base>
    <generator>benchmarks/generate.py</generator>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="10" case="first-letter">Template</namespace>
      <namespace key="14" case="first-letter">Category</namespace>
    </namespaces>
  </siteinfo>
"""
PAGE = """  <page>
    <title>{title}</title>
    <ns>{ns}</ns>
    <id>{number}</id>
{redirect}    <revision>
      <id>{number}</id>
      <parentid>{number}</parentid>
      <timestamp>2026-11-01T00:00:00Z</timestamp>
      <contributor>
        <username>Noise</username>
        <id>1</id>
      </contributor>
      <comment>/* noise */</comment>
      <origin>{number}</origin>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="{size}" sha1="0000000000000000000000000000000" xml:space="preserve">{text}</text>
      <sha1>0000000000000000000000000000000</sha1>
    </revision>
  </page>
"""


def main() -> None:
    """Write a corpus, or measure a dump."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="what to write: .xml, .xml.bz2 or .jsonl")
    parser.add_argument("--articles", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="read the dump instead, and print its shape")
    arguments = parser.parse_args()
    if arguments.measure:
        for name, value in measure(arguments.path).items():
            print(f"{name:<44} {value}")
    elif arguments.path.suffix == ".jsonl":
        write_jsonl(arguments.path, arguments.articles, seed=arguments.seed)
    else:
        write_dump(arguments.path, arguments.articles, seed=arguments.seed)


def spell(number: int) -> str:
    """Spell a number in syllables, each number differently: 0 -> "ba", 71 -> "bebe"."""
    word = ""
    while number >= 0:
        number, last = divmod(number, len(SYLLABLES))
        word, number = SYLLABLES[last] + word, number - 1
    return word


WORDS = [spell(i) for i in range(50_000)]
EXTRA = (
    0,
    1,
    1,
    1,
    2,
    2,
    2,
    3,
    3,
    6,
)  # words of a title beside its own; lengths at 10, 50, 75, 90 %, titles: 9, 17, 25, 38


def title_of(number: int) -> str:
    """Name a page by its number: a few words that its number decides, and one that is its own."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1
    words = [WORDS[(mixed >> 8 + 7 * i) % 2_000].capitalize() for i in range(EXTRA[(mixed >> 56) % len(EXTRA)])]
    return " ".join([*words, spell(number).capitalize()])


def draw_ranks(rng: np.random.Generator, size: int, among: int) -> np.ndarray:
    """Draw numbers below `among`, 0 the likeliest, in proportion to 1 / (number + FLAT): int64 (size,)."""
    return np.minimum(FLAT * ((among + FLAT) / FLAT) ** rng.random(size) - FLAT, among - 1).astype(np.int64)


def scatter(ranks: np.ndarray, among: int) -> np.ndarray:
    """Turn ranks into page numbers, so that the popular pages lie all over the dump: int64."""
    step = int(among * 0.6180339887) | 1
    while math.gcd(step, among) > 1:
        step += 2
    return ranks * step % among


def write_dump(path: Path, articles: int, *, seed: int = 0) -> None:
    """Write a dump of so many articles, and their redirects and other pages; a `.bz2` in many streams."""
    pages: list[str] = []
    with path.open("wb") as file:

        def flush() -> None:
            data = "".join(pages).encode()
            file.write(bz2.compress(data) if path.suffix == ".bz2" else data)
            pages.clear()

        pages.append(HEAD)
        flush()
        for start in range(0, articles, BLOCK):
            for page in make_pages(start, min(start + BLOCK, articles), articles, seed):
                pages.append(page)
                if len(pages) == STREAM:
                    flush()
        pages.append("</mediawiki>\n")
        flush()


def make_pages(start: int, stop: int, articles: int, seed: int) -> list[str]:
    """Make articles [start, stop) of so many, and the redirects and other pages that stand among them, shuffled."""
    rng = np.random.default_rng((seed, start))
    redirects = int(articles * REDIRECTS)
    sizes = rng.lognormal(math.log(CHARACTERS) - SPREAD**2 / 2, SPREAD, stop - start).clip(300, 500_000)
    pages = [_page(number, 0, title_of(number), text) for number, text in
             zip(range(start, stop), _articles(rng, sizes, articles, redirects), strict=True)]  # fmt: skip
    first, last = (int(number * REDIRECTS) for number in (start, stop))
    targets = scatter(draw_ranks(rng, last - first, articles), articles)
    chained = rng.random(last - first) < CHAINED
    for number, target, chain in zip(range(first, last), targets.tolist(), chained.tolist(), strict=True):
        name = title_of(articles + (number + 1) % redirects if chain else target)
        text = f"#REDIRECT [[{name}]]\n\n{{{{Redirect category shell|\n{{{{R from other}}}}\n}}}}"
        pages.append(_page(articles + number, 0, title_of(articles + number), text, redirect=name))
    for number in range(int(start * OTHERS), int(stop * OTHERS)):
        pages.append(_page(number, 14, "Category:" + title_of(number), "{{Category|noise}}\n" * 20))
    return [pages[i] for i in rng.permutation(len(pages))]


def _page(number: int, ns: int, title: str, text: str, *, redirect: str = "") -> str:
    line = f'    <redirect title="{redirect}" />\n' if redirect else ""
    text = text.replace("<", "&lt;").replace(">", "&gt;")
    return PAGE.format(title=title, ns=ns, number=number + 1, redirect=line, size=len(text), text=text)


def _articles(rng: np.random.Generator, sizes: np.ndarray, articles: int, redirects: int) -> Iterator[str]:
    """Yield wikitext of about the asked sizes, float (n,)."""
    for size in sizes.tolist():
        links, references = rng.poisson(size * LINKS), rng.poisson(size * REFERENCES)
        prose = max(int((size - 275 * references - 20 * links) / 5.2), 30)  # words
        words = [WORDS[i] for i in draw_ranks(rng, prose, len(WORDS)).tolist()]
        places = rng.integers(0, prose, links).tolist()
        for at, link in zip(places, _links(rng, links, articles, redirects), strict=True):
            words[at] = link
        for at in rng.integers(0, prose, references).tolist():
            words[at] += _reference(at)
        yield _lay_out(words, size)


def _links(rng: np.random.Generator, count: int, articles: int, redirects: int) -> Iterator[str]:
    targets = scatter(draw_ranks(rng, count, articles), articles)
    targets = np.where(rng.random(count) < THROUGH_REDIRECT, articles + rng.integers(0, redirects, count), targets)
    targets = np.where(rng.random(count) < DEAD, articles + redirects + rng.integers(0, articles, count), targets)
    for target, fate in zip(targets.tolist(), rng.random(count).tolist(), strict=True):
        section = "#History" if fate > 1 - SECTION else ""
        piped = f"|{WORDS[target % 20_000]}" if fate < PIPED or section else ""
        yield f"[[{title_of(target)}{section}{piped}]]"


def _reference(number: int) -> str:
    name = WORDS[number % 50_000]
    return (
        f"<ref>{{{{cite journal |last={name} |first=J. |title={name} {name} of the {name} |journal=Journal of {name} "
        f"|volume={number % 90} |issue=2 |pages=1-9 |year=2001 |doi=10.1000/{number} |url=https://example.org/{name} "
        f"|access-date=1 May 2011 |publisher={name} and sons}}}}</ref>"
    )


def _lay_out(words: list[str], size: float) -> str:
    """Make sentences, paragraphs, sections, a box at the head and categories at the foot of words."""
    sentences = [" ".join(words[i : i + SENTENCE]) + "." for i in range(0, len(words), SENTENCE)]
    sentences = [sentence[0].upper() + sentence[1:] for sentence in sentences]
    each = max(1, PARAGRAPH // (6 * SENTENCE))
    paragraphs = [" ".join(sentences[i : i + each]) for i in range(0, len(sentences), each)]
    for at in range(3, len(paragraphs), 5):
        paragraphs[at] = f"== {'History' if at == 3 else words[at].capitalize()} ==\n{paragraphs[at]}"
    fields = "".join(f"| {WORDS[i]} = {words[i]}\n" for i in range(9)) if size > 3_000 else ""
    return (
        f"{{{{Infobox noise\n{fields}}}}}\n"
        + "\n\n".join(paragraphs)
        + "".join(f"\n[[Category:{WORDS[i]}]]" for i in range(8))
    )


def write_jsonl(path: Path, documents: int, *, seed: int = 0) -> None:
    """Write JSON lines of documents of some 20 WordPieces and 10 links, about half of them with a place in the text."""
    with path.open("w", encoding="ascii") as file:
        for start in range(0, documents, 10_000):
            rng = np.random.default_rng((seed, start))
            count = min(10_000, documents - start)
            words, links = rng.integers(*SMALL, count), rng.poisson(SMALL_LINKS, count)
            drawn = iter(draw_ranks(rng, int(words.sum()), len(WORDS)).tolist())
            targets = scatter(draw_ranks(rng, int(links.sum()), documents), documents)
            aims = iter(np.where(rng.random(len(targets)) < DEAD, targets + documents, targets).tolist())
            for number, size, degree in zip(range(start, start + count), words.tolist(), links.tolist(), strict=True):
                file.write(_line(number, [WORDS[i] for i in islice(drawn, size)], list(islice(aims, degree))))


def _line(number: int, words: list[str], targets: list[int]) -> str:
    half = len(words) // 2
    text = f"{' '.join(words[:half])}. {' '.join(words[half:]).capitalize()}."
    links: list[dict[str, str | int]] = []
    at = 0
    for i, target in enumerate(targets):
        link: dict[str, str | int] = {"target": title_of(target)}
        if i < half:
            link |= {"start": at, "end": at + len(words[i])}
            at += len(words[i]) + 1
        links.append(link)
    return json.dumps({"id": title_of(number), "text": text, "links": links}, separators=(",", ":")) + "\n"


def measure(path: Path) -> dict[str, str]:
    """Measure the shape of a dump: what the constants above say of it."""
    kinds: Counter[str] = Counter()
    sizes, titles, links, text = [], [], [], []
    for page in _pages(path):
        title, ns, body = (found[1] if (found := pattern.search(page)) else "" for pattern in _FIELDS)
        if ns != "0" and ":" in title:
            kinds["other"] += 1
        elif body[:9].lower() == "#redirect":
            kinds["redirect"] += 1
        else:
            kinds["article"] += 1
            titles.append(len(title))
            sizes.append(len(body))
            text.append(len(re.sub(r"&lt;ref.*?&lt;/ref&gt;", "", body, flags=re.DOTALL)))
            links.append([found[1] for found in _LINK.finditer(body)])
    every = [link for each in links for link in each]
    degrees = np.array(sorted(Counter(re.split("[|#]", link)[0] for link in every).values(), reverse=True))
    middle = slice(len(degrees) // 100, len(degrees) // 4)
    slope = np.polyfit(np.log(np.arange(1, len(degrees) + 1)[middle]), np.log(degrees[middle]), 1)[0]
    return {
        "articles, redirects, others": f"{kinds['article']:,}, {kinds['redirect']:,}, {kinds['other']:,}",
        "title, characters at 10, 50, 75, 90 %": ", ".join(
            f"{q:.0f}" for q in np.quantile(titles, [0.1, 0.5, 0.75, 0.9])
        ),
        "wikitext, mean; deviation of its logarithm": f"{np.mean(sizes):,.0f}; {np.log(sizes).std():.2f}",
        "links an article; in 1,000 characters": f"{len(every) / len(sizes):.0f}; {1e3 * len(every) / sum(sizes):.2f}",
        "of links: piped, to a section": ", ".join(f"{np.mean([mark in link for link in every]):.1%}" for mark in "|#"),
        "wikitext in references": f"{1 - sum(text) / sum(sizes):.0%}",
        "slope of in-degree over rank; the largest": f"{slope:.2f}; {degrees[0] / len(every):.2%} of links",
    }


_FIELDS = [re.compile(p, re.DOTALL) for p in (r"<title>(.*?)</title>", r"<ns>(.*?)</ns>", r"<text[^>]*>(.*?)</text>")]
_LINK = re.compile(r"\[\[(?!File:|Image:|Category:|[a-z-]+:)([^\[\]]*)\]\]")


def _pages(path: Path) -> Iterator[str]:
    rest = b""
    for block, _ in decompressed_blocks(path):
        *pages, rest = (rest + block).split(b"</page>")
        yield from (page.decode() for page in pages)


if __name__ == "__main__":
    main()
