"""Wikitext to Documents on one core: against WikiExtractor 3.1.0 with links kept, and mwparserfromhell.

    python benchmarks/wikitext.py pages-articles.xml.bz2 [--rounds 5]

The same articles go to each, in alternation, in this process; seconds of CPU, so that other work on the machine counts
less; medians, and the median of the ratios of each round. "read" is from the XML of a page to its Document.
WikiExtractor gets the lines as they stand in the dump (it undoes the XML itself) and no template definitions.
"""

from __future__ import annotations

import argparse
import html
import io
import logging
import re
import statistics
import time
from pathlib import Path

import mwparserfromhell
from wikiextractor.extract import Extractor

from linkbert.corpora.reader import NoOptions, Skipped
from linkbert.corpora.readers.mediawiki import _read_page, plan, read_site
from linkbert.corpora.readers.site import resolve
from linkbert.corpora.readers.wikitext import parse
from linkbert.files import decompressed_blocks


def main() -> None:
    """Time each on the same articles and print medians and ratios."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("dump", type=Path)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    logging.disable(logging.CRITICAL)

    xml = b"".join(block for block, _ in decompressed_blocks(options.dump)).decode(errors="replace")
    pages = [page for page in re.findall(r"<page>.*?(?=</page>)", xml, re.DOTALL) if "<redirect" not in page]
    pages = [page for page in pages if "<ns>0</ns>" in page]
    site = read_site(next(plan(options.dump, NoOptions())).extra[0])
    escaped = [re.search(r"<text[^>]*>([^<]*)", page)[1] for page in pages]
    titles = [html.unescape(re.search(r"<title>([^<]*)", page)[1]) for page in pages]
    wikitexts = [html.unescape(text) for text in escaped]
    lines = [text.splitlines(keepends=True) for text in escaped]
    raw = [page.encode() for page in pages]
    megabytes = sum(len(text.encode()) for text in wikitexts) / 1e6
    print(f"{len(pages)} articles, {megabytes:.2f} MB of wikitext")

    def scan() -> None:
        resolve.cache_clear()
        for text in wikitexts:
            parse(text, site)

    def from_xml() -> None:
        for page in raw:
            _read_page(page, site, Skipped())

    def wikiextractor() -> None:
        for number, (title, page) in enumerate(zip(titles, lines, strict=True)):
            Extractor(
                str(number), "1", "https://en.wikipedia.org/wiki", title, page, keepLinks=True, to_json=True
            ).extract(io.StringIO())

    def mwparser() -> None:
        for text in wikitexts:
            code = mwparserfromhell.parse(text)
            code.filter_wikilinks()
            code.strip_code()

    ways = {"linkbert parse": scan, "linkbert read": from_xml, "wikiextractor": wikiextractor}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            seconds[name].append(_time(way))
    seconds["mwparserfromhell"] = [_time(mwparser)]
    for name, taken in seconds.items():
        print(f"{name:18} {megabytes / statistics.median(taken):7.2f} MB/s   {statistics.median(taken):.3f} s CPU")
    for name in list(ways)[:2]:
        ratios = [b / a for a, b in zip(seconds[name], seconds["wikiextractor"], strict=True)]
        print(
            f"{name} / wikiextractor: {statistics.median(ratios):.1f}x (rounds: {min(ratios):.1f} to {max(ratios):.1f})"
        )


def _time(way) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


if __name__ == "__main__":
    main()
