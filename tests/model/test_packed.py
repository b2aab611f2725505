"""Packed rows, the loss without logits and attention by pairs, each against what it replaces."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch.nn import functional
from transformers import BertConfig, BertForPreTraining

from linkbert.config import make_config
from linkbert.instances.batches import Batch
from linkbert.model import loss
from linkbert.model.attention import find_sequences, make_attention_mask, packed_attention
from linkbert.model.device import DTYPES, has_varlen
from linkbert.model.fast_bert import LinkBertForPreTraining, as_a_whole, give_slots
from linkbert.model.heads import ForwardOptions, Inputs
from linkbert.model.optimizer import make_optimizer
from linkbert.model.step import compiled_parts, query_slots, step_function
from linkbert.records import IGNORED

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "attention_probs_dropout_prob": 0.0,
}


def pairs_of(lengths, *, seed=0):
    """Draw pairs: tokens, segment ids, up to 4 masked places after [CLS], their labels, and a relation of two."""
    random = torch.Generator().manual_seed(seed)
    draw = lambda size, high: torch.randint(1, high, size, generator=random)  # noqa: E731
    return [
        (
            draw((n,), 97),
            (torch.arange(n) >= n // 3).long(),
            (torch.randperm(n - 1, generator=random)[:4] + 1).sort().values,
            draw((min(4, n - 1),), 97),
            draw((), 3) - 1,
        )
        for n in lengths
    ]


def pack(pairs, rows, *, width):
    """Lay pairs out as a Batch does: `rows` lists the pairs of each row; every list of slots has two that fill up."""
    shape = (len(rows), width)
    ids, kinds, positions = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    numbers = torch.full(shape, -1)
    first, masked, labels, relations = [], [], [], []
    for row, members in enumerate(rows):
        start = 0
        for tokens, types_, places, wanted, relation in (pairs[i] for i in members):
            part = row, slice(start, start + len(tokens))
            ids[part], kinds[part], positions[part] = tokens, types_, torch.arange(len(tokens))
            numbers[part] = len(first)
            first.append(row * width + start)
            masked += (places + row * width + start).tolist()
            labels += wanted.tolist()
            relations.append(int(relation))
            start += len(tokens)
    return Batch(
        input_ids=ids,
        token_type_ids=kinds,
        positions=positions,
        pairs=numbers,
        first=torch.tensor([*first, 0, 0]),
        masked_positions=torch.tensor([*masked, 0, 0]),
        masked_labels=torch.tensor([*labels, IGNORED, IGNORED]),
        relations=torch.tensor([*relations, IGNORED, IGNORED]),
        documents=torch.full((len(first) + 2,), -1),
        numbers=torch.full((len(first) + 2,), -1),
    )


@pytest.fixture
def model():
    torch.manual_seed(3)
    return LinkBertForPreTraining(BertConfig(**SIZES, initializer_range=0.3), objective="nsp").eval()


@pytest.mark.parametrize(
    "mode", [ForwardOptions(), ForwardOptions(written_out=True, slots=16), ForwardOptions(recompute=True, slots=16)]
)
def test_packed_rows_equal_hugging_face_pair_by_pair(model, mode, monkeypatch):
    monkeypatch.setattr(loss, "compiled_powers_of", lambda: loss.powers_of)
    reference = BertForPreTraining(model.config).eval()
    reference.load_state_dict(model.state_dict())
    pairs = pairs_of(lengths=[5, 24, 9, 11, 17, 3])
    their_loss = torch.zeros(())
    for ids, kinds, places, labels, relation in pairs:
        output = reference(ids[None], token_type_ids=kinds[None])
        their_loss = their_loss + functional.cross_entropy(output.prediction_logits[0, places], labels, reduction="sum")
        their_loss = their_loss + functional.cross_entropy(output.seq_relationship_logits, relation[None])
    count = sum(len(pair[2]) for pair in pairs)  # the loop, too, divides by it
    (their_loss / count).backward()

    batch = pack(pairs, [[1], [0, 2, 5], [3], [4], []], width=24)
    ours = model(Inputs.of(batch), batch.masked_labels, batch.relations, mode)
    total = ours["mlm_loss"][0] + ours["relation_loss"][0].sum()
    torch.testing.assert_close(total, their_loss, rtol=1e-5, atol=1e-5)
    (total / count).backward()
    theirs = dict(reference.named_parameters())
    for name, weight in model.named_parameters():
        torch.testing.assert_close(
            weight.grad, theirs[name].grad, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@given(places=some.integers(0, 40), ignored=some.sets(some.integers(0, 39)), seed=some.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_loss_without_logits_equals_cross_entropy(places, ignored, seed):
    random = torch.Generator().manual_seed(seed)
    draw = [torch.randn(size, generator=random) * 3 for size in ((places, 8), (50, 8), (50,))]
    labels = torch.randint(50, (places,), generator=random)
    labels[[place for place in ignored if place < places]] = IGNORED
    ours, theirs = ([each.clone().requires_grad_() for each in draw] for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "CHUNK", 16)  # so that there are several, and a last one that is not full
        found, *_ = loss.masked_token_loss(*ours, labels)
    states, weight, bias = theirs
    logits = states @ weight.t() + bias
    wanted = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    (found * 0.5).backward()
    (wanted * 0.5).backward()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad, rtol=1e-4, atol=1e-5)


def test_the_loss_never_holds_all_logits(monkeypatch):
    monkeypatch.setattr(loss, "CHUNK", 64)
    inputs = torch.randn(640, 8), torch.randn(4096, 8), torch.zeros(4096), torch.zeros(640, dtype=torch.int64)
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        loss.masked_token_loss(*inputs)
    largest = max(event.cpu_memory_usage for event in profile.events() if event.name.startswith("aten::empty"))
    assert largest < 640 * 4096 * 4 / 2  # a half of the matrix; a chunk is a tenth


def test_on_a_card_the_loss_has_few_chunks_each_of_which_the_host_has_to_start(monkeypatch):
    """On torch's device of shapes alone, which is no CPU either."""
    taken, powers = [], loss.powers_of
    monkeypatch.setattr(loss, "powers_of", lambda logits, bias: taken.append(len(logits)) or powers(logits, bias))
    for device in ("cpu", "meta"):
        states, weight, bias = (torch.zeros(size, device=device) for size in ((5_000, 4), (9, 4), (9,)))
        loss.masked_token_loss._init_fn(states, weight, bias, torch.zeros(5_000, dtype=torch.int64, device=device))
    assert taken == [512] * 9 + [392, 4_096, 904]


@pytest.mark.parametrize("queries", [None, [[0, 3, 3], [5, 1, 0]]])
def test_attention_written_out_equals_torch(queries):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    pairs = torch.tensor([[0, 0, 0, 1, 1, -1], [2, 2, 2, 2, 2, 2]])
    asked = torch.arange(6).expand(2, 6) if queries is None else torch.tensor(queries)
    asking = query.gather(2, asked[:, None, :, None].expand(2, 3, -1, 4))
    mask = make_attention_mask(pairs.gather(1, asked), pairs)
    outcomes = []
    for written_out in (True, False):
        mixed = packed_attention(asking, key, value, mask, written_out=written_out)
        wanted = (mixed * torch.linspace(-1, 1, mixed.numel(), dtype=torch.float64).view_as(mixed)).sum()
        outcomes.append([mixed, *torch.autograd.grad(wanted, (query, key, value), retain_graph=True)])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # the sums are fp32


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("written_out", [False, True])
def test_transformers_modules_give_the_same_losses_and_the_same_first_update(model, precision, written_out):
    """Without dropout; in fp32 to rounding. In bf16 theirs round at other places, by autocast."""
    batch = pack(pairs_of(lengths=[5, 24, 9, 11, 17, 3]), [[1], [0, 2, 5], [3], [4]], width=24)
    config, found = make_config("tiny", ["learning_rate=1e-3"]), []
    for modules in ("linkbert", "transformers"):
        own = copy.deepcopy(model)
        own.use_modules(modules)
        before = torch.cat([weight.detach().flatten() for weight in own.parameters()])
        mode = ForwardOptions(DTYPES[precision], slots=16)
        if written_out and precision == "fp32":
            mode = mode._replace(written_out=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loss, "compiled_powers_of", lambda: loss.powers_of)
            sums = own(Inputs.of(batch), batch.masked_labels, batch.relations, mode)
        losses = torch.stack([sums["mlm_loss"][0], sums["relation_loss"][0].sum()])
        (losses.sum() / 20).backward()
        gradient = torch.cat([weight.grad.flatten() for weight in own.parameters()])
        make_optimizer(own, config.replace(adam_epsilon=1e-2)).step()
        after = torch.cat([weight.detach().flatten() for weight in own.parameters()])
        found.append((losses.detach(), gradient, after - before))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() < (1e-5 if precision == "fp32" else 2e-2) * ours.norm()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*autograd.*should not be instantiated:DeprecationWarning")  # torch's own doing
@pytest.mark.parametrize("modules", ["linkbert", "transformers"])
def test_either_modules_are_one_graph_that_computes_the_same(model, modules, monkeypatch):
    """As the compiler sees them, without the code that it would write; in bf16."""
    monkeypatch.setattr(loss, "compiled_powers_of", lambda: loss.powers_of)
    batch = pack(pairs_of(lengths=[5, 24, 9, 11, 17, 3]), [[1], [0, 2, 5], [3], [4]], width=24)
    model.use_modules(modules)
    mode, found = ForwardOptions(torch.bfloat16, written_out=True, slots=16), []
    for call in (model, torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)):
        model.zero_grad()
        sums = call(Inputs.of(batch), batch.masked_labels, batch.relations, mode)
        total = sums["mlm_loss"][0] + sums["relation_loss"][0].sum()
        total.backward()
        found.append(torch.cat([total.detach().view(1), *(each.grad.flatten() for each in model.parameters())]))
    assert torch.equal(*found)


def by_formulas(query, key, value, starts, stops, most_asked, most_seen, *, window_size):
    """Attention over sequences, as torch.nn.attention.varlen has it on a GPU alone: (N, heads, D) thrice."""
    assert starts.dtype == torch.int32
    assert torch.equal(starts, stops)
    assert max(starts.diff()) <= most_asked == most_seen
    assert window_size == (most_seen, most_seen), "else torch 2.14 takes cuDNN's kernel on an H100: not repeatable"
    mixed = []
    for start, stop in itertools.pairwise(starts.tolist()):
        own = [each[start:stop].transpose(0, 1).double() for each in (query, key, value)]
        weights = (own[0] @ own[1].transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        mixed.append((weights @ own[2]).transpose(0, 1))
    return torch.cat(mixed).to(value.dtype)


def test_pairs_as_sequences_equal_pairs_by_a_mask(model, monkeypatch):
    """What a GPU is asked for, by formulas in fp64; rows are full, end in padding, or hold nothing else."""
    monkeypatch.setattr("linkbert.model.attention.varlen_attn", by_formulas)
    batch = pack(pairs_of(lengths=[5, 24, 9, 11, 17, 3]), [[1], [0, 2, 5], [], [], [3], [4]], width=24)
    found = []
    for sequences in (True, False):
        states = model.encode(Inputs.of(batch), mode=ForwardOptions(sequences=sequences), every=True)
        loss = (torch.cat(states) ** 2).mean()
        found.append([*states, *torch.autograd.grad(loss, [*model.bert.encoder.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_sequences_by_hand():
    pairs = torch.tensor([[0, 0, 1, -1], [-1, -1, -1, -1], [2, 2, 2, 2]])
    assert find_sequences(pairs, 3 + 3).tolist() == [0, 2, 3, 4, 8, 12, 12]
    assert find_sequences(torch.tensor([[0, 1], [2, 3]]), 4 + 2).tolist() == [0, 1, 2, 3, 4, 4, 4]


def test_a_step_on_a_gpu_takes_sequences_in_16_bits_and_a_mask_else(model, monkeypatch):
    """On the CPU, told that it has the kernel: it is called for every layer, with all places asked."""
    called, batch = [], pack(pairs_of(lengths=[5, 24, 9]), [[1], [0, 2]], width=24)

    def counted(query, *others, **options):
        called.append(len(query))
        return by_formulas(query, *others, **options)

    monkeypatch.setattr("linkbert.model.attention.varlen_attn", counted)
    model.train()
    for rate, calls in ((0.0, 2), (0.1, 0)):
        called.clear()
        monkeypatch.setattr("linkbert.model.step.has_varlen", lambda *_: True)
        config = make_config("tiny", ["compile=off", "precision=bf16", f"attention_probs_dropout_prob={rate}"])
        torch.manual_seed(0)
        found = step_function(model, config)(batch)["mlm_loss"][0]
        assert called == [48] * calls
        monkeypatch.setattr("linkbert.model.step.has_varlen", lambda *_: False)
        torch.manual_seed(0)
        assert found.item() == pytest.approx(step_function(model, config)(batch)["mlm_loss"][0].item(), rel=1e-2)


def test_where_torch_has_attention_over_sequences(monkeypatch):
    monkeypatch.setattr("linkbert.model.device.varlen_attn", by_formulas)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0) if device.index == 0 else (7, 5))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    cards = [torch.device("cuda", number) for number in (0, 1)]
    assert [has_varlen(card, torch.bfloat16, 64) for card in (*cards, torch.device("cpu"))] == [True, False, False]
    assert not has_varlen(cards[0], torch.float32, 64)
    assert not any(has_varlen(cards[0], torch.bfloat16, head) for head in (26, 264)), "not taken by the kernel"
    monkeypatch.setattr("linkbert.model.device.varlen_attn", None)
    assert not has_varlen(cards[0], torch.bfloat16, 64), "before torch 2.11"


@pytest.mark.parametrize(
    ("device", "layers", "width", "whole"),
    [("cpu", 2, 128, True), ("cpu", 6, 384, False), ("cuda", 2, 128, True), ("cuda", 6, 384, True),
     ("cuda", 12, 384, True), ("cuda", 12, 768, False), ("cuda", 24, 1024, False)],
)  # fmt: skip
def test_small_models_are_compiled_as_a_whole_and_on_a_gpu_minilm_with_them(device, layers, width, whole):
    assert as_a_whole(BertConfig(num_hidden_layers=layers, hidden_size=width), device) == whole


def test_no_clock_decides_what_is_compiled(model):
    """On a GPU the compiler would time whether products are padded: another run, other last bits."""
    assert compiled_parts(model, make_config("tiny", ["compile=on"]))
    assert not torch._inductor.config.shape_padding


def test_slots_by_hand_and_how_many_there_are():
    asked, slots = give_slots(torch.tensor([5, 7, 1, 5]), torch.Size([2, 4]), 3)
    assert asked.tolist() == [[1, 0, 0], [1, 3, 0]]
    assert slots.tolist() == [3, 4, 0, 3]
    config = make_config("tiny", ["mlm_probability=0.15"])
    batch = pack(pairs_of(lengths=[200, 300]), [[0, 1]], width=512)
    assert query_slots(batch, config, fixed=False) == 16  # 4 masks and a [CLS] of each
    assert query_slots(batch, config, fixed=True) == 96
    full = {"masked_positions": torch.arange(1, 200), "masked_labels": torch.zeros(199, dtype=torch.int64)}
    assert query_slots(replace(batch, **full), config, fixed=True) == 0  # rather slow than wrong


def test_dropout_of_attention_on_a_cpu_is_said(model, caplog):
    step_function(model, make_config("tiny", ["attention_probs_dropout_prob=0.1", "compile=off"]))
    assert "attention_probs_dropout_prob=0.1 leaves the fast kernel" in caplog.text


def test_a_compiled_step_that_gives_no_numbers_is_left(model, monkeypatch, caplog):
    """As torch 2.13 does in bf16 on a CPU with AVX-512 and AMX."""
    batch = pack(pairs_of(lengths=[5, 24, 9]), [[1], [0, 2]], width=24)
    nothing = {"mlm_loss": (torch.tensor(torch.nan), torch.tensor(1))}
    monkeypatch.setattr(
        LinkBertForPreTraining, "compile", lambda self, **_: setattr(self, "_compiled_call_impl", lambda *_: nothing)
    )
    step = step_function(model, make_config("tiny", ["compile=on", "precision=fp32"]))
    assert all(summed.isfinite().all() for summed, _ in step(batch).values())
    assert "on this processor; it is left, and nothing is lost): training continues uncompiled" in caplog.text
