"""Probes against models whose answers are known: an example by hand, a law on random links, and a real checkpoint."""

import json
import math
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tokenizers import Regex, Tokenizer, models, normalizers
from torch.nn.functional import one_hot
from transformers import BertConfig

from linkbert.api import Store, build_store
from linkbert.config import Config
from linkbert.graph.links import add_graph
from linkbert.instances import vocabulary
from linkbert.instances.mixture import fingerprint
from linkbert.instances.sampler import NoUsableAnchorError, Sampler, hash_links
from linkbert.instances.tokens import TokenStore
from linkbert.instances.vocabulary import SPECIAL
from linkbert.model.checkpoint import make_model, write_model
from linkbert.model.heads import Predictions
from linkbert.pretraining import evaluation, journal
from linkbert.pretraining.scores import clustered_gain
from linkbert.records import CONTIGUOUS, IGNORED, LINKED, RANDOM, Document, Link
from linkbert.tasks.examples import QuestionExample
from linkbert.trials import probes
from linkbert.trials.probes import NEXT_TO, PROBES, ProbeConfig, bm25, cloze_questions, find_names, logistic

NAMES = ["Alma", "Bert", "Cleo", "Dora", "Emil", "Fred", "Gina", "Hugo", "Iris", "Jona"]
WORDS = [f"word{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
YEARS = [str(year) for year in range(1900, 1910)]
ASKED = {
    "sequence_length": 48,
    "held_out": 0.4,
    "held_out_links": 0.5,
    "examples": 90,
    "seed": 10,
    "mlm_probability": 0.4,
}
FOUR = ("link-gain", "relation-transfer", "linked-retrieval", "two-hop-cloze")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A vocabulary, a small BERT of it, and a store of 90 documents.

    A document has three names and two words of its own, and each of its sentences has the words and a name of the
    document that it links to, so that links tell; besides the hyperlinks there is a graph of random ones.
    """
    folder, draw = tmp_path_factory.mktemp("probes"), random.Random(0)
    words = ["here", "of", ".", *WORDS, *YEARS, *map(str.lower, NAMES)]
    of = [(draw.sample(NAMES, 3), draw.sample(WORDS, 2)) for _ in range(90)]
    documents = []
    for number, (names, own) in enumerate(of):
        text, links = "", []
        for i in range(6):
            target = (number + draw.choice([1, 2, 5, 9])) % 90
            text += f"Here {own[0]} {own[1]} {draw.choice(YEARS)} of {names[i % 3]} "
            links.append(Link(len(text), len(text) + 6, str(target)))
            text += f"{of[target][1][0]} {of[target][1][1]} of {draw.choice(of[target][0])}.\n"
        documents.append(Document(str(number), f"Page {number}", text, tuple(links)))
    make(folder, documents, words)
    add_graph(Store.open(folder / "store"), "random", "random", {"seed": 3})
    return folder


def make(folder, documents, words):
    """Build a store, and write a BERT of its vocabulary, with random weights."""
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words]) + "\n")
    build_store(documents, folder / "store", vocabulary=str(folder / "vocab.txt"), lowercase=True)
    (folder / "model").mkdir()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(words), max_position_embeddings=64, initializer_range=0.3, **sizes
    )
    write_model(make_model(config, {}, objective="drp"), folder / "model", vocabulary=folder / "store" / "vocabulary")


class Copier(torch.nn.Module):
    """Loses ln 2 on a token that stands in B, else ln 8; its states are bags of words, and how much A and B share."""

    def __init__(self, model):
        super().__init__()
        self.config, self.objective, self.model = model.config, model.objective, model
        self.config.hidden_size = self.config.vocab_size + 1

    def shared(self, inputs):
        count = int(inputs.pairs.max()) + 1
        flat = [each.flatten().tolist() for each in (inputs.pairs, inputs.token_type_ids, inputs.input_ids)]
        found = [[set(), set()] for _ in range(count)]
        for pair, side, token in zip(*flat, strict=True):
            if pair >= 0 and token >= 8:
                found[pair][side].add(token)
        return found

    def encode(self, inputs, *, every=False):
        every = one_hot(inputs.input_ids, self.config.hidden_size).flatten(0, 1).float()
        every[:, :8] = 0
        bags = self.shared(inputs)
        first = torch.stack([every[inputs.pairs.flatten() == pair].sum(0) for pair in range(len(bags))])
        first[:, -1] = torch.tensor([float(sum(token < 72 for token in a & b)) for a, b in bags])  # WORDS
        return every[inputs.masked_positions], first, every

    def relation_logits(self, first):
        return torch.stack([first[:, -1] - 99, 0.5 - first[:, -1], first[:, -1] - 0.5], 1)

    def predict(self, inputs, labels):
        bags = self.shared(inputs)
        pairs = inputs.pairs.flatten()[inputs.masked_positions].tolist()
        held = torch.tensor([label in bags[pair][1] for pair, label in zip(pairs, labels.tolist(), strict=True)])
        losses = torch.where(held, math.log(2), math.log(8))
        tokens = torch.where(held, labels, 0)
        return Predictions(
            tokens, torch.where(labels == IGNORED, 0.0, losses), self.relation_logits(self.encode(inputs)[1])
        )


@pytest.fixture(autouse=True)
def one_strength(monkeypatch):
    monkeypatch.setattr("linkbert.trials.probes.STRENGTHS", (1.0,))


@pytest.fixture
def copier(monkeypatch):
    load = evaluation.load_model
    monkeypatch.setattr(evaluation, "load_model", lambda *given, **options: Copier(load(*given, **options)))


def ask(name, folder, **settings):
    return PROBES[name](folder / "model", folder / "store", ASKED | settings)


def interval(found, name, less=0.0):
    values, groups = found["rows"][name] - less, found["groups"][name]
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    return clustered_gain(sums.tolist(), [0.0] * len(sums), counts.tolist(), len(values))


def effects(name, found):
    """The intervals of what a probe calls its effects."""
    less = found["measures"].get("chance", 0.0)
    prefixes = {"link-gain": "link_gain", "relation-transfer": "linked_", "linked-retrieval": "", "two-hop-cloze": ""}
    names = [each for each in found["rows"] if each.startswith(prefixes[name])]
    if name == "two-hop-cloze":
        names = [each for each in names if each.endswith("_gain")]
    return {each: interval(found, each, less) for each in names}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUR)
def test_on_random_links_every_effect_is_0_within_its_interval_and_on_real_ones_it_is_not(name, folder, copier):
    found = effects(name, ask(name, folder, graph="random"))
    assert len(found) >= 3
    for effect, gain in found.items():
        assert gain.low <= 0 <= gain.high, (effect, gain)
        assert gain.high - gain.low < 1.5, (effect, gain)
    told = {
        "link-gain": ["link_gain", "link_gain_in_b", "link_gain_others"],
        "relation-transfer": ["linked_head", "linked_states", "linked_words"],
        "linked-retrieval": ["mean", "cls", "bm25"],
        "two-hop-cloze": [],  # the copier knows nothing of a text but that it holds the name
    }[name]
    real = effects(name, ask(name, folder))
    assert {effect for effect in told if real[effect].low > 0} == {*told}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUR)
def test_a_checkpoint_is_asked_and_another_the_same_examples(name, folder):
    first, again = ask(name, folder, examples=20), ask(name, folder, examples=20, micro_batch_size=3)
    assert first["measures"].keys() >= first["rows"].keys() == first["groups"].keys()
    for measure, values in first["rows"].items():
        assert first["measures"][measure] == pytest.approx(values.mean())
        assert len(values) == len(first["groups"][measure]) > 0
        np.testing.assert_array_equal(first["groups"][measure], again["groups"][measure])
        np.testing.assert_allclose(values, again["rows"][measure], atol=1e-5)
    out = TokenStore.open(folder / "store").hashes < 0.4 * 2.0**64
    asked = {
        name: groups for name, groups in first["groups"].items() if not name.startswith(("seen", "unseen", "internal"))
    }
    assert all(out[groups].all() for groups in asked.values())
    with pytest.raises(ValueError, match="unknown setting 'exampels'; did you mean 'examples'"):
        ask(name, folder, exampels=3)


def test_link_gain_by_plain_reading(folder, copier):
    """What stands next to each masked token, counted from the Instances alone."""
    found = ask("link-gain", folder)
    sampler = Sampler.open(folder / "store", ProbeConfig(**ASKED, batch_size=270), split="held-out", anchors="usable")
    count = min(len(sampler), 90)
    beside = {relation: sampler.forced(relation).fill(np.arange(count)) for relation in (CONTIGUOUS, RANDOM, LINKED)}
    spelled, names = sampler.store.vocabulary.spelled, {*map(str.lower, NAMES)}
    rows = {name: [] for name in found["rows"]}
    made = beside[LINKED]
    for label, position in zip(made.masked_labels.tolist(), made.masked_positions.tolist(), strict=True):
        row = position // 48
        b = {relation: {*each.input_ids[row][each.token_type_ids[row] > 0]} for relation, each in beside.items()}
        loss = {relation: 1 if label in held and label >= 8 else 3 for relation, held in b.items()}  # in ln 2
        start, stop = made.pairs[row, 1:3]
        a = sampler.store.tokens[start:stop].tolist()
        masked = [each - 48 * row - 1 for each in made.masked_positions.tolist() if each // 48 == row]
        unmasked = [token for place, token in enumerate(a) if place not in masked]
        word = spelled[label]
        for kind, relation in (("link_gain", LINKED), ("context_gain", CONTIGUOUS)):
            gain = loss[RANDOM] - loss[relation]
            rows[kind].append(gain)
            one = (label in b[relation]) != (label in b[RANDOM]) and label not in unmasked
            classes = {"in_b": one, "entities": word in names, "numbers": word in YEARS}
            classes["others"] = not any(classes.values())
            for name in [name for name, belongs in classes.items() if belongs]:
                rows[f"{kind}_{name}"].append(gain)
            if one and relation == LINKED:
                rows["copying"].append(gain if label in b[LINKED] else -gain)
    kinds = ("", "_in_b", "_entities", "_numbers", "_others")
    assert rows.keys() == {"copying", *(f"{name}{kind}" for name in ("link_gain", "context_gain") for kind in kinds)}
    for name, values in rows.items():
        np.testing.assert_allclose(found["rows"][name], math.log(2) * np.array(values), atol=1e-6, err_msg=name)
    assert found["measures"]["copying"] == pytest.approx(2 * math.log(2), abs=0.2)  # not where [SEP] and the like are


def test_a_head_that_takes_linked_for_random(folder, monkeypatch):
    def read(_, batches):
        _, relations, _ = batches.sampler.draw(np.arange(batches.config.batch_size))
        return np.zeros((len(relations), 4)), np.eye(3)[np.where(relations == LINKED, RANDOM, relations)]

    monkeypatch.setattr(probes, "read_pairs", read)
    found = ask("relation-transfer", folder, examples=60)["measures"]
    assert (found["head"], found["linked_head"]) == (pytest.approx(2 / 3), pytest.approx(0.0, abs=0.02))
    assert (found["states"], found["linked_states"]) == (
        pytest.approx(1 / 3),
        pytest.approx(0.0, abs=0.02),
    )
    assert found["linked_words"] > 0.1


def test_three_linked_documents_that_rank_1st_10th_and_11th(folder, monkeypatch):
    sampler = Sampler.open(folder / "store", ProbeConfig(**ASKED), split="held-out", anchors="usable")
    pairs = sampler.forced(LINKED).draw(np.arange(3))[0]
    graph = sampler.graph
    scores = np.zeros((3, 90))
    for row, (rank, a, b) in enumerate(zip((0, 9, 10), pairs[:, 0], pairs[:, 3], strict=True)):
        left_out = {a, b, *graph.edges_out(a).tolist()}
        scores[row, [*left_out]] = 9.0  # these do not count
        scores[row, b] = 1.0
        scores[row, [each for each in range(90) if each not in left_out][:rank]] = 2.0
    monkeypatch.setattr(probes, "bm25", lambda *_: scores)
    found = ask("linked-retrieval", folder, examples=3)
    assert found["rows"]["bm25"].tolist() == [1.0, 1.0, 0.0]
    assert found["measures"]["chance"] == pytest.approx(10 / 90)
    assert found["groups"]["bm25"].tolist() == pairs[:, 0].tolist()


TOWN = [
    Document("a", "", "Here word of Alma in words here. Word of Hugo.", (Link(5, 9, "b"),)),
    Document("b", "", "Word of words. It was of Alma here.\nWords here."),
    Document("c", "", "Words here. It is of Alma too."),
    Document("d", "", "Words of words here."),
]


@pytest.fixture
def town(folder, tmp_path):
    """Four documents: a links to b, both name Alma; c names her, too; d does not."""
    words = ["here", "of", ".", "word", "words", "in", "it", "was", "is", "too", "alma", "hugo"]
    make(tmp_path, TOWN, words)
    return tmp_path


def test_a_cloze_by_hand(town, copier):
    settings = {"held_out": 0.0, "sequence_length": 32}
    (question,) = cloze_questions(town / "store", ProbeConfig(**settings))
    vocabulary = TokenStore.open(town / "store").vocabulary
    write = [" ".join(vocabulary.spelled[i] for i in question.line(i, vocabulary.special_ids).ids) for i in range(4)]
    a = "[CLS] here word of [MASK] in words here . word of hugo . [SEP]"
    assert write[0] == a
    assert write[1] == f"{a} words of words here . [SEP]"
    assert write[2] == f"{a} it is of alma too . [SEP]"
    assert write[3] == f"{a} it was of alma here . words here . [SEP]"
    assert (question.document, question.kind, NEXT_TO) == (0, "seen", ("absent", "random", "named", "linked"))
    found = PROBES["two-hop-cloze"](town / "model", town / "store", settings)
    logp = {name: round(found["measures"][f"seen_{name}_logp"], 2) for name in NEXT_TO}
    assert logp == {"absent": -2.08, "random": -2.08, "named": -0.69, "linked": -0.69}
    right = {name: found["measures"][f"seen_{name}_right"] for name in NEXT_TO}
    assert right == {"absent": 0.0, "random": 0.0, "named": 1.0, "linked": 1.0}
    assert found["measures"]["seen_gain"] == 0.0
    assert "internalised_gain" not in found["measures"]


def test_a_store_without_a_name_to_ask_says_so(town, monkeypatch):
    monkeypatch.setattr(probes, "cloze_questions", lambda store, config: [])
    with pytest.raises(NoUsableAnchorError, match="has no name that a linked text holds, too: there is nothing to ask"):
        PROBES["two-hop-cloze"](town / "model", town / "store", {"held_out": 0.0, "sequence_length": 32})


def test_more_held_out_than_in_training_is_said(town, monkeypatch, caplog):
    config, there = Config(held_out=0.1), fingerprint(town / "store", "hyperlink")
    record = {"format": 1, "config": config.model_dump(mode="json"), "store": {"fingerprint": there}}
    monkeypatch.setattr(journal, "read_record", lambda run: record)
    (town / "model" / "run.json").write_text("{}")
    for share, said in ((0.1, 0), (0.4, 1)):
        PROBES["two-hop-cloze"](town / "model", town / "store", {"held_out": share, "sequence_length": 32})
        assert caplog.text.count("these documents are not all held out") == said


def test_a_link_is_seen_unless_training_held_it_out(folder):
    tokens = TokenStore.open(folder / "store")
    questions = cloze_questions(folder / "store", ProbeConfig(**ASKED))
    assert {question.kind for question in questions} == {"seen", "unseen", "new"}
    edges = Store.open(folder / "store").graph()
    for question in questions:
        targets = edges.edges_out(question.document)
        hidden = hash_links(tokens.hashes, np.full(len(targets), question.document), targets) < np.uint64(2**63)
        out = tokens.hashes < 0.4 * 2.0**64
        assert out[question.document] == (question.kind == "new")
        texts = [tokens.ids(target).tolist() for target, held in zip(targets, hidden, strict=True)
                 if question.kind == "new" or (held == (question.kind == "unseen") and not out[target])]  # fmt: skip
        b, name = question.b[3].tolist(), question.a[question.name].tolist()
        assert any(text[i : i + len(b)] == b for text in texts for i in range(len(text)))
        assert name[0] in b
        assert question.a.tolist().count(name[0]) == 1
        assert question.b[1] is None or name[0] not in question.b[1]
        assert question.b[2] is None or name[0] in question.b[2]


def test_what_following_links_brought_is_asked_of_documents_with_a_link_of_both_kinds(folder):
    found = ask("two-hop-cloze", folder)
    rows, groups = found["rows"], found["groups"]
    by_hand = {}
    for kind, sign in (("seen", 1), ("unseen", -1)):
        for value, document in zip(rows[f"{kind}_absent_logp"], groups[f"{kind}_absent_logp"].tolist(), strict=True):
            by_hand.setdefault(document, []).append(sign * value)
    by_hand = {document: sum(values) for document, values in sorted(by_hand.items()) if len(values) == 2}
    assert groups["internalised_gain"].tolist() == [*by_hand]
    np.testing.assert_allclose(rows["internalised_gain"], [*by_hand.values()])


def test_names_are_capitalised_words_within_a_sentence(town):
    tokens = TokenStore.open(town / "store")
    text = TOWN[0].text
    found = find_names(text, tokens, 0)
    assert [(text[name.start : name.end], name.first, name.stop) for name in found] == [
        ("Alma", 3, 4),
        ("Hugo", 10, 11),
    ]
    assert find_names(text + " It was.", tokens, 0) == []  # not the text of these tokens


def test_regressions_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(200, 6)), rng.integers(0, 3, 200)
    x[labels == 2] += 0.7
    for strength in (0.1, 10.0):
        ours, theirs = (
            logistic(x, labels, strength)(x),
            LogisticRegression(C=strength, tol=1e-8, max_iter=1_000).fit(x, labels),
        )
        chances = np.exp(ours) / np.exp(ours).sum(1, keepdims=True)
        np.testing.assert_allclose(chances, theirs.predict_proba(x), atol=1e-3)


def test_bm25_by_hand():
    """Three texts of 2, 4 and 3 tokens; token 1 stands in two of them, once and twice."""
    texts = [np.array(text) for text in ([1, 2], [1, 1, 3, 4], [2, 3, 5])]
    idf = math.log(1 + 1.5 / 2.5)
    wanted = [idf / (1 + 1.2 * (0.25 + 0.75 * 2 / 3)), idf * 2 / (2 + 1.2 * (0.25 + 0.75 * 4 / 3)), 0.0]
    np.testing.assert_allclose(bm25([np.array([1, 1])], texts, 6), [wanted])


def test_reading_is_fine_tuning_on_few_questions(folder, tmp_path):
    def question(i):
        word = WORDS[i % 60]
        return QuestionExample(str(i), "of", f"here {word} of", (word,), ((5, 5 + len(word)),))

    table = {"name": "own", "kind": "question", "metrics": ["answer_f1", "exact"]}
    data = {
        "train": [question(i) for i in range(40)],
        "dev": [question(i) for i in range(8)],
        "test": [question(41)] * 2,
    }
    settings = {
        "data": data,
        "tasks": table,
        "num_train_epochs": 1,
        "to": tmp_path,
        "seeds": 2,
        "max_length": 32,
        "stride": 8,
        "graph": "tfidf",
    }
    found = PROBES["reading"](folder / "model", folder / "store", settings)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["counts"]["train: examples"] for line in lines] == [10, 10]
    assert found["measures"] == {"own": pytest.approx(np.mean([line["scores"]["test"]["answer_f1"] for line in lines]))}
    assert found["groups"]["own"].tolist() == [0, 1]
    with pytest.raises(ValueError, match=re.escape("needs the folder of its datasets: give data = FOLDER")):
        PROBES["reading"](folder / "model", folder / "store", {})


def town_of(folder, *documents):
    """Build a town of other documents."""
    make(folder, documents, ["here", "of", ".", "word", "words", "in", "it", "was", "is", "too", "alma", "hugo"])
    return folder / "store"


@pytest.mark.slow
def test_a_text_with_the_name_is_any_document_that_holds_it_at_its_first_place(tmp_path):
    """c names Alma once, e thirty times."""
    often = Document("e", "", "Here is of Alma." + " It was of Alma." * 30)
    store = town_of(tmp_path, *TOWN, often)
    drawn = []
    for seed in range(60):
        (question,) = cloze_questions(store, ProbeConfig(held_out=0.0, sequence_length=32, seed=seed))
        drawn.append(question.b[2].tolist())
    tokens = TokenStore.open(store)
    assert {*map(tuple, drawn)} == {tuple(tokens.ids(4)[: len(max(drawn, key=len))]), tuple(tokens.ids(2).tolist()[3:])}
    assert 18 <= sum(len(each) == len(max(drawn, key=len)) for each in drawn) <= 42


def test_no_anchor_of_a_link_to_the_same_document_is_masked(tmp_path):
    twice = Document("a", "", TOWN[0].text, (Link(5, 9, "b"), Link(13, 17, "b")))
    assert TOWN[0].text[13:17] == "Alma"
    store = town_of(tmp_path, twice, *TOWN[1:])
    assert cloze_questions(store, ProbeConfig(held_out=0.0, sequence_length=32)) == []


@pytest.mark.slow
def test_a_store_without_links_and_pairs_without_linked_ones(folder, tmp_path):
    linked, store = Store.open(folder / "store"), tmp_path / "store"
    texts = [Document(str(number), "", linked.document(number).text) for number in range(90)]
    build_store(texts, store, vocabulary=str(folder / "vocab.txt"), lowercase=True)
    add_graph(Store.open(store), "tfidf", "tfidf")
    assert cloze_questions(store, ProbeConfig(held_out=0.0, sequence_length=48, graph="tfidf", scope="document"))
    with pytest.raises(ValueError, match="has no linked or no random pairs to tell apart"):
        ask("relation-transfer", folder, shares="1/2,1/2,0", examples=20)


def test_names_are_not_looked_for_by_a_tokenizer_that_never_ends(monkeypatch):
    monkeypatch.setattr(vocabulary, "PATIENCE", 1)
    monkeypatch.setattr(vocabulary, "PACE", 10**9)
    (tokenizer := Tokenizer(models.WordLevel({"a": 0}, "a"))).normalizer = normalizers.Replace(Regex("a+(?<!a)"), "b")
    tokens = SimpleNamespace(path="store", vocabulary=SimpleNamespace(tokenizer=tokenizer))
    with pytest.raises(ValueError, match="the tokenizer of store takes more than 1 seconds"):
        find_names("a" * 20_000 + "!", tokens, 0)
