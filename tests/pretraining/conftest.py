"""A model of one layer, batches out of thin air (what is tested is the loop alone), and a small store."""

import json
import multiprocessing
import random
import shutil
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore
from transformers import BertConfig

from linkbert.api import build_store
from linkbert.config import Config
from linkbert.instances.batches import Batch, Counts
from linkbert.instances.parts import Part
from linkbert.instances.vocabulary import SPECIAL
from linkbert.model.checkpoint import make_model, write_model
from linkbert.model.optimizer import make_optimizer
from linkbert.model.step import step_function
from linkbert.pretraining import loop
from linkbert.pretraining.checkpoint import State
from linkbert.pretraining.distributed import DistributedContext
from linkbert.records import IGNORED

VOCABULARY = 40
SCRIPT = """
import os, warnings
from datetime import timedelta
from linkbert.pretraining import distributed
from linkbert.pretraining.run import pretrain

warnings.simplefilter("error")
os.environ.update(environment)
distributed.TIMEOUT = timedelta(seconds=timeout)
os.dup2(os.open(f"{run}.errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
try:
    pretrain(store, run, config, resume=True, progress=lambda p: told.send(f"{p.stage} {p.step}"))
    told.send("ended")
except ValueError as error:
    told.send(str(error))
    raise SystemExit(1)
"""
# A server imports once; each process of a test is then a fork of it, with no threads of ours.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["linkbert.pretraining.run"])
CONFIG = Config(
    num_hidden_layers=1,
    hidden_size=16,
    num_attention_heads=2,
    intermediate_size=32,
    sequence_length=16,
    max_steps=12,
    batch_size=8,
    micro_batch_size=4,
    learning_rate=1e-2,
    warmup_steps=0.25,
    precision="fp32",
    compile="off",
    threads=1,
    logging_steps=3,
    save_steps=4,
    eval_steps=0,
    save_total_limit=0,
)


class Toys(list):
    """Micro-batches of a step, with what they hold, counted from themselves."""

    @property
    def counts(self):
        relations = torch.cat([batch.relations for batch in self]).bincount(minlength=3).tolist()
        masked = sum(int((batch.masked_labels != IGNORED).sum()) for batch in self)
        tokens, places = (
            sum(int((batch.pairs >= 0).sum()) for batch in self),
            sum(batch.input_ids.numel() for batch in self),
        )
        return Counts(masked, sum(relations), tokens, places, tuple(relations))


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

    def name(self, step):
        size = self.config.batch_size
        return [{"store": "TOY", "first": step * size, "last": (step + 1) * size - 1, "from": [0, 1], "to": [2, 3]}]

    def one_by_one(self, step, rank=0, processes=1):
        return self.micro_batches(step, rank, processes)

    def micro_batches(self, step, rank=0, processes=1):
        size = self.config.batch_size
        start, stop = (step * size + size * r // processes for r in (rank, rank + 1))
        made = Toys()
        for first in range(start, stop, self.config.micro_batch_size):
            pairs = [self.pair(i) for i in range(first, min(first + self.config.micro_batch_size, stop))]
            ids = torch.stack([pair[0] for pair in pairs])
            positions = torch.cat([16 * row + pair[2] for row, pair in enumerate(pairs)])
            labels = ids.flatten()[positions]
            ids.view(-1)[positions] = 4
            types = (torch.arange(16) >= 8).long().expand_as(ids)
            lengths, relations = (torch.tensor([pair[k] for pair in pairs]) for k in (1, 3))
            rows, documents = torch.arange(len(pairs)), torch.arange(first, first + len(pairs))
            real = torch.arange(16) < lengths[:, None]
            places, owners = torch.where(real, torch.arange(16), 0), torch.where(real, rows[:, None], -1)
            made.append(
                Batch(
                    ids,
                    types.contiguous(),
                    places,
                    owners,
                    rows * 16,
                    positions,
                    labels,
                    relations,
                    documents,
                    documents,
                )
            )
        return made


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

    def make(config=CONFIG, *, vocabulary=VOCABULARY):
        sizes = BertConfig(
            vocab_size=vocabulary,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.sequence_length,
            initializer_range=0.2,
            hidden_dropout_prob=config.hidden_dropout_prob,
            attention_probs_dropout_prob=config.attention_probs_dropout_prob,
        )
        return make_model(sizes, {}, objective=config.objective, seed=config.seed)

    return make


@pytest.fixture
def train(make_toy, tmp_path):
    """Train the toy in a run's folder; what is not given is as a run has it."""

    def go(config=CONFIG, *, run="run", model=None, optimizer=None, batches=None, **options):
        model = model or make_toy(config)
        optimizer = optimizer or make_optimizer(model, config)
        (tmp_path / run).mkdir(exist_ok=True)
        options = {"state": State(), "processes": DistributedContext()} | options
        state = loop.pretrain(
            model,
            optimizer,
            batches or ToyBatches(config),
            config,
            run=tmp_path / run,
            forward=options.pop("forward", None) or step_function(model, config),
            save=lambda folder, _, weights: write_model(model, folder, vocabulary=tmp_path, weights=weights),
            **options,
        )
        return model, state, tmp_path / run

    return go


@pytest.fixture
def small(config):
    """Change some settings of the toy's Config."""
    return lambda **changes: config.replace(**changes)


@pytest.fixture
def store(make_store):
    return make_store("store")


@pytest.fixture
def make_store(stores, tmp_path):
    """Put a small store into a folder of the test's own; `seed` decides its words, and that of seed 2 has no links."""

    def make(name, *, seed=0):
        return Path(shutil.copytree(stores[seed], tmp_path / name))

    return make


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """Build stores of 60 documents of 6 sentences of 6 words, two with links to the next two in sentences 1 and 4.

    A word names its document's number modulo 12, so that pairs tell something.
    """
    folder = tmp_path_factory.mktemp("stores")
    words = [f"word{i}" for i in range(10, 58)]
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words, "."]) + "\n")
    built = []
    for seed in range(3):
        draw, lines = random.Random(seed), []
        for number in range(60):
            said = [
                " ".join(words[number % 12 * 4 + draw.randrange(4)] for _ in range(6)).capitalize() + "."
                for _ in range(6)
            ]
            starts = [len(" ".join(said[:i])) + 1 for i in (1, 4)]
            links = [{"start": s, "end": s + 6, "target": str((number + i) % 60)} for i, s in enumerate(starts, 1)]
            links += [{"target": target} for target in ("nobody", "nothing", "0") if number == 0]
            document = {"id": str(number), "text": " ".join(said)}
            lines.append(json.dumps(document | ({"links": links} if seed < 2 else {})))
        source = folder / str(seed) / "toys <b>.jsonl"
        source.parent.mkdir()
        source.write_text("\n".join(lines))
        built.append(folder / f"store{seed}")
        build_store([source], built[-1], vocabulary=str(folder / "vocab.txt"), graph=seed < 2)
    return built


@pytest.fixture
def settings(config):
    """Give the settings of a run on a small store."""
    return config.replace(sequence_length=32, held_out=0.2, eval_pairs=48, scope="segment")


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def mix(store, make_store):
    """Give a store with links and one without, by weights of 3 and 1."""
    return [
        Part("books", make_store("books", seed=2), 1),
        Part("wiki", store, 3, {"scope": "document", "shares": (0.25, 0.25, 0.5)}),
    ]


class Started:
    """A run in a process of its own, which tells how it goes."""

    def __init__(self, store, run, config, timeout=300, **environment):
        self.heard, told = SERVER.Pipe(duplex=False)
        names = {"store": store, "run": run, "config": config, "environment": environment, "told": told}
        self.process = SERVER.Process(target=exec, args=(SCRIPT, names | {"timeout": timeout}))
        self.process.start()
        told.close()

    def listen(self, until=""):
        """List what it tells, until it tells `until` or ends."""
        lines = []
        while not lines or lines[-1] != until:
            try:
                lines.append(self.heard.recv())
            except (EOFError, ConnectionResetError):
                self.process.join(60)
                break
        return lines

    def kill(self):
        self.process.kill()
        self.process.join(60)


@pytest.fixture
def start():
    """Start runs in processes of their own; none outlives the test."""
    started = []

    def go(*arguments, **options):
        started.append(Started(*arguments, **options))
        return started[-1]

    yield go
    for each in started:
        each.kill()
        each.heard.close()


@pytest.fixture
def together(start):
    """Start several processes that train as one, as torchrun does, `node` of them to a machine."""
    servers = []

    def go(store, run, config, count=2, *, node=2, **options):
        servers.append(TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
        port = str(servers[-1].port)
        common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(node), "MASTER_ADDR": "127.0.0.1"} | options
        common |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
        stores = store if isinstance(store, tuple) else (store,) * count
        return [
            start(each, run, config, RANK=str(rank), LOCAL_RANK=str(rank), MASTER_PORT=port, **common)
            for rank, each in enumerate(stores)
        ]

    return go
