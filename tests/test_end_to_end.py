"""From documents to a trained encoder, on a corpus written here in which links can be learnt.

Fables of an animal tell what it does, in fables' words, and link to entries about their animal, in a dictionary's
words. So what follows a fable is a fable of the same animal, and what it links to is an entry about it.
"""

import json
import random

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from linkbert.api import build_store
from linkbert.config import make_config
from linkbert.pretraining.journal import read_journal
from linkbert.pretraining.run import pretrain

ANIMALS = ["fox", "crow", "wolf", "lamb", "lion", "mouse", "hare", "tortoise", "ant", "bee", "stork", "frog"]
DEEDS = ["runs", "sleeps", "sings", "hides", "waits", "laughs"]
PLACES = ["forest", "river", "meadow", "hill"]
TRAITS = ["small", "large", "grey", "brown", "quick", "slow"]


def fable(draw, animal, number):
    sentences = [f"One day the {animal} {draw.choice(DEEDS)} in the {draw.choice(PLACES)}." for _ in range(12)]
    text, links = " ".join(sentences), []
    for other in range(3):
        start = text.index(animal, len(text) * other // 3)
        links.append({"start": start, "end": start + len(animal), "target": f"{animal} {other}"})
    return {"id": f"fable {animal} {number}", "text": text, "links": links}


def entry(draw, animal, number):
    sentences = [f"Dictionary: {animal}, a {draw.choice(TRAITS)} and {draw.choice(TRAITS)} animal." for _ in range(9)]
    return {"id": f"{animal} {number}", "text": " ".join(sentences)}


@pytest.fixture
def corpus(tmp_path):
    """Write 156 documents: ten fables and three entries of each animal."""
    draw = random.Random(0)
    documents = [fable(draw, animal, i) for animal in ANIMALS for i in range(10)]
    documents += [entry(draw, animal, i) for animal in ANIMALS for i in range(3)]
    path = tmp_path / "animals.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def test_a_corpus_becomes_an_encoder(corpus, tmp_path):
    build_store([corpus], tmp_path / "store", vocabulary="train:200")
    words = """max_steps=120 batch_size=24 micro_batch_size=12 sequence_length=64 hidden_size=32 num_hidden_layers=1
        intermediate_size=64 hidden_dropout_prob=0
        initializer_range=0.1 held_out=0.2 warmup=0.1 learning_rate=1e-2 eval_pairs=240 compile=off threads=1"""
    config = make_config("tiny", words.split())
    result = pretrain(tmp_path / "store", tmp_path / "run", config)

    lines = [line for line in read_journal(tmp_path / "run" / "journal.jsonl") if "mlm_loss" in line]
    assert lines[-1]["mlm_loss"] < 0.6 * lines[0]["mlm_loss"]
    assert lines[-1]["relation_loss"] < 0.8 * lines[0]["relation_loss"]
    scores = result.scores
    assert scores.mlm_accuracy.low > scores.baseline_accuracy.high
    assert scores.relation_accuracy.low > 0.4
    assert scores.relations["linked"].low > 1 / 3

    tokenizer, model = (kind.from_pretrained(result.model) for kind in (AutoTokenizer, AutoModelForMaskedLM))
    tokens = tokenizer("Dictionary: fox, a small and quick [MASK].", return_tensors="pt")
    place = tokens["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    assert tokenizer.decode([model(**tokens).logits[0, place].argmax().item()]) == "animal"
    encoder = AutoModel.from_pretrained(result.model)
    assert torch.isfinite(encoder(**tokens).last_hidden_state).all()
