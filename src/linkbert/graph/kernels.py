"""The compiled half of the TF-IDF graph: WordPieces come in, rows of terms, an inverted index and neighbours go out.

A *term* is the hash of a word or of two words that stand side by side. Rows are compressed: those of document d are
places rows[d] to rows[d + 1] of `terms` (int32, ascending) and `tf` (float32, log(1 + count)). `df` (int32, a place
for each term) counts the documents with a term; `idf` (float64) is looked up by that count, so that a term costs one
read of a large table, and the small one stays in the cache. All of it but `mix`, which never changes, is in this one
file because numba's cache looks at one file's date only.
"""

from __future__ import annotations

import numpy as np

from linkbert.compiled import compiled, mix

# What a WordPiece is: the start of a word, the rest of one, no word (punctuation), a stop word if nothing follows.
WORD, REST, OTHER, STOP = range(4)

_U = np.uint64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@compiled
def count_terms(
    tokens: np.ndarray,  # uint16 or uint32, of several documents
    starts: np.ndarray,  # int64 (n + 1,), first token of each
    kinds: np.ndarray,  # uint8, by token
    bits: int,
    rows: np.ndarray,  # int64 (n + 1,), out
    terms: np.ndarray,  # int32, two places a token, out
    tf: np.ndarray,  # float32, likewise
) -> int:
    """Count the terms of documents; return how many places are filled."""
    mask = (_U(1) << _U(bits)) - _U(1)
    filled = 0
    rows[0] = 0
    for doc in range(len(starts) - 1):
        at, stop = starts[doc], starts[doc + 1]
        found = np.empty(2 * (stop - at), np.int32)
        count = 0
        beside, before = False, _U(0)  # whether the word before stands right here, and its hash
        while at < stop:
            kind = kinds[tokens[at]]
            word = mix(_U(tokens[at]) + _GOLDEN)
            at += 1
            while at < stop and kinds[tokens[at]] == REST:
                word = mix(word * _GOLDEN + _U(tokens[at]) + _U(1))
                kind = WORD
                at += 1
            if kind in (OTHER, STOP):
                beside = False
                continue
            found[count] = np.int32(word & mask)
            count += 1
            if beside:
                found[count] = np.int32(mix(before * _GOLDEN + word) & mask)
                count += 1
            beside, before = True, word
        ordered = np.sort(found[:count])
        i = 0
        while i < count:
            j = i + 1
            while j < count and ordered[j] == ordered[i]:
                j += 1
            terms[filled], tf[filled] = ordered[i], np.log1p(j - i)
            filled += 1
            i = j
        rows[doc + 1] = filled
    return filled


@compiled
def measure(rows: np.ndarray, terms: np.ndarray, tf: np.ndarray, df: np.ndarray, idf: np.ndarray) -> np.ndarray:
    """Give the length of each document's vector: float64 (n,)."""
    lengths = np.zeros(len(rows) - 1)
    for doc in range(len(lengths)):
        for p in range(rows[doc], rows[doc + 1]):
            lengths[doc] += (tf[p] * idf[df[terms[p]]]) ** 2
        lengths[doc] = np.sqrt(lengths[doc])
    return lengths


@compiled
def count_postings(terms: np.ndarray, df: np.ndarray, idf: np.ndarray, offsets: np.ndarray) -> None:
    """Add to offsets[t + 1] the places at which term t stands, of terms that can be shared and weigh something."""
    for term in terms:
        if df[term] > 1 and idf[df[term]] > 0:
            offsets[term + 1] += 1


@compiled
def write_postings(
    first: int,  # number of the first document within the block
    rows: np.ndarray,
    terms: np.ndarray,
    tf: np.ndarray,
    lengths: np.ndarray,
    df: np.ndarray,
    idf: np.ndarray,
    ends: np.ndarray,  # int32, where each term's next posting goes; moved on
    docs: np.ndarray,  # int32, out
    weights: np.ndarray,  # float32, out: of a vector of length 1
) -> None:
    """Write documents into a block's inverted index."""
    for doc in range(len(rows) - 1):
        for p in range(rows[doc], rows[doc + 1]):
            term = terms[p]
            if df[term] > 1 and idf[df[term]] > 0:
                docs[ends[term]] = first + doc
                weights[ends[term]] = tf[p] * idf[df[term]] / lengths[doc]
                ends[term] += 1


@compiled
def offer(score: np.float32, doc: int, docs: np.ndarray, scores: np.ndarray) -> None:
    """Put a document in its place among the best, which are ordered by score, then by number."""
    i = len(docs) - 1
    if score < scores[i] or (score == scores[i] and doc > docs[i]):
        return
    while i > 0 and (score > scores[i - 1] or (score == scores[i - 1] and doc < docs[i - 1])):
        scores[i], docs[i] = scores[i - 1], docs[i - 1]
        i -= 1
    scores[i], docs[i] = score, doc


@compiled
def search(
    numbers: np.ndarray,  # int64 (n,), of the documents whose neighbours are sought
    rows: np.ndarray,
    terms: np.ndarray,
    tf: np.ndarray,
    df: np.ndarray,
    idf: np.ndarray,
    frequent: int,
    budget: int,
    first: int,  # number of the block's first document
    offsets: np.ndarray,  # int32, first posting of each term
    docs: np.ndarray,
    weights: np.ndarray,
    sums: np.ndarray,  # float32, a zero for each document of the block; zeros again in the end
    found: np.ndarray,  # int32 (n, candidates), -1 where there is none; kept up
    scores: np.ndarray,  # float32 likewise, 0 where there is none
) -> None:
    """Offer each document its candidates in one block: those of the largest sums over its chosen terms.

    Chosen are the heaviest terms of at most `frequent` documents, while all of them together have at most `budget`
    postings in the whole corpus, so what is chosen does not depend on the block.
    """
    for i in range(len(numbers)):
        size = rows[i + 1] - rows[i]
        own, heavy, count = np.empty(size, np.int32), np.empty(size, np.float32), 0
        for p in range(rows[i], rows[i + 1]):
            times = df[terms[p]]
            if 1 < times <= frequent and idf[times] > 0:
                own[count], heavy[count] = terms[p], tf[p] * idf[times]
                count += 1
        order = np.argsort(-heavy[:count], kind="mergesort")
        taken, postings = 0, 0
        for j in order:
            postings += df[own[j]]
            if postings > budget:
                break
            taken += 1
        here = 0
        for j in order[:taken]:
            term, weight = own[j], heavy[j]
            here += offsets[term + 1] - offsets[term]
            for p in range(offsets[term], offsets[term + 1]):
                sums[docs[p]] += weight * weights[p]
        if first <= numbers[i] < first + len(sums):
            sums[numbers[i] - first] = 0
        best, kept = found[i], scores[i]
        if here < len(sums):
            for j in order[:taken]:
                term = own[j]
                for p in range(offsets[term], offsets[term + 1]):
                    doc = docs[p]
                    if sums[doc] > 0:
                        offer(sums[doc], first + doc, best, kept)
                        sums[doc] = 0
        else:
            for doc in range(len(sums)):
                if sums[doc] >= kept[-1] and sums[doc] > 0:
                    offer(sums[doc], first + doc, best, kept)
            sums[:] = 0


@compiled
def rescore(
    rows: np.ndarray,
    terms: np.ndarray,
    tf: np.ndarray,
    lengths: np.ndarray,
    df: np.ndarray,
    idf: np.ndarray,
    found: np.ndarray,  # int32 (n, candidates)
    first: int,  # number of the first of the other documents
    other_rows: np.ndarray,
    other_terms: np.ndarray,
    other_tf: np.ndarray,
    other_lengths: np.ndarray,
    cosines: np.ndarray,  # float64 (n, candidates), out
) -> None:
    """Compute the cosine, over all terms, of documents and those of their candidates that are among the others."""
    for i in range(len(found)):
        for c in range(found.shape[1]):
            doc = found[i, c] - first
            if found[i, c] < 0 or doc < 0 or doc >= len(other_lengths):
                continue
            p, q, total = rows[i], other_rows[doc], 0.0
            while p < rows[i + 1] and q < other_rows[doc + 1]:
                if terms[p] < other_terms[q]:
                    p += 1
                elif terms[p] > other_terms[q]:
                    q += 1
                else:
                    weight = idf[df[terms[p]]]
                    total += tf[p] * weight * other_tf[q] * weight
                    p += 1
                    q += 1
            cosines[i, c] = total / (lengths[i] * other_lengths[doc])
