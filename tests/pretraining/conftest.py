"""A model of one layer, batches out of thin air (what is tested is the loop alone), and a small store."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig

from linkbert.config import Config
from linkbert.files import write_json
from linkbert.instances.batches import Batch
from linkbert.instances.vocabulary import SPECIAL, Vocabulary
from linkbert.model.checkpoint import make_model, write_model
from linkbert.model.step import step_function
from linkbert.pretraining.loop import pretrain
from linkbert.pretraining.optimizer import make_optimizer

VOCABULARY = 40
CONFIG = Config(
    layers=1,
    hidden=16,
    heads=2,
    feed_forward=32,
    sequence_length=16,
    steps=12,
    batch_size=8,
    micro_batch=4,
    learning_rate=1e-2,
    warmup=0.25,
    precision="fp32",
    compile="off",
    threads=1,
    log_every=3,
    checkpoint_every=4,
    evaluate_every=0,
    keep=0,
)


class ToyBatches:
    """Pair `i` follows from i alone, as the sampler promises; its second four tokens tell its relation."""

    def __init__(self, config):
        self.config = config

    def pair(self, number):
        draw = torch.Generator().manual_seed(number)
        length = int(torch.randint(9, 17, (), generator=draw))
        ids = torch.zeros(16, dtype=torch.int64)
        ids[:length] = torch.randint(5, VOCABULARY, (length,), generator=draw)
        relation = number % 3
        ids[4:8] = 5 + relation
        masked = torch.randperm(length, generator=draw)[: 1 + number % 3].sort().values
        return ids, length, masked, relation

    def micro_batches(self, step, rank=0, processes=1):
        size = self.config.batch_size
        start, stop = (step * size + size * r // processes for r in (rank, rank + 1))
        for first in range(start, stop, self.config.micro_batch):
            pairs = [self.pair(i) for i in range(first, min(first + self.config.micro_batch, stop))]
            ids = torch.stack([pair[0] for pair in pairs])
            positions = torch.cat([16 * row + pair[2] for row, pair in enumerate(pairs)])
            labels = ids.flatten()[positions]
            ids.view(-1)[positions] = 4
            types = (torch.arange(16) >= 8).long().expand_as(ids)
            lengths, relations = (torch.tensor([pair[k] for pair in pairs]) for k in (1, 3))
            yield Batch(ids, types.contiguous(), lengths, positions, labels, relations)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config():
    return CONFIG


@pytest.fixture
def toy_batches():
    return ToyBatches


@pytest.fixture
def make_toy():
    """Make a model as a run would start it."""

    def make(config=CONFIG):
        sizes = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.feed_forward,
            max_position_embeddings=16,
            initializer_range=0.2,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.attention_dropout,
        )
        return make_model(sizes, {}, objective=config.objective, seed=config.seed)

    return make


@pytest.fixture
def train(make_toy, tmp_path):
    """Train the toy in a run's folder; what is not given is as a run has it."""

    def go(config=CONFIG, *, run="run", model=None, optimizer=None, batches=None, **options):
        model = model or make_toy(config)
        optimizer = optimizer or make_optimizer(model, learning_rate=config.learning_rate)
        (tmp_path / run).mkdir(exist_ok=True)
        state = pretrain(
            model,
            optimizer,
            batches or ToyBatches(config),
            config,
            run=tmp_path / run,
            forward=options.pop("forward", None) or step_function(model, config),
            save=lambda folder, _: write_model(model, folder, vocabulary_folder=tmp_path),
            **options,
        )
        return model, state, tmp_path / run

    return go


@pytest.fixture
def small(config):
    """Change some settings of the toy's Config."""
    return lambda **changes: replace(config, **changes)


@pytest.fixture
def store(tmp_path):
    """Write a store by hand: 60 documents of 6 sentences of 6 words, with links to the next two in sentences 1 and 4.

    A word names its document's number modulo 12, so that pairs tell something.
    """
    return write_store(tmp_path / "store")


@pytest.fixture
def make_store(tmp_path):
    return lambda name, **options: write_store(tmp_path / name, **options)


def write_store(path, *, documents=60, seed=0):
    draw = np.random.default_rng(seed)
    words = 5 + (np.arange(documents)[:, None] % 12) * 4 + draw.integers(0, 4, (documents, 36))
    vocabulary = Vocabulary((*SPECIAL, *(f"word{i}" for i in range(12 * 4))))
    vocabulary.save(path / "vocabulary")
    arrays = {
        "tokens": words.astype("<u2"),
        "documents": np.arange(documents + 1, dtype="<i8") * 36,
        "sentences": np.arange(documents * 6, dtype="<i8") * 6,
        "document_sentences": np.arange(documents + 1, dtype="<i8") * 6,
        "links": np.tile(np.array([8, 26], "<i4"), documents),
        "document_links": np.arange(documents + 1, dtype="<i8") * 2,
        "hashes": np.array(
            [
                int.from_bytes(hashlib.blake2b(str(i).encode(), digest_size=8).digest(), "little")
                for i in range(documents)
            ],
            "<u8",
        ),
    }
    (path / "tokens").mkdir(parents=True)
    for name, array in arrays.items():
        array.tofile(path / "tokens" / f"{name}.bin")
    counts = {"documents": documents, "tokens": words.size, "sentences": documents * 6, "links": documents * 2}
    meta = {"format": 1, "dtype": "uint16", "vocabulary_sha256": vocabulary.sha256, "lowercase": True}
    write_json(path / "tokens" / "tokens.json", meta | counts)
    graph = path / "graphs" / "hyperlink"
    graph.mkdir(parents=True)
    targets = (np.arange(documents)[:, None] + [1, 2]) % documents
    np.arange(0, 2 * documents + 1, 2, dtype="<i8").tofile(graph / "offsets.bin")
    targets.astype("<i4").tofile(graph / "targets.bin")
    np.arange(2 * documents, dtype="<i8").tofile(graph / "links.bin")
    np.full(2 * documents, -1, "<i4").tofile(graph / "sections.bin")
    np.full(documents, 2, "<i4").tofile(graph / "in_degree.bin")
    links = {"found": 2 * documents + 3, "resolved": 2 * documents, "dead": 2, "self": 1, "disambiguation": 0}
    write_json(
        graph / "graph.json",
        {"format": 1, "method": "hyperlink", "documents": documents, "edges": 2 * documents, **links},
    )
    manifest = {"format": 1, "created": "2026-01-31", "linkbert": "0.1.0", "sources": ["/somewhere/toys <b>.jsonl"]}
    write_json(path / "store.json", manifest | counts | {"redirects": 0, "shards": 0, "reader": "jsonl", "skipped": {}})
    return path
