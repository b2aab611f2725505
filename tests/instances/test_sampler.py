"""What a reader would doubt of the sampler: each promise as a law over made-up corpora, and one example by hand."""

import dataclasses
import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judge import judge
from linkbert.config import Config
from linkbert.instances import draw as kernels
from linkbert.instances.sampler import (
    Sampler,
    describe_relations,
    fit_config,
    hash_links,
    held_out,
    split_shares,
)
from linkbert.records import CONTIGUOUS, LINKED, RANDOM

THIRDS = (1 / 3, 1 / 3, 1 / 3)
LAWS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def corpora(draw):
    """Lengths of sentences and edges, empty documents, long sentences, hubs and links without a place among them."""
    lengths = draw(st.lists(st.lists(st.integers(1, 30), max_size=7), min_size=2, max_size=12))
    lengths += [[5, 5], [4]]
    size = len(lengths)
    documents = st.sampled_from([i for i, document in enumerate(lengths) if document])
    edges = draw(st.lists(st.tuples(documents, st.integers(-1, 200), st.integers(0, size - 1)), max_size=60))
    return lengths, [(doc, min(token, sum(lengths[doc]) - 1), target) for doc, token, target in edges if doc != target]


@st.composite
def configs(draw):
    a, b, c = (draw(st.integers(0, 4)) for _ in range(3))
    total = a + b + c
    return Config(
        shares=(a / total, b / total, c / total) if total else THIRDS,
        scope=draw(st.sampled_from(["segment", "document"])),
        linked_segment=draw(st.sampled_from(["random", "lead", "section"])),
        alpha=draw(st.sampled_from([0.0, 1.0, 2.5])),
        sequence_length=draw(st.integers(16, 60)),
        mlm_probability=draw(st.sampled_from([0.01, 0.15, 0.5])),
        mlm_probability_end=draw(st.sampled_from([0.0, 0.05, 0.4])),
        masking=draw(st.sampled_from(["token", "word", "span"])),
        steps=draw(st.integers(1, 20)),
        batch_size=draw(st.sampled_from([1, 4])),
        held_out=draw(st.sampled_from([0.0, 0.3])),
        held_out_links=draw(st.sampled_from([0.0, 0.4])),
        seed=draw(st.integers(0, 2**40)),
    )


@LAWS
@given(corpora(), configs(), st.sampled_from(["train", "held-out"]))
def test_every_instance_keeps_every_promise(toy, corpus, config, split):
    store, graph = toy(*corpus)
    own = held_out(store.hashes, config.held_out) == (split == "held-out")
    try:
        sampler = Sampler(store, graph, config, split=split)
    except ValueError as error:
        refused = str(error)
        if config.scope != "segment" or "has a place in the text" not in refused:
            assert not own[np.diff(store.documents) > 0].any(), refused
        return
    made = sampler.fill(np.arange(60))
    for promise, wrong in judge(sampler, made, graph).items():
        assert not wrong.any(), promise
    assert len(made.masked_labels) == sum(np.bincount(made.masked_positions // config.sequence_length, minlength=60))


@given(st.integers(1, 5_000), st.integers(0, 2**64 - 1))
@settings(max_examples=50, deadline=None)
def test_the_order_is_a_permutation(n, key):
    assert sorted(kernels.permute(i, n, np.uint64(key)) for i in range(n)) == list(range(n))


def test_orders_differ_by_epoch_and_seed():
    n = 1_000
    keys = [np.uint64(kernels.make_key(seed, epoch, 0)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    orders = [[kernels.permute(i, n, key) for i in range(n)] for key in keys]
    fixed = [sum(a == b for a, b in zip(x, y, strict=True)) for x, y in itertools.pairwise(orders)]
    assert max(fixed) < 10  # one is what chance gives


class Segment(NamedTuple):
    """Tokens [start, stop) of a document, counted from its first."""

    doc: int
    start: int
    stop: int


def segments(sampler, count):
    """The distinct (A, B, relation) of the first instances."""
    pairs, relations, _ = sampler.draw(np.arange(count))
    first = sampler.store.documents
    return {
        (*(Segment(doc, start - first[doc], stop - first[doc]) for doc, start, stop in (pair[:3], pair[3:])), relation)
        for pair, relation in zip(pairs.tolist(), relations.tolist(), strict=True)
    }


def test_a_worked_example(toy):
    """Two documents of three sentences, the first linked to the second from its first sentence; room for 13 tokens."""
    lengths = [[4, 5, 3], [6, 2, 4]]
    store, graph = toy(lengths, [(0, 2, 1)])
    sampler = Sampler(store, graph, Config(sequence_length=16, held_out=0.0))
    # Half the room is 6: two anchors a document. A ends where sentence 1 or 2 starts, and holds one sentence, for two
    # do not fit: [0, 4) or [4, 9) of the first document, [0, 6) or [6, 8) of the second.
    assert len(sampler) == 4
    seen = segments(sampler, 4_000)
    assert {(a.doc, a.start, a.stop) for a, _, _ in seen} == {(0, 0, 4), (0, 4, 9), (1, 0, 6), (1, 6, 8)}
    for a, b, relation in seen:
        if relation == CONTIGUOUS:
            assert (b.doc, b.start) == (a.doc, a.stop)
        elif relation == LINKED:
            assert a == Segment(0, 0, 4)  # the link stands in the first sentence
            assert b in (Segment(1, 0, 8), Segment(1, 6, 12), Segment(1, 8, 12))  # whole sentences, nine tokens at most
        else:
            assert a.doc == 1  # the first document is linked to all there is
            assert b.doc == 0
    assert (Segment(0, 0, 4), Segment(0, 4, 12), CONTIGUOUS) in seen
    assert sum(relation == LINKED for _, _, relation in seen) == 3
    gave_up = sampler.fill(np.arange(200)).causes & kernels.NO_RANDOM
    assert gave_up.any()


def test_a_sentence_longer_than_the_room_is_cut(toy):
    store, _ = toy([[40, 40], [40]])
    made = Sampler(store, None, Config(sequence_length=16, held_out=0.0, shares=(0.5, 0.5, 0))).fill(np.arange(50))
    _, a_start, a_stop, _, b_start, b_stop = made.pairs.T
    assert set(a_stop - a_start) == {6}
    assert set(b_stop - b_start) == {7}
    assert set(a_stop) <= {40, 120}  # A keeps the end of its sentence
    assert set(b_start) <= {0, 40, 80}  # B its beginning


def many(seed=0, documents=300, **links):
    rng = np.random.default_rng(seed)
    lengths = [list(rng.integers(3, 12, rng.integers(1, 12))) for _ in range(documents)]
    edges = [
        (doc, int(rng.integers(sum(lengths[doc]))), int(rng.integers(documents)))
        for doc in range(documents)
        for _ in range(rng.integers(0, links.get("links", 6)))
    ]
    return lengths, [edge for edge in edges if edge[0] != edge[2]]


def test_a_does_not_depend_on_the_relation(toy):
    store, graph = toy(*many())
    numbers = np.arange(2_000)
    drawn = [
        Sampler(store, graph, Config(sequence_length=64, shares=shares)).fill(numbers).pairs[:, :3]
        for shares in (THIRDS, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.1, 0.4, 0.5))
    ]
    assert all(np.array_equal(drawn[0], other) for other in drawn[1:])


def test_an_epoch_has_every_anchor_once_and_the_next_epoch_other_pairs(toy):
    store, graph = toy(*many())
    sampler = Sampler(store, graph, Config(sequence_length=64, held_out=0.0))
    size = len(sampler)
    assert size == sum(math.ceil(n / 30) for n in np.diff(store.documents))
    first, second = sampler.fill(np.arange(size)), sampler.fill(np.arange(size, 2 * size))
    for epoch in (first, second):
        counts = np.bincount(epoch.pairs[:, 0], minlength=len(store))
        assert np.array_equal(counts, -(-np.diff(store.documents) // 30))
    rows = [{tuple(row) for row in epoch.pairs[epoch.relations == RANDOM].tolist()} for epoch in (first, second)]
    assert len(rows[0] & rows[1]) < 0.01 * size
    cuts = [{tuple(row[:3]) for row in epoch.pairs.tolist()} for epoch in (first, second)]
    assert len(cuts[0] & cuts[1]) < 0.6 * size  # short documents have few places to cut


@pytest.mark.parametrize("shares", [THIRDS, (0.5, 0.5, 0.0), (0.2, 0.5, 0.3), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("scope", ["segment", "document"])
def test_relations_come_in_the_expected_shares(toy, shares, scope):
    store, graph = toy(*many(documents=400, links=8))
    sampler = Sampler(store, graph, Config(sequence_length=64, shares=shares, scope=scope))
    policy = sampler.policy()
    expected, realised = np.array(policy["expected"]), np.array(policy["realised"])
    assert expected.sum() == pytest.approx(1)
    sigma = np.sqrt(expected * (1 - expected) / policy["instances_counted"])
    assert (np.abs(realised - expected) < 4 * sigma + 1e-3).all()
    numbers = np.arange(len(sampler), 6 * len(sampler))  # other epochs
    later = np.bincount(sampler.draw(numbers)[1], minlength=3) / len(numbers)
    assert (np.abs(later - expected) < 4 * sigma + 5e-3).all()
    assert policy["missing"] == pytest.approx(np.maximum(np.array(shares) - realised, 0).tolist())


def test_shares_are_corrected_up_to_one_half():
    assert split_shares(THIRDS, 1.0, 1.0, 1.0) == pytest.approx((1 / 3, 1 / 2))
    assert split_shares(THIRDS, 0.8, 1.0, 0.8) == pytest.approx(
        (1 / 2.4, 1 / 2)
    )  # asked more often where there are links
    assert split_shares(THIRDS, 0.1, 1.0, 0.1) == pytest.approx((1 / 2, 1 / 2))
    assert split_shares(THIRDS, 0.0, 1.0, 0.0) == (0.0, 0.5)
    assert split_shares((0.5, 0.5, 0.0), 0.7, 0.8, 0.6) == (0.0, 0.5)
    assert split_shares((0.2, 0.6, 0.2), 1.0, 0.5, 0.5) == pytest.approx((0.2, 0.5))  # a quarter asked, half can
    assert split_shares((0.6, 0.4, 0.0), 0.0, 0.5, 0.0) == pytest.approx((0.0, 0.6))  # never more than was asked
    assert split_shares((0.0, 1.0, 0.0), 0.5, 0.5, 0.5) == (0.0, 0.0)


def test_anchors_without_a_link_are_split_as_the_others(toy):
    """Among the anchors that can be all three, contiguous and random come as often as among those without a link."""
    store, graph = toy(*many(documents=600))
    sampler = Sampler(store, graph, Config(sequence_length=64))
    _, relations, causes = sampler.draw(np.arange(4 * len(sampler)))
    refused = relations[(causes & kernels.NO_LINK > 0) & (causes & kernels.ONE_SENTENCE == 0)]
    share = (refused == CONTIGUOUS).mean()
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(len(refused)) + 0.03  # a few of them are of one sentence


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_linked_documents_follow_their_weights(toy, alpha):
    """One document links to five others, to one of them three times; in-degrees 1, 2, 4, 8, 16 come from elsewhere."""
    wanted = [1, 2, 4, 8, 16]
    lengths = [[5] * 40] + [[5, 5]] * 25
    edges = [(0, i, 1 + i) for i in range(5)] + [(0, 50, 3), (0, 60, 3)]
    edges += [(6 + k, 0, 1 + i) for i, degree in enumerate(wanted) for k in range(degree - 1)]
    store, graph = toy(lengths, edges)
    assert graph.in_degree[1:6].tolist() == wanted
    config = Config(sequence_length=32, scope="document", alpha=alpha, held_out=0.0, shares=(0.25, 0.25, 0.5))
    made = Sampler(store, graph, config).draw(np.arange(60_000))
    linked = made[0][(made[1] == LINKED) & (made[0][:, 0] == 0)][:, 3]
    seen = np.bincount(linked, minlength=6)[1:6]
    weights = np.array(wanted, float) ** -alpha
    expected = seen.sum() * weights / weights.sum()
    assert seen.sum() > 5_000
    assert ((seen - expected) ** 2 / expected).sum() < 18.5  # chi-square, 4 degrees of freedom, 1 in 1,000


@pytest.mark.parametrize(("choice", "starts"), [("random", {0, 1, 2, 3}), ("lead", {0}), ("section", {2})])
def test_the_segment_of_a_linked_document(toy, choice, starts):
    store, graph = toy([[4, 4, 4], [3, 3, 3, 3]], [(0, 1, 1)], sections=[2])
    config = Config(sequence_length=16, scope="document", held_out=0.0, linked_segment=choice)
    pairs = segments(Sampler(store, graph, config), 2_000)
    assert {b.start // 3 for _, b, relation in pairs if relation == LINKED} == starts


def test_random_partners_are_uniform(toy):
    store, graph = toy([[5, 5]] * 40, [(0, 0, i) for i in range(1, 10)])
    pairs, relations, _ = Sampler(store, graph, Config(sequence_length=32, held_out=0.0)).draw(np.arange(100_000))
    of_first = pairs[(relations == RANDOM) & (pairs[:, 0] == 0)][:, 3]
    seen = np.bincount(of_first, minlength=40)
    assert seen[:10].sum() == 0  # itself, and what it links to
    expected = seen.sum() / 30
    assert ((seen[10:] - expected) ** 2 / expected).sum() < 58  # 29 degrees of freedom, 1 in 1,000


def test_usable_anchors_have_the_exact_shares(toy):
    store, graph = toy(*many(documents=800))
    sampler = Sampler(store, graph, Config(sequence_length=64, held_out=0.2), split="held-out", anchors="usable")
    size, seen = len(sampler), []
    for epoch in range(3):
        made = sampler.fill(np.arange(epoch * size, (epoch + 1) * size))
        assert np.abs(np.bincount(made.relations, minlength=3) - size / 3).max() <= 3
        assert not (made.causes & (kernels.NO_LINK | kernels.ONE_SENTENCE)).any()
        for promise, wrong in judge(sampler, made, graph).items():
            assert not wrong.any(), promise
        seen.append({tuple(row[:3]) for row in made.pairs.tolist()})
    assert seen[0] != seen[1] != seen[2]
    with pytest.raises(ValueError, match="no anchor of the split 'train' of toy has a link"):
        Sampler(store, None, Config(), anchors="usable")


@pytest.mark.parametrize(("linked", "share"), [(0, 0.5), (1, 0.5), (None, 0.001)])
def test_some_anchors_stand_for_all_whatever_the_order_of_documents(toy, monkeypatch, linked, share):
    """Every second document has a link, as where questions and answers take turns, or one of a thousand."""
    which = range(linked, 2000, 2) if linked is not None else [7, 1300]
    store, graph = toy([[10, 10]] * 2000, [(doc, 2, (doc + 3) % 2000) for doc in which])
    monkeypatch.setattr("linkbert.instances.sampler.SURVEYED", 400)
    sampler = Sampler(store, graph, Config(sequence_length=64, held_out=0.0))
    assert sampler.linkable == pytest.approx(share, abs=0.08 if share > 0.1 else 0.003)
    sampler.check_linkable()
    if share > 0.1:
        assert sampler.policy()["realised"][2] == pytest.approx(0.25, abs=0.08)


def test_where_links_were_not_asked_for_none_comes_of_want(toy):
    """Four documents of one sentence, all linked with all: no contiguous B, no random one."""
    store, graph = toy([[4]] * 4, [(i, 0, j) for i in range(4) for j in range(4) if i != j])
    config = Config(scope="document", objective="nsp", shares=(0.5, 0.5, 0.0), held_out=0.0, sequence_length=16)
    _, relations, causes = Sampler(store, graph, config).draw(np.arange(20))
    assert set(relations.tolist()) == {RANDOM}
    assert (causes & kernels.NO_PAIR).all()


def test_nothing_to_pair_with_is_an_empty_b(toy):
    store, graph = toy([[6]])
    made = Sampler(store, graph, Config(sequence_length=16, held_out=0.0)).fill(np.arange(3))
    assert made.lengths.tolist() == [9, 9, 9]
    assert (made.causes & kernels.NO_PAIR).all()
    assert set(made.relations) == {RANDOM}


def test_a_hub_with_thousands_of_links_is_quick_and_right(toy):
    size = 5_000
    rng = np.random.default_rng(0)
    edges = [(0, int(rng.integers(200)), int(target)) for target in rng.integers(1, size, 20_000)]
    store, graph = toy([[5] * 40] + [[4, 4]] * size, edges)
    sampler = Sampler(store, graph, Config(sequence_length=64, scope="document", held_out=0.0))
    made = sampler.fill(np.arange(2_000))
    assert not any(wrong.any() for wrong in judge(sampler, made, graph).values())


def test_held_out_is_a_share_that_grows():
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64)
    tenth, fifth = held_out(hashes, 0.1), held_out(hashes, 0.2)
    assert abs(tenth.mean() - 0.1) < 0.005
    assert (fifth >= tenth).all()
    assert not held_out(hashes, 0.0).any()


def test_held_out_links_are_neither_followed_nor_random_and_are_asked_about(toy):
    """One document links to all nine others: half of the links may be followed, of the other half none is random."""
    lengths = [[4] * 6] * 10
    store, graph = toy(lengths, [(0, 0, target) for target in range(1, 10)])
    hidden = held_out(hash_links(store.hashes, np.zeros(9, np.int64), np.arange(1, 10)), 0.5)
    assert 0 < hidden.sum() < 9
    back = held_out(hash_links(store.hashes, np.arange(1, 10), np.zeros(9, np.int64)), 0.5)
    assert (back == hidden).all()  # the link back is held out, too
    config = Config(sequence_length=32, scope="document", held_out=0.0, held_out_links=0.5, shares=(0.0, 0.0, 1.0))
    pairs, relations, _ = Sampler(store, graph, config).draw(np.arange(4_000))
    of = pairs[:, 0] == 0
    followed = pairs[of & (relations == LINKED), 3]
    assert {*followed.tolist()} == {*(1 + np.flatnonzero(~hidden)).tolist()}
    assert not (of & (relations == RANDOM)).any()
    sampler = Sampler(store, graph, config.replace(held_out=0.9999999), split="held-out")
    pairs, relations, _ = sampler.forced(LINKED).draw(np.arange(4_000))
    assert {*pairs[(pairs[:, 0] == 0) & (relations == LINKED), 3].tolist()} == {*range(1, 10)}


def test_a_split_without_documents_says_what_to_do(toy):
    store, graph = toy([[5, 5], [5, 5]])
    with pytest.raises(ValueError, match="raise held_out"):
        Sampler(store, graph, Config(held_out=0.0), split="held-out")
    with pytest.raises(ValueError, match="build the graph again"):
        Sampler(store, toy([[3]] * 5)[1], Config())


def test_what_takes_the_place_of_masked_tokens(toy):
    """80 % [MASK], 10 % a uniform token that is not special, 10 % as it was."""
    store, graph = toy(*many(documents=200))
    made = Sampler(store, graph, Config(sequence_length=128)).fill(np.arange(3_000))
    seen = made.input_ids.ravel()[made.masked_positions]
    mask = store.vocabulary.ids["[MASK]"]
    total = len(seen)
    other = seen[(seen != mask) & (seen != made.masked_labels)]
    size = len(store.vocabulary) - 5
    for count, share in (((seen == mask).sum(), 0.8), (len(other), 0.1 * (1 - 1 / size))):
        assert abs(count - share * total) < 4 * math.sqrt(total * share * (1 - share))
    counts = np.bincount(other, minlength=len(store.vocabulary))
    assert counts[:5].sum() == 0
    expected = len(other) / size
    assert ((counts[5:] - expected) ** 2 / expected).sum() < size + 4 * math.sqrt(2 * size)


@pytest.mark.parametrize("whole_word", [False, True])
def test_masks_have_the_statistics_of_the_reference(toy, reference, whole_word):
    """On the very same token sequences: how many, where, and which share of word beginnings."""
    import random

    store, graph = toy(*many(documents=100))
    config = Config(sequence_length=128, masking="word" if whole_word else "token")
    made = Sampler(store, graph, config).fill(np.arange(1_500))
    vocabulary = store.vocabulary
    ids, continues = vocabulary.ids, vocabulary.continues
    words = reference.Words(
        len(vocabulary), ids["[CLS]"], ids["[SEP]"], ids["[MASK]"], frozenset(np.flatnonzero(continues).tolist())
    )
    clean = made.input_ids.copy()
    clean.flat[made.masked_positions] = made.masked_labels
    rng = random.Random(0)
    theirs, ours = [], []
    for row, length in enumerate(made.lengths.tolist()):
        line = clean[row, :length].tolist()
        output, positions, _ = reference.mask_tokens(
            line, words, rng, rate=0.15 * (length - 3) / length, whole_word=whole_word
        )
        at = made.masked_positions[made.masked_positions // 128 == row] - 128 * row
        for found, seen, places in ((theirs, output, np.array(positions)), (ours, made.input_ids[row].tolist(), at)):
            replaced = sum(seen[i] == ids["[MASK]"] for i in places)
            found.append((len(places), (places / length).sum(), sum(continues[line[i]] for i in places), replaced))
    theirs, ours = np.array(theirs), np.array(ours)
    if not whole_word:
        assert np.array_equal(theirs[:, 0], ours[:, 0])  # exactly as many in every instance
    for column in range(4):
        x, y = theirs[:, column], ours[:, column]
        error = math.sqrt((x.var() + y.var()) / len(x))
        assert abs(x.mean() - y.mean()) < 4 * error + 1e-9, column


@pytest.mark.parametrize("masking", ["word", "span"])
def test_whole_words_are_masked_whole(toy, masking):
    store, graph = toy(*many(documents=100))
    made = Sampler(store, graph, Config(sequence_length=128, masking=masking)).fill(np.arange(500))
    continues = store.vocabulary.continues
    clean = made.input_ids.copy()
    clean.flat[made.masked_positions] = made.masked_labels
    masked = np.zeros(clean.size, bool)
    masked[made.masked_positions] = True
    masked = masked.reshape(clean.shape)
    for row, (a, b) in enumerate(zip(made.pairs[:, 2] - made.pairs[:, 1], made.lengths - 1, strict=True)):
        total = masked[row].sum()
        if total == 1:
            continue  # where no word fits, the beginning of one is masked
        for start, stop in ((1, 1 + a), (2 + a, b)):
            for at in range(start + 1, stop):
                if continues[clean[row, at]]:
                    assert masked[row, at] == masked[row, at - 1]


def line_of(ids, tokens, middle, wanted):
    """A line of token 5, which starts a word, and token 6, which goes on with one."""
    continues = np.arange(7) == 6
    return kernels.Line(
        ids, tokens, middle, wanted, continues, np.zeros(len(ids), np.int64), np.zeros(len(ids), np.uint8)
    )


@given(st.data(), st.integers(1, 60), st.integers(0, 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_spans_are_whole_words_of_one_segment(data, tokens, key):
    """Token 5 begins a word, token 6 goes on with one; the shortest instance has one token of A and none of B."""
    middle = data.draw(st.integers(1, tokens))
    words = data.draw(st.lists(st.sampled_from([5, 6]), min_size=tokens, max_size=tokens))
    wanted = data.draw(st.integers(1, tokens))
    ids = np.array([2, *words[:middle], 3, *words[middle:], 3])
    line = line_of(ids, tokens, middle, wanted)
    chosen, marked = line.chosen, kernels.choose_spans(line, np.uint64(key))
    assert 1 <= marked == (chosen > 0).sum() <= wanted
    assert not chosen[ids == 3].any()
    assert not chosen[0]
    begins = {1, middle + 2} | set(np.flatnonzero(ids == 5).tolist())
    for start in np.flatnonzero(chosen == 1).tolist():
        stop = start + 1
        while chosen[stop] == 2:
            stop += 1
        assert start in begins
        whole = stop in begins or ids[stop] == 3
        assert whole or (start, stop - start) == (np.flatnonzero(chosen)[0], wanted), "one that is too long, alone"
        assert sum(at in begins for at in range(start, stop)) <= 10
    assert (chosen == 2).sum() + (chosen == 1).sum() == marked


def test_spans_have_the_lengths_of_spanbert():
    """P(n) = 0.2 * 0.8^(n - 1) over 1 to 10, renormalised; few of a long text's spans meet another or its end."""
    ids = np.array([2, *[5] * 60_000, 3, *[5] * 60_000, 3])
    line = line_of(ids, 120_000, 60_000, 4_000)
    chosen, lengths = line.chosen, []
    for key in range(10):
        chosen[:] = 0
        kernels.choose_spans(line, np.uint64(key))
        starts = np.flatnonzero(chosen == 1)
        ends = np.append(starts[1:], len(ids))
        lengths += [int((chosen[a:b] > 0).sum()) for a, b in zip(starts, ends, strict=True)]
    shares = 0.2 * 0.8 ** np.arange(10)
    expected = len(lengths) * shares / shares.sum()
    seen = np.bincount(lengths, minlength=11)[1:]
    assert len(lengths) > 10_000
    assert len(seen) == 10
    assert ((seen - expected) ** 2 / expected).sum() < 27.9  # chi-square, 9 degrees of freedom, 1 in 1,000


def test_the_tokens_of_a_span_share_a_fate(toy):
    """80 % of spans are [MASK] throughout, 10 % other words, 10 % as they were; words are of one token here."""
    store, graph = toy(*many(documents=100))
    config = Config(sequence_length=128, masking="span", mlm_probability=0.05)
    made = Sampler(store, graph, config).fill(np.arange(4_000))
    seen = made.input_ids.ravel()[made.masked_positions]
    mask = store.vocabulary.ids["[MASK]"]
    fates = np.where(seen == mask, 0, np.where(seen == made.masked_labels, 2, 1))
    touch = np.diff(made.masked_positions) == 1
    assert (fates[1:] == fates[:-1])[touch].mean() > 0.95  # but where two spans touch
    spans = fates[np.flatnonzero(np.append(True, ~touch))]
    assert np.bincount(spans, minlength=3) / len(spans) == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_the_masking_rate_goes_in_a_line(toy):
    """From 30 % to 10 % over 10 steps of 8 pairs: at a quarter of the way 25 %; scores are always of 10 %."""
    store, graph = toy(*many(documents=50))
    config = Config(sequence_length=128, mlm_probability=0.3, mlm_probability_end=0.1, max_steps=10, batch_size=8)
    sampler = Sampler(store, graph, config)
    assert sampler.mask_rates(np.array([0, 20, 80, 100])) == pytest.approx([0.3, 0.25, 0.1, 0.1])
    made = sampler.fill(np.array([20]))
    assert len(made.masked_labels) == round(0.25 * (made.lengths[0] - 3))
    assert sampler.mask_rates(np.array([20])) == Sampler(store, graph, config, share=0.5).mask_rates(np.array([10]))
    asked = config.replace(held_out=0.3)
    assert (Sampler(store, graph, asked, split="held-out").mask_rates(np.arange(9)) == 0.1).all()


def test_settings_decide_and_seeds_differ(toy):
    store, graph = toy(*many(documents=60))
    config = Config(sequence_length=64)
    one, same, other = (Sampler(store, graph, config.replace(seed=seed)).fill(np.arange(50)) for seed in (3, 3, 4))
    assert np.array_equal(one.input_ids, same.input_ids)
    assert not np.array_equal(one.pairs, other.pairs)


def test_kernels_compile_without_a_place_for_their_cache(monkeypatch):
    import numba

    real = numba.njit

    def nowhere(function, *, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(function, **options)

    monkeypatch.setattr(numba, "njit", nowhere)
    assert kernels.compiled(lambda x: x + 1)(1) == 2


@pytest.mark.parametrize(
    ("edges", "scope", "said"),
    [
        ([(0, 4, 1), (1, 4, 0)], "segment", "scope=segment: of 2 links, 0.0% are document-level"),
        ([(0, -1, 1), (1, -1, 0)], "document",
         "scope=document: of 2 links, 100.0% are document-level; all are followed"),
        ([(0, 4, 1), (0, -1, 2), (1, -1, 0), (2, -1, 0)], "segment",
         "scope=segment: of 4 links, 75.0% are document-level; these are not followed (scope=document follows all)"),
    ],
)  # fmt: skip
def test_scope_auto_follows_the_places_of_links(toy, edges, scope, said):
    store, graph = toy([[5, 5]] * 4, edges)
    sampler = Sampler(store, graph, Config(sequence_length=16, held_out=0.0))
    assert sampler.config.scope == scope
    assert LINKED in sampler.draw(np.arange(300))[1]
    assert describe_relations(sampler)[-1] == said
    asked = Config(sequence_length=16, held_out=0.0, scope=scope)
    assert (Sampler(store, graph, asked).draw(np.arange(300))[0] == sampler.draw(np.arange(300))[0]).all()


def test_scope_segment_without_places_is_refused_where_a_linked_pair_is_asked(toy):
    store, graph = toy([[5, 5]] * 3, [(0, -1, 1), (1, -1, 0)])
    with pytest.raises(ValueError, match="has a place in the text, so scope=segment can link nothing: take scope=docu"):
        Sampler(store, graph, Config(scope="segment"))
    Sampler(store, graph, Config(scope="segment", shares=(0.5, 0.5, 0.0), held_out=0.0))
    assert Sampler(store, graph, Config(scope="document", held_out=0.0)).config.scope == "document"


def test_without_links_the_linked_share_goes_to_the_others(toy):
    store, empty = toy([[5, 5]] * 3)
    for graph in (None, empty):
        fitted = fit_config(Config(shares=(0.6, 0.2, 0.2)), store, graph)
        assert (fitted.scope, fitted.shares) == ("document", pytest.approx((0.75, 0.25, 0.0)))
        (line,) = describe_relations(Sampler(store, graph, Config(held_out=0.0)))
        assert line == "no links: no linked pairs; this is BERT"
        linked = dataclasses.replace(store, links=np.zeros(30, np.int32))
        (line,) = describe_relations(Sampler(linked, graph, Config(held_out=0.0)))
        assert line.startswith("30 links but no graph (" if graph is None else "30 links, none to another document")


def test_what_is_missing_to_the_asked_shares_is_said_with_its_cause(toy):
    store, graph = toy([[5]] * 10, [(0, 2, 1)])
    lines = describe_relations(Sampler(store, graph, Config(sequence_length=16, held_out=0.0)))
    assert lines[0] == "relations asked: contiguous 33.3%, random 33.3%, linked 33.3%"
    assert lines[1].startswith("relations realised: contiguous 0.0%, random ")
    assert lines[2].startswith("relations missing: contiguous 33.3%, random 0.0%")
    assert lines[2].endswith(
        "; of 10 places for segment A, 1 have a link to follow (scope=segment) and 0 have text after them"
    )
