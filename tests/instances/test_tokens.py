import hashlib
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.api import build_store
from linkbert.config import make_config
from linkbert.corpora.sentences import split_sentences
from linkbert.files import read_json, remove, write_json
from linkbert.graph.hyperlinks import find_sections
from linkbert.instances import tokens as tokens_module
from linkbert.instances.sampler import Sampler
from linkbert.instances.tokens import LONGEST_SENTENCE, StoreTokenizer, TokenStore, hash_id, tokenise
from linkbert.instances.vocabulary import SPECIAL, Vocabulary, train_vocabulary
from linkbert.records import Document, Link
from linkbert.views.check import check
from linkbert.workers import make_executor

TEXTS = [
    "The quick brown foxes jumped over lazy dogs. Übermut tut selten gut, sagt man in 東京.",
    "unlinked interlinks",
] * 9
WORDS = ("one", "two", "three", "four", "un", "##link", "##ed", ".", "[", "]")
ALPHABET = "aB1é ß_.-\n\t\u00a0\u0301\u200b\x07\x1c\x85\u2028東京。«İ#['"


@pytest.fixture(scope="module")
def pieces():
    return StoreTokenizer(train_vocabulary(lambda: TEXTS, 260))


@pytest.fixture(scope="module")
def by_hand():
    return StoreTokenizer(Vocabulary((*SPECIAL, *WORDS)))


@given(st.one_of(st.text(ALPHABET, max_size=60), st.text(max_size=40)))
@settings(max_examples=300, deadline=None)
def test_remembered_words_give_what_the_library_gives(pieces, text):
    assert pieces.encode(text) == pieces.vocabulary.tokenizer.encode(text).ids


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from([*ALPHABET, "😀", "\u0345", "ﷺ", "Ǆ"]), st.integers(1, 150)), max_size=9))
@settings(max_examples=200, deadline=None)
def test_a_long_word_is_given_to_the_library_in_parts(pieces, runs):
    text = "".join(character * times for character, times in runs)
    whole = pieces.vocabulary.tokenizer.encode(text).ids
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreTokenizer, "CHUNK", 120)
        made = StoreTokenizer(pieces.vocabulary)
        asked, look_up = [], made._look_up
        patch.setattr(made, "_look_up", lambda part: asked.append(part) or look_up(part))
        assert made.encode(text) == whole
        assert max(map(len, asked), default=0) <= 121


MEMORY = """
import resource, sys
from linkbert.instances.tokens import StoreTokenizer
from linkbert.instances.vocabulary import SPECIAL, Vocabulary
tokenizer = StoreTokenizer(Vocabulary((*SPECIAL, "a", "##b", "é", "東")))
tokenizer.encode("é" * 20_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(tokenizer.encode(sys.argv[1] * 4_000_000)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10)
"""


@pytest.mark.slow
@pytest.mark.parametrize("character", ["é", pytest.param("∑", marks=pytest.mark.slow)])
def test_a_word_of_megabytes_takes_little_memory(character):
    done = subprocess.run([sys.executable, "-c", MEMORY, character], capture_output=True, text=True, check=True)
    tokens, grown = map(int, done.stdout.split())
    assert tokens == 1
    assert grown < 100  # MB; before: 280


PARTS = ["the", " ", "  ", "lazy", "dog", "\n", "東京", ".", "é", " x", "1"]


@given(st.lists(st.sampled_from(PARTS), max_size=60), st.integers(1, 9), st.sampled_from(["bpe", "unigram"]))
@settings(max_examples=100, deadline=None)
def test_a_large_document_is_cut_before_words_for_other_tokenizers(other_vocabulary, words, most, kind):
    tokenizer, text = StoreTokenizer(other_vocabulary(kind)), "".join(words)
    whole = tokenizer._whole(text, [0], [])[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreTokenizer, "PIECE", 40 + most)
        cut = tokenizer._whole(text, [0], [])[0]
    assert cut == whole


@given(st.text(ALPHABET, max_size=80))
@settings(max_examples=200, deadline=None)
def test_a_document_is_its_sentences_one_after_the_other(pieces, text):
    made = pieces.tokenise(text, [])
    starts = split_sentences(text)
    expected, at = [], []
    for start, stop in zip(starts, [*starts[1:], len(text)], strict=False):
        at.append(len(expected))
        expected += pieces.vocabulary.tokenizer.encode(text[start:stop]).ids
    assert made.ids == expected
    assert made.sentences == sorted({place for place in at if place < len(expected)})


@given(st.text("aB1é ß_.-\n東京。", max_size=60), st.data())
@settings(max_examples=200, deadline=None)
def test_a_link_stands_at_the_first_token_that_shares_a_character_with_its_anchor(pieces, text, data):
    if not text:
        return
    start = data.draw(st.integers(0, len(text) - 1))
    link = Link(start, data.draw(st.integers(start + 1, len(text))), "X")
    made = pieces.tokenise(text, [link])
    assert made.ids == pieces.tokenise(text, []).ids
    starts = split_sentences(text)
    spans = []
    for begin, stop in zip(starts, [*starts[1:], len(text)], strict=False):
        encoded = pieces.vocabulary.tokenizer.encode(text[begin:stop])
        spans += [(begin + a, begin + b) for a, b in encoded.offsets]
    overlapping = [i for i, (a, b) in enumerate(spans) if a < link.end and b > link.start]
    assert made.links == [overlapping[0] if text[link.start : link.end].strip() and overlapping else -1]


@pytest.mark.slow
def test_many_links_in_one_long_word_take_linear_time(pieces):
    begin = time.process_time()
    made = pieces.tokenise("a" * 20_000, [Link(i, i + 1, "X") for i in range(20_000)])
    assert time.process_time() - begin < 3
    assert len(made.links) == 20_000
    word = "pretraining" * 8
    places = [pieces.tokenise(word, [Link(i, i + 1, "X")]).links[0] for i in range(len(word))]
    assert pieces.tokenise(word, [Link(i, i + 1, "X") for i in range(len(word))]).links == places


def test_by_hand(by_hand):
    made = by_hand.tokenise(
        "One two.\nThree unlinked four.", [Link(17, 21, "link"), Link(0, 3, "One"), Link(-1, -1, "x")]
    )
    names = [by_hand.vocabulary.tokens[i] for i in made.ids]
    assert names == ["one", "two", ".", "three", "un", "##link", "##ed", "four", "."]
    assert made.sentences == [0, 3]
    assert made.links == [5, 0, -1]  # an anchor within a word stands at its own piece
    assert by_hand.tokenise("", [Link(-1, -1, "x")]) == ([], [], [-1], [])


def test_special_tokens_cannot_come_out_of_a_text(by_hand):
    made = by_hand.tokenise("one [MASK] two [SEP]", [])
    reserved = {by_hand.vocabulary.ids[token] for token in SPECIAL} - {by_hand.vocabulary.ids["[UNK]"]}
    assert not reserved & set(made.ids)


def test_long_sentences_are_cut(by_hand):
    made = by_hand.tokenise("one " * 300 + "\nTwo", [])
    assert made.sentences == [0, LONGEST_SENTENCE, 2 * LONGEST_SENTENCE, 300]
    assert made.continued == [1, 2]


def test_sentences_of_the_text_are_found_where_some_were_cut(tmp_path, store_writer):
    long = "word1 " * 300
    store_writer(
        tmp_path / "s",
        [[Document("a", "a", f"word1.\n{long}\nword2.\n{long}\nword3.")], [Document("b", "b", "word1.")]],
    )
    tokens = TokenStore.open(tmp_path / "s")
    assert tokens.continued.tolist() == [2, 3, 6, 7]
    assert tokens.meta["cut_sentences"] == 2
    found = tokens.find_sentences(np.array([0, 0, 0, 0, 0, 0, 1]), np.array([-1, 0, 1, 2, 3, 4, 0]))
    assert found.tolist() == [-1, 0, 1, 4, 5, 8, 0]


def test_lines_that_nobody_sees_are_no_sentences(by_hand):
    text = "one.\n\u200b\ntwo. \u200b\n\u00ad\nthree four"
    [(_, section)] = find_sections(text, ["three four"])
    made = by_hand.tokenise(text, [])
    assert [by_hand.vocabulary.tokens[made.ids[start]] for start in made.sentences] == ["one", "two", "three"]
    assert section == 2


def test_words_are_forgotten_when_there_are_too_many(by_hand, monkeypatch):
    monkeypatch.setattr(StoreTokenizer, "REMEMBERED", 2)
    small = StoreTokenizer(by_hand.vocabulary)
    assert small.encode("one two three four one two") == by_hand.encode("one two three four one two")
    assert len(small.known) <= 2


def digests(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_a_store_reads_back(small_store, records):
    store = TokenStore.open(small_store.path)
    documents = list(small_store.documents())
    assert len(store) == len(documents) == 200
    pieces = StoreTokenizer(store.vocabulary)
    for number, document in enumerate(documents):
        made = pieces.tokenise(document.text, document.links)
        assert store.ids(number).tolist() == made.ids
        first, last = store.document_links[number : number + 2]
        assert store.links[first:last].tolist() == made.links
        begin, end = store.document_sentences[number : number + 2]
        assert (store.sentences[begin:end] - store.documents[number]).tolist() == made.sentences
        assert store.hashes[number] == hash_id(document.id)
    assert store.meta["sentences"] == len(store.sentences)
    counts = store.count_tokens()
    assert (len(counts), counts.sum()) == (len(store.vocabulary), len(store.tokens))
    assert counts[store.tokens[0]] == (store.tokens == store.tokens[0]).sum()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_result_does_not_depend_on_workers_or_on_where_it_stopped(
    small_store, tmp_path, monkeypatch, workers, records, store_writer
):
    made = records(200, seed=1)
    real, calls = tokens_module.tokenise_shard, []

    def fail_at_the_second(item):
        calls.append(item[2])
        if len(calls) == 2:
            raise OSError(5, "the machine went away")
        real(item)

    if workers == 1:
        monkeypatch.setattr(tokens_module, "tokenise_shard", fail_at_the_second)
        with pytest.raises(OSError, match="went away"):
            store_writer(tmp_path / "s", [made[:90], made[90:]])
        assert not (tmp_path / "s" / "tokens").exists()
        assert (tmp_path / "s" / "tokens.parts" / "00000" / "tokens.json").is_file()
    store_writer(tmp_path / "s", [made[:90], made[90:]], workers=workers)
    if workers == 1:
        assert calls == [0, 1, 1]
    assert digests(tmp_path / "s" / "tokens") == digests(small_store.path / "tokens")
    assert not (tmp_path / "s" / "tokens.parts").exists()


def test_tokens_of_another_vocabulary_are_not_replaced(tmp_path, records, store_writer):
    store = store_writer(tmp_path / "s", [records(20, seed=3)])
    before = digests(store.path / "tokens")
    other = Vocabulary((*SPECIAL, "word1", *(f"##{i}" for i in range(10))))
    told = []
    with make_executor(1) as executor:
        with pytest.raises(ValueError, match="tokenised with another vocabulary"):
            tokenise(store, other, executor=executor)
        assert digests(store.path / "tokens") == before
        shutil.rmtree(store.path / "tokens")
        after = tokenise(store, other, executor=executor, progress=lambda *what: told.append(what))
        assert told == [("tokens", 1, 1)]
        again = tokenise(store, other, executor=executor, progress=lambda *what: told.append(what))
    assert len(told) == 1  # nothing was done twice
    assert after.vocabulary == again.vocabulary == other


def test_documents_without_text_keep_their_number(tmp_path, store_writer):
    documents = [Document("a", "a", ""), Document("b", "b", "word1 word2."), Document("c", "c", " \n ")]
    store_writer(tmp_path / "s", [documents, [Document("d", "d", "")]])
    tokens = TokenStore.open(tmp_path / "s")
    assert np.diff(tokens.documents).tolist() == [0, 3, 0, 0]
    assert np.diff(tokens.document_sentences).tolist() == [0, 1, 0, 0]
    assert tokens.meta["empty_documents"] == 3


def test_a_store_that_is_not_whole_says_so(tmp_path, records, store_writer):
    store = store_writer(tmp_path / "s", [records(10, seed=3)])
    folder = store.path / "tokens"
    meta = read_json(folder / "tokens.json")

    def refused(message):
        with pytest.raises(ValueError, match=message):
            TokenStore.open(store.path)

    write_json(folder / "tokens.json", {**meta, "format": 9})
    refused("format 9")
    write_json(folder / "tokens.json", {**meta, "vocabulary_sha256": "0"})
    refused("not the one its tokens were made with")
    write_json(folder / "tokens.json", meta)
    for change in (lambda b: b[:-1], lambda b: b[:-8]):
        links = (folder / "documents.bin").read_bytes()
        (folder / "documents.bin").write_bytes(change(links))
        refused("damaged")
        (folder / "documents.bin").write_bytes(links)
    (folder / "hashes.bin").unlink()
    refused("hashes.bin is damaged")
    remove(folder)
    refused("has no tokens")


def test_large_vocabularies_take_four_bytes(tmp_path, records, store_writer):
    vocabulary = Vocabulary((*SPECIAL, *(f"x{i}" for i in range(70_000)), *(f"word{i}" for i in range(60))))
    store_writer(tmp_path / "s", [records(5, seed=3)], vocabulary)
    tokens = TokenStore.open(tmp_path / "s")
    assert tokens.tokens.dtype == np.uint32
    assert tokens.tokens.max() > 65_536


@pytest.mark.data
def test_real_text_is_tokenised_as_hugging_face_does(data, tmp_path):
    """The first documents of two corpora, whole, against BertTokenizerFast on each sentence's text."""
    import itertools
    import json
    import lzma

    from transformers import BertTokenizerFast

    from linkbert.instances.vocabulary import load_vocabulary

    vocabulary = load_vocabulary(data / "vocab" / "bert-base-uncased.txt")
    vocabulary.save(tmp_path / "v")
    theirs = BertTokenizerFast.from_pretrained(tmp_path / "v", model_max_length=10**9)
    pieces = StoreTokenizer(vocabulary)
    for name in ("wikipedia-articles", "computing-dictionary"):
        with lzma.open(data / "corpora" / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
            for line in itertools.islice(lines, 150):
                text = json.loads(line)["text"]
                assert pieces.tokenise(text, []).ids == theirs(text, add_special_tokens=False).input_ids


@given(st.sampled_from(["bpe", "unigram"]), st.text("aBfox é.\n(東京", max_size=60), st.data())
@settings(max_examples=100, deadline=None)
def test_other_tokenizers_read_a_document_as_a_whole(other_vocabulary, kind, text, data):
    vocabulary = other_vocabulary(kind)
    encoded = vocabulary.tokenizer.encode(text)
    start = data.draw(st.integers(0, max(0, len(text) - 1)))
    link = Link(start, min(start + 1, len(text)), "X")
    made = StoreTokenizer(vocabulary).tokenise(text, [link, Link(-1, -1, "Y")])
    assert made.ids == encoded.ids
    overlapping = [i for i, (a, b) in enumerate(encoded.offsets) if a < link.end and b > link.start]
    assert made.links == [overlapping[0] if text[link.start : link.end].strip() else -1, -1]
    covers = {next(i for i, (a, b) in enumerate(encoded.offsets) if a <= s < b) for s in split_sentences(text) if text}
    assert set(made.sentences) <= covers


def test_other_tokenizers_by_hand(other_vocabulary):
    vocabulary = other_vocabulary("bpe", ("One", "two", "linked"))
    made = StoreTokenizer(vocabulary).tokenise("One two.\nOne linked fox.", [Link(13, 19, "x"), Link(15, 17, "y")])
    assert [vocabulary.tokens[i] for i in made.ids] == ["One", "Ġtwo", ".", "Ċ", "One", "Ġlinked", "Ġfox", "."]
    assert made.sentences == [0, 4]
    assert made.links == [5, 5]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_store_of_another_vocabulary_holds_its_promises(tmp_path, kind, other_vocabulary):
    vocabulary = other_vocabulary(kind, ("Foxes", "0123456789", "<mask>"))
    vocabulary.save(tmp_path / "v")
    text = " ".join(f"A quick fox, a <mask> fox (foxes {i})." for i in range(30))
    lines = [
        {"id": str(i), "text": f"Foxes {i}. {text}", "links": [{"start": 13, "end": 18, "target": str((i + 1) % 9)}]}
        for i in range(9)
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    build_store([tmp_path / "d.jsonl"], tmp_path / "s", vocabulary=str(tmp_path / "v"))
    assert [finding for finding in check(tmp_path / "s") if not finding[1]] == []
    store = TokenStore.open(tmp_path / "s")
    decode = store.vocabulary.tokenizer.decode
    assert decode(store.ids(3).tolist(), skip_special_tokens=False) == f"Foxes 3. {text}"
    config = make_config("tiny", ["sequence_length=64", "held_out=0.2", "masking=word"])
    sampler = Sampler.open(tmp_path / "s", config)
    made = sampler.fill(np.arange(4))
    made.input_ids.flat[made.masked_positions] = made.masked_labels
    spelled = [[vocabulary.spelled[i] for i in line] for line in made.input_ids.tolist()]
    sentences = ["".join(" " * (token[:2] != "##") + token.removeprefix("##") for token in line) for line in spelled]
    assert any("quick fox , a" in sentence for sentence in sentences), sentences
    (tmp_path / "s" / "tokens" / "tokens.json").rename(tmp_path / "s" / "tokens" / "lost.json")
    build_store([tmp_path / "d.jsonl"], tmp_path / "s", vocabulary=str(tmp_path / "v"))
    assert TokenStore.open(tmp_path / "s").meta == store.meta


@pytest.mark.parametrize(
    "text", ["word " * 50, "a" * 300 + " b", "x\0y \x0bz \x85\x7f", "\xe9" * 300 + " caf\xe9 \u4e2d" * 9]
)
def test_text_is_cut_into_pieces_that_change_nothing(pieces, text, monkeypatch):
    monkeypatch.setattr(StoreTokenizer, "PIECE", 3)
    assert pieces.encode(text) == pieces.vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
