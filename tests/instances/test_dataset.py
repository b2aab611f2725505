"""PairDataset: the sampler's instances in other people's loops."""

import doctest
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler
from transformers import BertConfig, BertModel

from linkbert.config import Config
from linkbert.instances import dataset as module
from linkbert.instances import sampler as sampler_module
from linkbert.instances.dataset import PairCollator, PairDataset
from linkbert.instances.sampler import Sampler

CONFIG = Config(sequence_length=64, held_out=0.1, masking="word", seed=3)


@pytest.fixture
def dataset(small_store):
    return PairDataset(small_store.path, CONFIG)


def assert_items_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_items_are_the_instances_of_the_sampler(small_store, split):
    dataset = PairDataset(small_store.path, CONFIG, split=split, epoch=2)
    sampler = Sampler.open(small_store.path, CONFIG, split=split)
    assert len(dataset) == len(sampler)
    made = sampler.fill(2 * len(sampler) + np.arange(20))
    labels = np.full_like(made.input_ids, -100)
    labels.flat[made.masked_positions] = made.masked_labels
    for row in range(20):
        item, length = dataset[row], made.lengths[row]
        assert item["input_ids"].dtype == item["labels"].dtype == torch.int64
        assert item["input_ids"].tolist() == made.input_ids[row, :length].tolist()
        assert item["token_type_ids"].tolist() == made.token_type_ids[row, :length].tolist()
        assert item["labels"].tolist() == labels[row, :length].tolist()
        assert item["next_sentence_label"] == made.relations[row]
        assert item["documents"].tolist() == made.pairs[row, [0, 3]].tolist()


def test_an_epoch_ends_and_no_second_one_repeats_it(dataset):
    first = list(dataset)
    assert len(first) == len(dataset)
    assert_items_equal(dataset[-1], first[-1])
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match=f"an epoch has {len(dataset)} items"):
            dataset[index]
    dataset.set_epoch(1)
    second = list(dataset)
    texts = [{tuple(item["input_ids"].tolist()) for item in epoch} for epoch in (first, second)]
    assert len(texts[0] & texts[1]) < 0.05 * len(dataset)
    dataset.set_epoch(0)
    assert_items_equal(dataset[5], first[5])
    with pytest.raises(ValueError, match="epoch must be a whole number >= 0, got -1"):
        dataset.set_epoch(-1)


def test_it_pickles_as_a_path_and_settings(dataset):
    dataset.set_epoch(4)
    dataset[0]
    data = pickle.dumps(dataset)
    assert len(data) < 10_000
    again = pickle.loads(data)
    assert (again.epoch, len(again), "sampler" in vars(again)) == (4, len(dataset), False)
    assert_items_equal(again[7], dataset[7])
    assert len(pickle.dumps(PairCollator(dataset))) < 1_000


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_persistent_workers_see_another_epoch(dataset, method):
    collate = PairCollator(dataset)
    subset = DistributedSampler(dataset, num_replicas=len(dataset) // 16, rank=1, shuffle=False)
    loader = DataLoader(dataset, 8, sampler=subset, num_workers=1, multiprocessing_context=method,
                        persistent_workers=True, collate_fn=collate)  # fmt: skip
    for epoch in range(2):
        dataset.set_epoch(epoch)
        found, wanted = list(loader), list(subset)
        for i, batch in enumerate(found):
            assert_items_equal(batch, collate([dataset[n] for n in wanted[8 * i : 8 * i + 8]]))
    del loader


def test_a_padded_batch(dataset):
    items = [dataset[i] for i in range(6)]
    batch = PairCollator(dataset, documents=True)(items)
    width = batch["input_ids"].shape[1]
    assert width % 8 == 0
    for row, item in enumerate(items):
        length = len(item["input_ids"])
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (width - length)
        for name, empty in (("input_ids", dataset.sampler.pad), ("token_type_ids", 0), ("labels", -100)):
            assert batch[name][row].tolist() == item[name].tolist() + [empty] * (width - length)
        assert batch["documents"][row].tolist() == item["documents"].tolist()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_packed_pair_sees_itself_alone(dataset, attention):
    items = [dataset[i] for i in range(12)]
    padded, packed = PairCollator(dataset)(items), PairCollator(dataset, packed=True)(items)
    assert packed["input_ids"].shape[0] < len(items)
    assert torch.equal(padded["next_sentence_label"], packed["next_sentence_label"])
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(dataset.sampler.store.vocabulary), hidden_size=16, num_hidden_layers=2,
                        num_attention_heads=2, intermediate_size=32, attn_implementation=attention)  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with torch.no_grad():
        alone = model(**{name: padded[name] for name in names}).last_hidden_state
        shared = model(**{name: packed[name] for name in [*names, "position_ids"]}).last_hidden_state
    firsts = packed["cls_positions"]
    assert (packed["position_ids"].flatten()[firsts] == 0).all()
    for item, first in enumerate(firsts.tolist()):
        length = len(items[item]["input_ids"])
        torch.testing.assert_close(alone[item, :length], shared.flatten(0, 1)[first : first + length])
        assert packed["labels"].flatten()[first : first + length].tolist() == items[item]["labels"].tolist()


@pytest.mark.parametrize("owner", [module, sampler_module], ids=["dataset", "sampler"])
def test_the_examples_of_the_documentation_run(small_store, owner):
    names = vars(owner) | vars(module) | {"store": small_store.path, "np": np}
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(owner, globs=names):
        if "store" in test.docstring and test.examples:
            assert runner.run(test).failed == 0, test.name
    assert runner.tries >= 2


def test_held_out_pairs_are_the_same_in_every_epoch(small_store):
    dataset = PairDataset(small_store.path, CONFIG, split="held-out")
    before = [item["input_ids"].tolist() for item in dataset]
    dataset.set_epoch(3)
    assert [item["input_ids"].tolist() for item in dataset] == before


def test_what_is_no_epoch_and_no_dataset_is_refused(small_store, monkeypatch, tmp_path):
    dataset = PairDataset(small_store, CONFIG)  # the Store itself
    with pytest.raises(ValueError, match=r"epoch must be a whole number >= 0, got 1\.5"):
        dataset.set_epoch(1.5)
    with pytest.raises(TypeError, match="PairCollator takes the PairDataset that items come from, got list"):
        PairCollator([dataset[0]])
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickle.dumps(dataset))[0]["input_ids"].tolist() == dataset[0]["input_ids"].tolist()
