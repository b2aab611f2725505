"""The model against Hugging Face's and against arithmetic by hand."""

import copy
import shutil
from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertForPreTraining

from linkbert.config import make_config
from linkbert.instances.batches import Batch
from linkbert.model import step
from linkbert.model.attention import drop, dropout_keys
from linkbert.model.fast_bert import LinkBertForPreTraining
from linkbert.model.heads import ForwardOptions, Inputs
from linkbert.model.step import AT_ONCE, compiles, operations_a_token, rows_at_once, step_function
from linkbert.records import IGNORED


def small_config(**changes) -> BertConfig:
    sizes = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"intermediate_size": 64, "max_position_embeddings": 40, "attention_probs_dropout_prob": 0.0}
    return BertConfig(**sizes | more | changes)


def make_batch(pairs=5, length=24, *, relations=3, full=False, seed=0, vocabulary=97) -> Batch:
    random = torch.Generator().manual_seed(seed)
    draw = lambda *size, low=0, high: torch.randint(low, high, size, generator=random)  # noqa: E731
    lengths = torch.full((pairs,), length) if full else draw(pairs, low=length // 2, high=length + 1)
    rows = [torch.randperm(int(n), generator=random)[:4].sort().values + i * length for i, n in enumerate(lengths)]
    positions = torch.cat(rows)
    real = torch.arange(length) < lengths[:, None]
    return Batch(
        input_ids=draw(pairs, length, low=1, high=vocabulary),
        token_type_ids=(torch.arange(length) >= length // 3).long().expand(pairs, length).contiguous(),
        positions=torch.where(real, torch.arange(length), 0),
        pairs=torch.where(real, torch.arange(pairs)[:, None], -1),
        first=torch.arange(pairs) * length,
        masked_positions=positions,
        masked_labels=draw(len(positions), high=vocabulary),
        relations=draw(pairs, high=relations),
        documents=torch.arange(pairs),
        numbers=torch.arange(pairs),
    )


def given(batch) -> tuple[Inputs, torch.Tensor, torch.Tensor]:
    return Inputs.of(batch), batch.masked_labels, batch.relations


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_losses_and_gradients_equal_hugging_face(act):
    torch.manual_seed(1)
    model = LinkBertForPreTraining(small_config(hidden_act=act, initializer_range=0.3), objective="nsp").eval()
    reference = BertForPreTraining(model.config).eval()
    reference.load_state_dict(model.state_dict())
    batch = make_batch(relations=2)
    labels = torch.full((batch.input_ids.numel(),), IGNORED)
    labels[batch.masked_positions] = batch.masked_labels
    attended = (batch.pairs >= 0).long()
    theirs = reference(batch.input_ids, attended, batch.token_type_ids)
    their_mlm = functional.cross_entropy(theirs.prediction_logits.flatten(0, 1), labels, reduction="sum")
    their_nsp = functional.cross_entropy(theirs.seq_relationship_logits, batch.relations, reduction="sum")

    ours = model(*given(batch))
    torch.testing.assert_close(ours["mlm_loss"][0], their_mlm, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(ours["relation_loss"][0].sum(), their_nsp, rtol=1e-6, atol=1e-5)
    assert ours["relation_accuracy"][0].sum() == (theirs.seq_relationship_logits.argmax(-1) == batch.relations).sum()

    count, pairs = len(batch.masked_labels), len(batch.relations)
    (ours["mlm_loss"][0] / count + ours["relation_loss"][0].sum() / pairs).backward()
    own = reference(
        batch.input_ids, attended, batch.token_type_ids, labels=labels.view(5, 24), next_sentence_label=batch.relations
    )
    torch.testing.assert_close(
        ours["mlm_loss"][0] / count + ours["relation_loss"][0].sum() / pairs, own.loss, rtol=1e-6, atol=1e-5
    )
    own.loss.backward()
    gradients = {name: weight.grad for name, weight in reference.named_parameters()}
    for name, weight in model.named_parameters():
        torch.testing.assert_close(
            weight.grad, gradients[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_three_relations_by_hand():
    model = LinkBertForPreTraining(small_config(), objective="drp").eval()
    head = model.cls
    with torch.no_grad():
        head.seq_relationship.weight.zero_()
        head.linked_relationship.weight.zero_()
        head.seq_relationship.bias.copy_(torch.tensor([1.0, 2.0]).log())
        head.linked_relationship.bias.copy_(torch.tensor([5.0]).log())
    batch = make_batch(pairs=4)
    batch = replace(batch, relations=torch.tensor([0, 1, 2, 2]))
    output = model(*given(batch))
    by_hand = -torch.tensor([1 / 8, 2 / 8, 5 / 8, 5 / 8]).log().sum()  # the three logits are log 1, log 2, log 5
    torch.testing.assert_close(output["relation_loss"][0].sum(), by_hand)
    torch.testing.assert_close(output["relation_loss"][0].detach(), torch.tensor([8.0, 4.0, (8 / 5) ** 2]).log())
    assert output["relation_accuracy"][0].tolist() == [0, 0, 2]
    found = model.predict(*given(batch)[:-1])
    torch.testing.assert_close(found.relations, torch.tensor([[1 / 8, 2 / 8, 5 / 8]]).expand(4, 3))


def test_predictions_go_with_the_losses():
    model = LinkBertForPreTraining(small_config())
    batch = make_batch()
    batch.masked_labels[3] = IGNORED
    found = model.predict(*given(batch)[:-1])
    output = model(*given(batch))
    torch.testing.assert_close(found.mlm_losses.sum(), output["mlm_loss"][0].detach())
    assert found.mlm_losses[3] == 0
    assert (found.relations.argmax(-1) == batch.relations).sum() == output["relation_accuracy"][0].sum()


def test_a_pair_does_not_see_beyond_its_length():
    model = LinkBertForPreTraining(small_config())
    batch = make_batch()
    before = model.predict(*given(batch)[:-1])
    batch.input_ids[batch.pairs < 0] = 13
    after = model.predict(*given(batch)[:-1])
    assert torch.equal(before.mlm_losses, after.mlm_losses)
    assert torch.equal(before.relations, after.relations)


def test_decoder_is_tied_and_relations_can_be_off():
    model = LinkBertForPreTraining(small_config(), objective="none")
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert model.cls.predictions.decoder.bias is model.cls.predictions.bias
    output = model(*given(make_batch()))
    assert list(output) == ["mlm_loss"]
    output["mlm_loss"][0].backward()
    without = {name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None}
    assert not without
    assert model.cls.linked_relationship is None


@pytest.mark.parametrize(("preset", "millions"), [("tiny", 4.4), ("base", 110), ("large", 335)])
def test_sizes_of_the_presets(preset, millions):
    config = make_config(preset)
    bert_config = BertConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
    )
    with torch.device("meta"):
        model = LinkBertForPreTraining(bert_config)
    count = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.02)


def test_dropout_drops_its_share_and_follows_seed_layer_and_place():
    x = torch.ones(200, 500)
    seeds = [torch.tensor(seed, dtype=torch.int32) for seed in (-(2**31), -5, 0, 7, 2**31 - 1)]
    kept = torch.stack([drop(x, 0.1, key) for seed in seeds for key in dropout_keys(seed, 3)])
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    flat = (kept != 0).double().flatten(1)  # 15 draws of 100,000 places
    assert ((flat.mean(1) - 0.9).abs() < 5 * (0.09 / 1e5) ** 0.5).all()
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 5 / 1e5**0.5
    for lag in (1, 2, 64, 500):
        assert abs(torch.corrcoef(torch.stack([flat[0, lag:], flat[0, :-lag]]))[0, 1]) < 5 / 1e5**0.5
    assert torch.equal(drop(x, 0.1, dropout_keys(seeds[1], 3)[2]), kept[5])
    assert drop(x, 0.1, None) is x


def step_results(step, model, batch, seed):
    torch.manual_seed(seed)
    model.zero_grad()
    output = step(batch)
    (output["mlm_loss"][0] + output["relation_loss"][0].sum()).backward()
    return [output["mlm_loss"][0].detach(), *(weight.grad.clone() for weight in model.parameters())]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_bits(precision):
    torch.manual_seed(0)
    model = LinkBertForPreTraining(small_config()).train()
    step = step_function(model, make_config("tiny", ["compile=off", f"precision={precision}"]))
    batch = make_batch(pairs=64)
    batch.input_ids[:, ::2] = 11  # many gradients of one word meet
    first = step_results(step, model, batch, 3)
    for _ in range(3):
        assert all(map(torch.equal, first, step_results(step, model, batch, 3)))
    assert not torch.equal(first[0], step_results(step, model, batch, 4)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # torch's own, when it loads its compiler
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_repeats_bit_for_bit_and_equals_uncompiled():
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = LinkBertForPreTraining(small_config(num_hidden_layers=5)).train()
    twin = copy.deepcopy(model)
    compiled, plain = (
        step_function(each, make_config("tiny", [f"compile={word}", "precision=fp32"]))
        for each, word in ((model, "on"), (twin, "off"))
    )
    batch = make_batch(pairs=64)
    batch.input_ids[:, ::2] = 11
    first = step_results(compiled, model, batch, 3)
    for _ in range(3):
        assert all(map(torch.equal, first, step_results(compiled, model, batch, 3)))
    for ours, theirs in zip(first, step_results(plain, twin, batch, 3), strict=True):  # dropout is the same, too
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    # Embeddings, the last layer, the four others as one, the head's transform and its powers
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 5
    with torch._dynamo.config.patch(error_on_recompile=True):  # another batch of the same shape is not compiled anew
        step_results(compiled, model, make_batch(pairs=64, seed=1), 3)
        model.predict(Inputs.of(make_batch(pairs=7)))


def test_bf16_is_close_to_fp32():
    torch.manual_seed(0)
    model = LinkBertForPreTraining(small_config(initializer_range=0.1)).eval()
    batch = make_batch(pairs=32)
    exact = model(*given(batch))
    coarse = model(*given(batch), ForwardOptions(torch.bfloat16))
    assert coarse["mlm_loss"][0].dtype == torch.float32
    torch.testing.assert_close(coarse["mlm_loss"][0], exact["mlm_loss"][0], rtol=0.01, atol=0)
    torch.testing.assert_close(coarse["relation_loss"][0].sum(), exact["relation_loss"][0].sum(), rtol=0.01, atol=0.01)


def test_a_micro_batch_on_a_cpu_is_so_small_that_a_stop_need_not_wait_for_it():
    model, config = LinkBertForPreTraining(small_config()), make_config("tiny", ["micro_batch_size=32"])
    assert rows_at_once(model, config) == 32
    large = config.replace(sequence_length=8_192)
    row = 8_192 * operations_a_token(model, large)
    assert rows_at_once(model, large) == int(AT_ONCE / row) < 32


def test_compile_where_it_pays_back(monkeypatch):
    model = LinkBertForPreTraining(small_config())
    assert operations_a_token(model, make_config("tiny")) == pytest.approx(
        3 * (2 * (2 * 3 * 32 * 32 + 4 * 512 * 32) + 1.15 * 2 * (32 * 32 + 2 * 32 * 64) + 0.15 * 2 * 32 * (32 + 97))
    )
    assert not compiles(model, make_config("tiny", ["max_steps=10"]))
    assert compiles(model, make_config("tiny", ["recipe=paper"]))
    assert not compiles(model, make_config("tiny", ["budget=5m"]))
    assert compiles(model, make_config("tiny", ["budget=2h", "max_steps=10"]))
    assert compiles(model, make_config("tiny", ["compile=on", "max_steps=10"]))
    assert not compiles(model, make_config("tiny", ["recipe=paper", "precision=fp32"])), "no faster where measured"
    assert not compiles(model, make_config("tiny", ["budget=2h", "precision=fp32"]))
    assert compiles(model, make_config("tiny", ["budget=2h", "precision=bf16"]))
    assert compiles(model, make_config("tiny", ["compile=on", "precision=fp32"]))
    monkeypatch.setitem(step.STARTING, "cpu", 3e12)  # as on a GPU, whose host has to start each micro-batch
    assert [compiles(model, make_config("tiny", [f"max_steps={steps}"])) for steps in (66, 67)] == [False, True]
    monkeypatch.undo()
    wide = LinkBertForPreTraining(small_config(hidden_size=256))
    assert compiles(wide, make_config("tiny", ["recipe=paper", "precision=fp32"]))
