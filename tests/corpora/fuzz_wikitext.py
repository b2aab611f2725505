"""Fuzz the scanner with atheris (not in the everyday suite).

    python tests/corpora/fuzz_wikitext.py -max_total_time=600

Bytes choose from pieces of markup, or are text themselves; the laws of test_wikitext.py must hold for whatever comes.
"""

import sys

import atheris

with atheris.instrument_imports(include=["linkbert.corpora"]):
    from linkbert.corpora.readers.site import Site
    from linkbert.corpora.readers.wikitext import parse

PIECES = [
    *(
        "[[",
        "]]",
        "{{",
        "}}",
        "{|",
        "|}",
        "|",
        "||",
        "|-",
        "|+",
        "!",
        "!!",
        "''",
        "'''",
        "*",
        "#",
        ":",
        ";",
        "=",
        "==",
        "\n",
        " ",
    ),
    *(
        "<ref>",
        "</ref>",
        "<ref/>",
        "<!--",
        "-->",
        "<nowiki>",
        "</nowiki>",
        "<br>",
        "<div>",
        "<table>",
        "</table>",
        "<poem>",
    ),
    *(
        "</poem>",
        "<math>",
        "</math>",
        "-{",
        "}-",
        "[",
        "]",
        "http://a",
        "[http://a b",
        "&amp;",
        "&#91;",
        "&#10;",
        "__TOC__",
    ),
    *(
        "File:a|",
        "Category:b",
        "fr:",
        "a",
        "B ",
        "é",
        "漢",
        "(",
        ")",
        ",",
        ". ",
        "\x02",
        "\x03",
        "\x0e",
        "\ud800",
        "\r",
        "\0",
    ),
]
SITES = [Site(), Site("de", namespaces={"datei": 6}), Site("zh")]


def check(data: bytes) -> None:
    """Build a page from bytes and hold it to the laws."""
    provider = atheris.FuzzedDataProvider(data)
    site = provider.PickValueInList(SITES)
    page = ""
    while provider.remaining_bytes():
        page += (
            provider.ConsumeUnicode(4) if provider.ConsumeIntInRange(0, 9) == 0 else provider.PickValueInList(PIECES)
        )
    text, links = parse(page, site)
    end = 0
    for link in links:
        assert link.target
        if link.start >= 0:
            assert end <= link.start < link.end <= len(text)
            end = link.end
        else:
            assert link.end == -1
    assert not set(text) & set("\r\0\x02\x03\x04\x05\x06\x0e\x0f")
    assert "\n\n" not in text


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
