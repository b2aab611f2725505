"""The generator of benchmarks: the same seed gives the same bytes, and a reader finds what was asked."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkbert.corpora.reader import Skipped
from linkbert.corpora.sources import read_source
from linkbert.records import Document, Redirect


@pytest.fixture(scope="module")
def generate():
    path = Path(__file__).parents[1] / "benchmarks" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path, format_):
    skipped = Skipped()
    return list(read_source(format_, path, None, skipped)), skipped


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_each_number_has_a_name_of_its_own(generate, one, other):
    assert (generate.title_of(one).lower() == generate.title_of(other).lower()) == (one == other)


def test_ranks_are_scattered_over_all_pages(generate):
    assert sorted(generate.scatter(np.arange(600), 600)) == list(range(600))


def test_a_dump_has_the_pages_and_links_it_was_asked_for(generate, tmp_path):
    for name in ("a.xml.bz2", "b.xml.bz2"):
        generate.write_dump(tmp_path / name, 60, seed=3)
    assert (tmp_path / "a.xml.bz2").read_bytes() == (tmp_path / "b.xml.bz2").read_bytes()
    records, skipped = read(tmp_path / "a.xml.bz2", "mediawiki")
    documents = {record.id: record for record in records if isinstance(record, Document)}
    redirects = {record.source for record in records if isinstance(record, Redirect)}
    assert (len(documents), len(redirects), skipped) == (60, 84, {"page of another namespace": 42})
    links = [link for document in documents.values() for link in document.links]
    dead = sum(link.target not in documents and link.target not in redirects for link in links)
    assert 20 < len(links) / 60 < 60
    assert 0.02 < dead / len(links) < 0.08


def test_small_documents_have_links_at_their_words(generate, tmp_path):
    generate.write_jsonl(tmp_path / "a.jsonl", 50, seed=3)
    records, skipped = read(tmp_path / "a.jsonl", "jsonl")
    assert (len({record.id for record in records}), skipped) == (50, {})
    for record, line in zip(records, (tmp_path / "a.jsonl").read_text().splitlines(), strict=True):
        assert len(record.links) == len(json.loads(line)["links"])
        assert all(record.text[link.start : link.end].isalpha() for link in record.links if link.start >= 0)
