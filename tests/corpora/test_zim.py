"""Kiwix files, written by libzim itself: clusters, selectors, links to paths, damage. (What a page becomes: golden.)"""

import random
import struct
import sys
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import html, zim
from linkbert.corpora.sources import find_reader, read_source
from linkbert.graph.links import add_graph
from linkbert.records import Document, Redirect


def read(path, **options):
    skipped = Skipped()
    found = list(read_source("zim", path, html.Options(**options), skipped))
    return found, skipped


def make_pages(count):
    draw = random.Random(0)
    pages = []
    for i in range(count):
        words = " ".join(str(draw.random()) for _ in range(30))  # so that it does not compress well
        pages.append(
            (f"page {i}", f"Page {i}", f"<p>Number {i} <a href='./page%20{(i + 1) % count}#x'>next</a> {words}")
        )
    draw.shuffle(pages)
    return pages


@pytest.mark.slow
def test_every_article_is_read_once_whatever_its_cluster(tmp_path, write_zim, monkeypatch):
    path = write_zim([*make_pages(60), ("other", "", None, "page 7"), ("again", "", None, "other")])
    assert find_reader(path) == "zim"
    monkeypatch.setattr(zim, "ENTRIES", 5)
    shards = list(zim.plan(path, html.Options()))
    assert len(shards) > 10
    assert (shards[0].start, shards[-1].stop) == (0, path.stat().st_size)
    assert all(one.stop == next_one.start for one, next_one in pairwise(shards))
    store = build_documents([path], tmp_path / "store")
    assert store.manifest["skipped"] == {}
    assert sorted(document.id for document in store.documents()) == sorted(f"page {i}" for i in range(60))
    for document in store.documents():
        (link,) = document.links
        number = int(document.id.removeprefix("page "))
        assert (document.title, link.target) == (f"Page {number}", f"page {(number + 1) % 60}")
        assert (document.text[link.start : link.end], link.fragment) == ("next", "x")
    meta = add_graph(store, "hyperlink", "hyperlink")
    assert (meta["found"], meta["resolved"]) == (60, 60)
    assert {Redirect("other", "page 7"), Redirect("again", "other")} <= set(read(path)[0])


def test_body_and_drop_choose_what_is_read(write_zim):
    page = "<h1>Head</h1><div id='mw-content-text'><p>One <a href='b'>two</a><p class='x'>three</div><p id='y'>four"
    path = write_zim([("a", "A", page), ("b", "B", "<p>five")])

    def texts(**options):
        found, skipped = read(path, **options)
        return {document.id: document.text for document in found}, skipped

    assert texts() == ({"a": "One two\nthree", "b": "five"}, {})
    assert texts(drop=".x") == ({"a": "One two", "b": "five"}, {})
    assert texts(body="#y") == ({"a": "four"}, {"page without the body that was asked for (left out)": 1})
    with pytest.raises(ValueError, match="is not a CSS selector"):
        texts(body="p[")


@pytest.mark.slow
def test_a_damaged_file_says_so_and_loses_no_more_than_it_must(tmp_path, write_zim):
    path = write_zim(make_pages(60))
    data = path.read_bytes()
    bad = tmp_path / "bad.zim"
    for content in (data[: len(data) // 2], data[:-20], b"ZIM\x04", b"", b"this is no ZIM file" * 9):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.zim is not a whole ZIM file"):
            read(bad)
    (table,) = struct.unpack_from("<Q", data, 48)
    (cluster,) = struct.unpack_from("<Q", data, table + 8 * 10)  # where the eleventh begins
    bad.write_bytes(data[: cluster + 1] + b"\xff" * 50 + data[cluster + 51 :])
    found, skipped = read(bad)
    whole = {document.id: document for document in read(path)[0]}
    assert 45 < len(found) < 60
    assert len(found) + skipped[CUT] == 60
    assert all(document == whole[document.id] for document in found)
    store = build_documents([bad], tmp_path / "store")
    assert store.manifest["documents"] == len(found)


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, write_zim, monkeypatch):
    path = write_zim([("a.css", "A", "p {}", "text/css")])
    with pytest.raises(ValueError, match=r"holds no articles"):
        read(path)
    monkeypatch.setitem(sys.modules, "libzim.reader", None)
    with pytest.raises(ValueError, match=r"pip install 'linkbert\[zim\]'"):
        read(path)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2**16), st.binary(min_size=1, max_size=9)), max_size=3))
def test_any_damage_is_a_value_error_or_counted(tmp_path, write_zim, changes):
    path = tmp_path / "site.zim"
    if not path.exists():
        write_zim(make_pages(20))
    data = bytearray(path.read_bytes())
    for end, at, change in changes:  # half of them in the header, the media types and the first cluster
        at = at % len(data) if end else at % 120
        data[at : at + len(change)] = change
    bad = tmp_path / "bad.zim"
    bad.write_bytes(data)
    try:
        found, _ = read(bad)
    except ValueError:
        return
    for document in found:
        if isinstance(document, Document):
            assert all(0 <= link.start < link.end <= len(document.text) or link.end == -1 for link in document.links)
