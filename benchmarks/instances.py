"""How many masked instances a second one core makes: ours, the reference algorithm, and Hugging Face's collator.

    python benchmarks/instances.py STORE [--length 512] [--rounds 5]

All three read the same store. The reference is handed its documents as lists, already tokenised; Hugging Face's
collator is handed pairs that are already drawn and tokenised, so only padding and masking are counted for it. One
thread, rounds in alternation, medians of the rates in CPU time and of the ratios within a round.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from reference import Words, make_instances

os.environ["TOKENIZERS_PARALLELISM"] = "false"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description="instances a second, against the reference and Hugging Face's collator"
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=400, help="documents that the reference reads")
    arguments = parser.parse_args()
    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

    from linkbert.config import Config
    from linkbert.instances.batches import Batches
    from linkbert.instances.sampler import Sampler
    from linkbert.instances.vocabulary import CLS, MASK, SEP

    torch.set_num_threads(1)
    started = time.perf_counter()
    config = Config(sequence_length=arguments.length, scope="document")
    runs = {
        name: Batches(Sampler.open(arguments.store, config.replace(masking=masking)))
        for name, masking in (("linkbert", "token"), ("linkbert, whole words", "word"), ("linkbert, spans", "span"))
    }
    for batches in runs.values():
        next(batches.one_by_one(0))
    print(f"open, survey and compile (or load from numba's cache): {time.perf_counter() - started:.1f} s")
    sampler = runs["linkbert"].sampler
    store = sampler.store

    def ours(name: str) -> Callable[[int], int]:
        def run(turn: int) -> int:
            for i in range(10):
                for _ in runs[name].one_by_one(turn * 10 + i):
                    pass
            return 10 * config.batch_size

        return run

    ids = store.vocabulary.ids
    words = Words(len(ids), ids[CLS], ids[SEP], ids[MASK])
    rng = random.Random(0)
    documents = []
    for doc in rng.sample(range(len(store)), min(len(store), arguments.documents)):
        bounds = [*store.sentences[store.document_sentences[doc] : store.document_sentences[doc + 1]].tolist()]
        ends = [*bounds[1:], int(store.documents[doc + 1])]
        documents.append([store.tokens[a:b].tolist() for a, b in zip(bounds, ends, strict=True)])
    documents = [document for document in documents if document]

    def reference(_: int) -> int:
        return sum(1 for _ in make_instances(documents, words, rng, length=arguments.length))

    tokenizer = BertTokenizerFast.from_pretrained(arguments.store / "vocabulary")
    collator = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=True, mlm_probability=config.mlm_probability)
    made = sampler.fill(np.arange(256))
    clean = made.input_ids.copy()
    clean.flat[made.masked_positions] = made.masked_labels
    pairs = [
        {"input_ids": clean[row, :n].tolist(), "token_type_ids": made.token_type_ids[row, :n].tolist()}
        for row, n in enumerate(made.lengths.tolist())
    ]

    def hugging_face(_: int) -> int:
        for at in range(0, len(pairs), 32):
            collator(pairs[at : at + 32])
        return len(pairs)

    candidates = {name: ours(name) for name in runs} | {
        "reference, plain Python": reference,
        "HF collator": hugging_face,
    }
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(arguments.rounds):
        for name, run in candidates.items():
            start = time.process_time()
            rates[name].append(run(turn) / (time.process_time() - start))
    print(f"{len(store):,} documents, {len(sampler):,} anchors; {made.lengths.mean():.0f} of {arguments.length} tokens")
    print(f"{'':<26}{'instances/s':>14}{'linkbert is':>16}")
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["linkbert"], values, strict=True))
        print(f"{name:<26}{statistics.median(values):>14,.0f}{ratio:>14,.1f} x")


if __name__ == "__main__":
    main()
