"""The compiled half of the sampler: instance numbers come in, segments, tokens and masks go out.

Everything random is a hash of (seed, epoch, index, purpose, draw number): no generator has a state here. The functions
work on one instance at a time over memory-mapped arrays, and hold no lock (nogil), so that a loader can run next to a
training step. All but `mix` live in this one file because numba's cache looks at one file's date only.
"""

from typing import NamedTuple

import numpy as np

from linkbert.compiled import compiled, mix
from linkbert.records import CONTIGUOUS, LINKED, RANDOM

# What an instance is drawn for; each purpose has random numbers of its own.
_ORDER, _CUT, _RELATION, _PAIR, _MASK = range(5)
SEGMENTS = ("random", "lead", "section")  # of a linked document; a Plan has the place here
LEAD, SECTION = 1, 2
HELD_OUT = -2
# Why an instance has another relation than the one drawn for it (bits).
NO_LINK, ONE_SENTENCE, NO_RANDOM, NO_PAIR = 1, 2, 4, 8
CAUSES = {"no_usable_link": NO_LINK, "one_sentence": ONE_SENTENCE, "random_gave_up": NO_RANDOM, "no_partner": NO_PAIR}
_REPLACE = 1 << 20  # draws from here on decide what takes a token's place; the ones before, which are masked
_LONGEST_SPAN = 10  # words
_TRIES = 64  # documents drawn before a random partner is given up

_U = np.uint64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_GOLDEN_RATIO = 0.6180339887498949


class Corpus(NamedTuple):
    """The arrays the kernels read: TokenStore's and LinkGraph's, and what the sampler derived from them at load."""

    tokens: np.ndarray  # uint16 or uint32 (tokens,)
    documents: np.ndarray  # int64 (N + 1,), first token of each document
    sentences: np.ndarray  # int64 (sentences,), first token of each sentence
    document_sentences: np.ndarray  # int64 (N + 1,)
    link_tokens: np.ndarray  # int32 (links,), token within its document, -1 without a place
    edge_offsets: np.ndarray  # int64 (N + 1,)
    edge_targets: np.ndarray  # int32 (edges,)
    edge_links: np.ndarray  # int64 (edges,), link number, -1 without a link, HELD_OUT where no pair follows it
    edge_sections: np.ndarray  # int32 (edges,), sentence within the target, -1 without a section
    first_anchor: np.ndarray  # int64 (N + 1,), anchors of the documents before each one
    usable: np.ndarray  # uint8 (N,), 1 where a document may be B
    partners: np.ndarray  # int32, the documents that may be B
    weights: np.ndarray  # float64 (N,), in-degree^-alpha
    listed: np.ndarray  # int64, the anchors to enumerate; empty: all of them


class Plan(NamedTuple):
    """The settings the kernels read."""

    seed: int
    anchors: int
    half: int  # longest A
    room: int  # longest A and B together
    scope_segment: bool
    segment: int  # a place in SEGMENTS
    spans: bool  # masks are spans of words
    usable_only: bool  # the anchors are a list of those that can have every relation with the cut of epoch 0
    linked: float = 0.0  # chance of linked where A has a usable link
    contiguous: float = 0.0  # chance of contiguous where linked did not come out and A is followed by a sentence
    only_a: bool = False  # masks are in A alone


class Special(NamedTuple):
    """The vocabulary as masking sees it; not in the Plan, as arrays there would slow down every call of drawing."""

    tokens: tuple[int, int, int]  # [CLS], [SEP] and [MASK]
    reserved: np.ndarray  # int64, sorted tokens that never replace another
    others: int  # how many tokens are not reserved
    continues: np.ndarray  # bool (V,), whether a token continues the word before it ("##ing"); empty: none does


@compiled
def draw(key: np.uint64, number: int) -> np.uint64:
    """Return draw `number` of a key: 64 random bits."""
    return mix(key + (_U(number) + _U(1)) * _GOLDEN)


@compiled
def make_key(seed: int, epoch: int, purpose: int) -> np.uint64:
    """Derive the key that one purpose has in one epoch of one seed."""
    return draw(draw(draw(_U(0), seed), epoch), purpose)


@compiled
def unit(bits: np.uint64) -> float:
    """Turn random bits into a number in [0, 1)."""
    return float(bits >> _U(11)) * 2.0**-53


@compiled
def below(bits: np.uint64, n: int) -> np.int64:
    """Turn the upper 32 random bits into an index in [0, n), n < 2^32; signed: numba adds uint64 to int64 as floats."""
    return np.int64(((bits >> _U(32)) * _U(n)) >> _U(32))


@compiled
def permute(index: int, n: int, key: np.uint64) -> np.int64:
    """Return the place of `index` in a pseudo-random permutation of 0..n-1."""
    half = 1  # a Feistel network permutes the next power of four, again and again until it is inside
    while (1 << (2 * half)) < n:
        half += 1
    low = (_U(1) << _U(half)) - _U(1)
    x = _U(index)
    while True:
        left, right = x >> _U(half), x & low
        for turn in range(4):
            left, right = right, left ^ (mix(key + right * _GOLDEN + _U(turn)) & low)
        x = (left << _U(half)) | right
        if x < _U(n):
            return np.int64(x)


@compiled
def last_not_above(table: np.ndarray, start: int, stop: int, value: float) -> int:
    """Find the last i in [start, stop) with table[i] <= value, `start` where there is none."""
    while stop - start > 1:
        middle = (start + stop) >> 1
        if table[middle] <= value:
            start = middle
        else:
            stop = middle
    return start


@compiled
def run_forward(corpus: Corpus, doc: int, sentence: int, room: int) -> tuple[int, int]:
    """Return the tokens [start, stop) of the whole sentences from `sentence` that fit; of a longer one, its start."""
    start, end = corpus.sentences[sentence], corpus.documents[doc + 1]
    if end - start <= room:
        return start, end
    stop = start
    for i in range(sentence + 1, corpus.document_sentences[doc + 1]):
        if corpus.sentences[i] - start > room:
            break
        stop = corpus.sentences[i]
    return start, stop if stop > start else start + room


@compiled
def place_anchor(corpus: Corpus, plan: Plan, anchor: int, epoch: int) -> tuple[int, int, int, int]:
    """Return an anchor's document, the tokens [start, stop) of A, and the sentence that follows A (-1: none)."""
    doc = last_not_above(corpus.first_anchor, 0, len(corpus.first_anchor), anchor)
    first, last = corpus.document_sentences[doc], corpus.document_sentences[doc + 1]
    begin, end = corpus.documents[doc], corpus.documents[doc + 1]
    if last - first == 1:
        return doc, max(begin, end - plan.half), end, -1
    # The cut moves by epoch within the anchor's own stretch of the document, whatever the relation that is drawn.
    stretch = (end - begin) / (corpus.first_anchor[doc + 1] - corpus.first_anchor[doc])
    shift = unit(draw(make_key(plan.seed, epoch, _CUT), doc))
    cut = begin + (anchor - corpus.first_anchor[doc] + shift) * stretch
    after = last_not_above(corpus.sentences, first, last, cut)
    if after + 1 < last and corpus.sentences[after + 1] - cut < cut - corpus.sentences[after]:
        after += 1
    after = min(max(after, first + 1), last - 1)
    start = stop = corpus.sentences[after]
    for i in range(after - 1, first - 1, -1):
        if stop - corpus.sentences[i] > plan.half:
            break
        start = corpus.sentences[i]
    return doc, start if start < stop else stop - plan.half, stop, after


@compiled
def follows(corpus: Corpus, plan: Plan, edge: int, doc: int, start: int, stop: int) -> bool:
    """Check whether an edge of `doc` may be followed from A = tokens [start, stop)."""
    target = corpus.edge_targets[edge]
    link = corpus.edge_links[edge]
    if target == doc or link == HELD_OUT or not corpus.usable[target]:
        return False
    if not plan.scope_segment:
        return True
    if link < 0 or corpus.link_tokens[link] < 0:
        return False
    return start <= corpus.documents[doc] + corpus.link_tokens[link] < stop


@compiled
def has_link(corpus: Corpus, plan: Plan, doc: int, start: int, stop: int) -> bool:
    """Check whether any edge may be followed from A."""
    for edge in range(corpus.edge_offsets[doc], corpus.edge_offsets[doc + 1]):
        if follows(corpus, plan, edge, doc, start, stop):
            return True
    return False


@compiled
def pick_linked(
    corpus: Corpus, plan: Plan, doc: int, start: int, stop: int, chance: float, choice: np.uint64
) -> tuple[int, int]:
    """Draw one of the distinct documents linked from A by weight, and the section a link to it names (or -1, -1)."""
    first, last = corpus.edge_offsets[doc], corpus.edge_offsets[doc + 1]
    found = np.empty(last - first, np.int64)
    count = 0
    for edge in range(first, last):
        if follows(corpus, plan, edge, doc, start, stop):
            found[count] = edge
            count += 1
    if count == 0:
        return -1, -1
    bits = 2
    while (1 << bits) < 2 * count:
        bits += 1
    met = np.full(1 << bits, -1, np.int32)  # a hash table, so that a hub's time is linear in its edges
    upto, targets = np.empty(count), np.empty(count, np.int32)
    distinct, total = 0, 0.0
    for i in range(count):
        target = corpus.edge_targets[found[i]]
        slot = np.int64(mix(_U(target)) & _U((1 << bits) - 1))
        while met[slot] >= 0 and met[slot] != target:
            slot = (slot + 1) & ((1 << bits) - 1)
        if met[slot] < 0:
            met[slot] = target
            total += corpus.weights[target]
            upto[distinct] = total
            targets[distinct] = target
            distinct += 1
    at = 0
    while at < distinct - 1 and upto[at] <= chance * total:
        at += 1
    target = targets[at]
    if plan.segment != SECTION:
        return target, -1
    leading = found[:count][corpus.edge_targets[found[:count]] == target]
    return target, corpus.edge_sections[leading[below(choice, len(leading))]]


@compiled
def pick_random(corpus: Corpus, doc: int, key: np.uint64) -> int:
    """Draw a document that is neither `doc` nor linked from it; -1 after too many tries."""
    first, last = corpus.edge_offsets[doc], corpus.edge_offsets[doc + 1]
    for attempt in range(_TRIES):
        other = corpus.partners[below(draw(key, 8 + attempt), len(corpus.partners))]
        for edge in range(first, last):
            if corpus.edge_targets[edge] == other:
                break
        else:
            if other != doc:
                return other
    return -1


@compiled
def draw_pairs(corpus: Corpus, plan: Plan, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the segments of instances, int64 (B,): pairs (B, 6), relations (B,) and causes (B,), as in Instances."""
    pairs, relations = np.empty((len(numbers), 6), np.int64), np.empty(len(numbers), np.int64)
    causes = np.empty(len(numbers), np.uint8)
    for row in range(len(numbers)):
        epoch, index = numbers[row] // plan.anchors, numbers[row] % plan.anchors
        anchor = permute(index, plan.anchors, make_key(plan.seed, epoch, _ORDER))
        if len(corpus.listed):
            anchor = corpus.listed[anchor]
        doc, start, stop, after = place_anchor(corpus, plan, anchor, epoch)
        if plan.usable_only and not has_link(corpus, plan, doc, start, stop):
            doc, start, stop, after = place_anchor(corpus, plan, anchor, 0)
        key = draw(make_key(plan.seed, epoch, _PAIR), index)
        # Steps of the golden ratio: the relations of any run of instances come close to their shares.
        chance = (index * _GOLDEN_RATIO + unit(make_key(plan.seed, epoch, _RELATION))) % 1.0
        relation, other, section, cause = RANDOM, -1, -1, 0
        if chance < plan.linked:
            other, section = pick_linked(corpus, plan, doc, start, stop, unit(draw(key, 0)), draw(key, 1))
            chance /= plan.linked
            if other < 0:
                cause |= NO_LINK
        else:
            chance = (chance - plan.linked) / (1.0 - plan.linked)
        if other >= 0:
            relation = LINKED
        elif chance < plan.contiguous and after >= 0:
            relation = CONTIGUOUS
        else:
            if chance < plan.contiguous:
                cause |= ONE_SENTENCE
            other = pick_random(corpus, doc, key)
            if other < 0:  # almost everything is linked from here, or there is nothing else
                cause |= NO_RANDOM
                if after >= 0:
                    relation = CONTIGUOUS
                elif plan.linked > 0.0:  # a run without links has none, come what may
                    other, section = pick_linked(corpus, plan, doc, start, stop, unit(draw(key, 0)), draw(key, 1))
                    relation = LINKED if other >= 0 else RANDOM
                if relation == RANDOM:
                    cause |= NO_PAIR
        room = plan.room - (stop - start)
        if relation == CONTIGUOUS:
            other = doc
            b_start, b_stop = run_forward(corpus, doc, after, room)
        elif other < 0:
            b_start, b_stop = stop, stop
        else:
            first, last = corpus.document_sentences[other], corpus.document_sentences[other + 1]
            sentence = first + below(draw(key, 2), last - first)
            if relation == LINKED and plan.segment == LEAD:
                sentence = first
            elif relation == LINKED and section >= 0 and first + section < last:
                sentence = first + section
            b_start, b_stop = run_forward(corpus, other, sentence, room)
        pairs[row, 0], pairs[row, 1], pairs[row, 2] = doc, start, stop
        pairs[row, 3], pairs[row, 4], pairs[row, 5] = other, b_start, b_stop
        relations[row] = relation
        causes[row] = cause
    return pairs, relations, causes


@compiled
def survey(corpus: Corpus, plan: Plan, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Check whether, in epoch 0, the A of an anchor has a usable link, and whether text follows it: bool (count,).

    All anchors in their order, or of more than `count` those that the same permutation of every seed puts first.
    """
    linkable, continuable = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for i in range(count):
        anchor = i if count == plan.anchors else permute(i, plan.anchors, make_key(0, 0, _ORDER))
        doc, start, stop, after = place_anchor(corpus, plan, anchor, 0)
        linkable[i] = has_link(corpus, plan, doc, start, stop)
        continuable[i] = after >= 0
    return linkable, continuable


class Line(NamedTuple):
    """An instance that is being masked, `[CLS] A [SEP] B [SEP]`, as a kernel of masking gets it."""

    ids: np.ndarray  # int64 (3 + tokens of A and B,)
    tokens: int  # how many of A and B may be masked, from the first of A
    middle: int  # tokens of A
    wanted: int  # places to mark, at most
    continues: np.ndarray  # bool, see Special
    order: np.ndarray  # int64, room to work in
    chosen: np.ndarray  # uint8, to be marked: 1, or 2 at a place that is replaced as the last 1 before it


@compiled
def find_words(line: Line) -> int:
    """List in `order` where the words of A and B start; return how many there are."""
    words, whole = 0, len(line.continues) > 0
    for i in range(line.tokens):
        at = i + 1 + (i >= line.middle)
        if i == 0 or i == line.middle or not (whole and line.continues[line.ids[at]]):
            line.order[words] = at
            words += 1
    return words


@compiled
def word_end(line: Line, start: int) -> int:
    """Return the place after a word's last token."""
    stop = start + 1
    while len(line.continues) and line.continues[line.ids[stop]]:  # ends at [SEP] at the latest
        stop += 1
    return stop


@compiled
def choose_words(line: Line, key: np.uint64) -> int:
    """Mark whole words in random order, skipping those too long; where all are, the beginning of the first one."""
    words, order, marked = find_words(line), line.order, 0
    for i in range(words):
        j = i + below(draw(key, i), words - i)
        order[i], order[j] = order[j], order[i]
        start = order[i]
        stop = word_end(line, start)
        if marked + stop - start <= line.wanted:
            line.chosen[start:stop] = 1
            marked += stop - start
        if marked == line.wanted:
            break
    if marked == 0:
        line.chosen[order[0] : order[0] + line.wanted] = 1
        marked = line.wanted
    return marked


@compiled
def span_words(chance: float) -> int:
    """Turn a number in [0, 1) into the words of a span, as SpanBERT does: geometric, p = 0.2, cut at 10; mean 3.8."""
    words, share = 1, 0.2
    left = chance * (1.0 - 0.8**_LONGEST_SPAN)
    while left >= share and words < _LONGEST_SPAN:
        left -= share
        share *= 0.8
        words += 1
    return words


@compiled
def choose_spans(line: Line, key: np.uint64) -> int:
    """Mark spans of whole words (SpanBERT) until `wanted` places are marked; the first of each is 1, the others 2.

    A span starts at a word drawn uniformly, and ends early at the end of its segment, at another span, or where there
    is no room. Where no word has room, the beginning of one is masked.
    """
    words, wanted, chosen, marked = find_words(line), line.wanted, line.chosen, 0
    for turn in range(4 * words):
        first = below(draw(key, 2 * turn), words)
        last = min(words, first + span_words(unit(draw(key, 2 * turn + 1))))
        start = stop = line.order[first]
        for word in range(first, last):
            if line.order[word] != stop or chosen[stop]:
                break
            end = word_end(line, stop)
            if marked + end - start > wanted:
                break
            stop = end
        if stop > start:
            chosen[start] = 1
            chosen[start + 1 : stop] = 2
            marked += stop - start
        if marked == wanted:
            break
    if marked == 0:
        first = line.order[below(draw(key, 0), words)]
        chosen[first] = 1
        chosen[first + 1 : first + wanted] = 2
        marked = wanted
    return marked


@compiled
def write_instances(
    corpus: Corpus, plan: Plan, special: Special, numbers: np.ndarray, pairs: np.ndarray, wanted: np.ndarray,
    starts: np.ndarray, ids: np.ndarray, types: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Write drawn pairs, masked, into flat int64 arrays; return the masked places and what stood there, int64 (M,).

    `wanted` (B,) tokens are masked, at most, of the pairs (B, 6), whose [CLS] go to `starts` (B,); all are int64.
    """
    positions, labels = np.empty(wanted.sum(), np.int64), np.empty(wanted.sum(), np.int64)
    order, chosen = np.empty(plan.room, np.int64), np.zeros(plan.room + 3, np.uint8)
    masks, (cls, sep, mask), size = 0, special.tokens, special.others + len(special.reserved)
    for row in range(len(numbers)):
        pair = pairs[row]
        a_start, a_stop, b_start, b_stop = pair[1], pair[2], pair[4], pair[5]
        middle, start = a_stop - a_start, starts[row]
        tokens = middle + b_stop - b_start
        line, kinds = ids[start : start + 3 + tokens], types[start : start + 3 + tokens]
        line[0] = cls
        for i in range(middle):
            line[1 + i] = corpus.tokens[a_start + i]
        line[1 + middle] = sep
        for i in range(b_stop - b_start):
            line[2 + middle + i] = corpus.tokens[b_start + i]
        line[2 + tokens] = sep
        if line.max() >= size:  # an index into `continues`
            raise ValueError("tokens/tokens.bin is damaged: it has ids that are not in the vocabulary")
        kinds[: 2 + middle] = 0
        kinds[2 + middle :] = 1

        epoch, index = numbers[row] // plan.anchors, numbers[row] % plan.anchors
        key = draw(make_key(plan.seed, epoch, _MASK), index)
        eligible = middle if plan.only_a else tokens
        asked = Line(line, eligible, middle, wanted[row], special.continues, order, chosen)
        marked = choose_spans(asked, key) if plan.spans else choose_words(asked, key)
        at = first = 0
        while marked:
            at += 1
            if not chosen[at]:
                continue
            if chosen[at] == 1:
                first = at  # the tokens of a span are replaced alike
            chosen[at] = 0
            marked -= 1
            positions[masks] = start + at
            labels[masks] = line[at]
            masks += 1
            chance = float(draw(key, _REPLACE + first) & _U(0xFFFFFFFF)) * 2.0**-32
            if chance < 0.8:
                line[at] = mask
            elif chance < 0.9:
                token = below(draw(key, _REPLACE + at), special.others)
                for reserved in special.reserved:
                    token += token >= reserved
                line[at] = token
    return positions[:masks], labels[:masks]
