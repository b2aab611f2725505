"""Stock encoders: packed rows equal transformers' own computation, one pair a row."""

import pytest
import torch
from torch.nn import functional
from transformers import MODEL_FOR_MASKED_LM_MAPPING as CLASSES
from transformers import BertConfig, ModernBertConfig

from linkbert.model.fast_bert import LinkBertForPreTraining
from linkbert.model.heads import ForwardOptions, Inputs
from linkbert.model.hf_encoder import ARCHITECTURES, HFEncoder, longest, new_config
from linkbert.records import IGNORED

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
TOKENS = {"[PAD]": 1, "[CLS]": 0, "[SEP]": 2}
ROWS = [[20, 13, 30], [40, 9], [25]]  # tokens of each pair


def config_of(kind, **more):
    config = new_config(kind if kind not in ("xlm-roberta", "camembert") else "roberta", SIZES, TOKENS, longest=80)
    config.initializer_range = 0.2
    if kind in ("xlm-roberta", "camembert"):
        config = type(CONFIGS[kind])(**{**config.to_dict(), "model_type": kind})
    if isinstance(config, ModernBertConfig):
        config.local_attention = 8  # so that a pair is longer than the window
    for name, value in more.items():
        setattr(config, name, value)
    return config


CONFIGS = {config.model_type: config() for config in CLASSES if config.model_type in ARCHITECTURES}


def packed_batch():
    draw = torch.Generator().manual_seed(1)
    ids = torch.ones(len(ROWS), 64, dtype=torch.int64)
    types, positions, pairs, first, number = torch.zeros_like(ids), torch.zeros_like(ids), -torch.ones_like(ids), [], 0
    for row, sizes in enumerate(ROWS):
        at = 0
        for size in sizes:
            places = slice(at, at + size)
            ids[row, places] = torch.randint(5, 60, (size,), generator=draw)
            types[row, at + size // 2 : at + size] = 1
            positions[row, places] = torch.arange(size)
            pairs[row, places] = number
            first.append(64 * row + at)
            number, at = number + 1, at + size
    masked = torch.tensor([3, 12, 22, 40, 70, 110, 130, 150, 0])
    labels = torch.tensor([7, 8, 9, 10, 11, 12, 13, 14, IGNORED])
    inputs = Inputs(ids, types, positions, pairs, torch.tensor(first), masked)
    return inputs, labels, torch.tensor([0, 1, 2, 2, 1, 0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in ARCHITECTURES if kind != "bert"] + ["legacy deberta"])
def test_packed_rows_equal_one_pair_a_row_in_transformers(kind):
    torch.manual_seed(0)
    config = config_of(kind.removeprefix("legacy "), **({"legacy": True} if "legacy" in kind else {}))
    model = HFEncoder(config).eval()
    (ids, types, _, pairs, first, masked), labels, relations = packed_batch()
    ours = model(*packed_batch())
    (ours["mlm_loss"][0] + ours["relation_loss"][0].sum()).backward()

    theirs = CLASSES[type(config)](config).eval()
    weights = {name: value for name, value in model.state_dict().items() if name in theirs.state_dict()}
    theirs.load_state_dict(weights)
    losses = []
    for number in range(6):
        places = (pairs == number).flatten().nonzero().flatten()
        alone = torch.ones(1, 50, dtype=torch.int64)
        alone[0, : len(places)] = ids.flatten()[places]
        inputs = {"input_ids": alone, "attention_mask": (torch.arange(50) < len(places)).long()[None]}
        if model.segments > 1:
            inputs["token_type_ids"] = torch.zeros_like(alone)
            inputs["token_type_ids"][0, : len(places)] = types.flatten()[places]
        output = theirs(**inputs, output_hidden_states=True)
        mine = (pairs.flatten()[masked] == number) & (labels != IGNORED)
        losses.append(
            functional.cross_entropy(output.logits[0, masked[mine] - first[number]], labels[mine], reduction="sum")
        )
        start = getattr(theirs, theirs.base_model_prefix)(**inputs).last_hidden_state[:, 0]
        scores = model.relation_logits(start)
        losses.append(functional.cross_entropy(scores, relations[number : number + 1], reduction="sum"))
    torch.testing.assert_close(ours["mlm_loss"][0], sum(losses[::2]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours["relation_loss"][0].sum(), sum(losses[1::2]), rtol=1e-5, atol=1e-5)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    sum(losses).backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(
            gradients[name], parameter.grad, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_stock_bert_equals_ours():
    torch.manual_seed(0)
    ours = LinkBertForPreTraining(BertConfig(**SIZES, max_position_embeddings=80, initializer_range=0.2)).eval()
    stock = HFEncoder(ours.config).eval()
    stock.load_state_dict(ours.state_dict(), strict=False)
    heads, rows = stock.linkbert["relation"], ours.cls
    heads.weight.data = torch.cat([rows.seq_relationship.weight, rows.linked_relationship.weight]).data
    heads.bias.data = torch.cat([rows.seq_relationship.bias, rows.linked_relationship.bias]).data
    batch = packed_batch()
    outputs = [model(*batch) for model in (ours, stock)]
    for output in outputs:
        (output["mlm_loss"][0] + output["relation_loss"][0].sum()).backward()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-5)
    theirs = dict(stock.named_parameters())
    for name, parameter in ours.named_parameters():
        if "relationship" not in name:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-5)
    predicted = [model.predict(*batch[:-1]) for model in (ours, stock)]
    torch.testing.assert_close(predicted[0], predicted[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "deberta-v2"])
def test_bf16_is_close_and_dropout_follows_the_seed(kind):
    torch.manual_seed(0)
    config = config_of(kind)
    model = HFEncoder(config).eval()
    exact, rough = model(*packed_batch()), model(*packed_batch(), ForwardOptions(torch.bfloat16))
    assert rough["mlm_loss"][0].item() == pytest.approx(exact["mlm_loss"][0].item(), rel=0.1)
    assert rough["mlm_loss"][0] != exact["mlm_loss"][0]
    for name in ("hidden_dropout_prob", "mlp_dropout"):
        if hasattr(config, name):
            setattr(config, name, 0.1)
    model = HFEncoder(config).train()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(model(*packed_batch())["mlm_loss"][0].item())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("kind", [kind for kind in ARCHITECTURES if kind != "bert"])
def test_recomputed_layers_give_the_same_gradients(kind):
    config = config_of(kind)
    for name in ("hidden_dropout_prob", "mlp_dropout"):
        if hasattr(config, name):
            setattr(config, name, 0.1)
    found, calls = [], [0, 0]
    for again in (False, True):
        torch.manual_seed(0)
        model = HFEncoder(config).train()
        for layer in model.layers:
            next(layer.children()).register_forward_pre_hook(
                lambda *_, i=int(again): calls.__setitem__(i, calls[i] + 1)
            )
        output = model(*packed_batch(), ForwardOptions(recompute=again))
        (output["mlm_loss"][0] + output["relation_loss"][0].sum()).backward()
        found.append(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]))
    assert calls == [len(model.layers), 2 * len(model.layers)]
    assert torch.equal(*found)


def test_objectives_and_positions():
    none = HFEncoder(config_of("roberta"), objective="none")
    assert list(none(*packed_batch())) == ["mlm_loss"]
    assert not any(p.requires_grad for name, p in none.named_parameters() if "linkbert" in name or "pooler" in name)
    assert HFEncoder(config_of("electra"), objective="nsp").relation_logits(torch.zeros(2, 32)).shape == (2, 2)
    assert {kind: longest(config_of(kind)) for kind in ARCHITECTURES} == dict.fromkeys(ARCHITECTURES, 80)
    with pytest.raises(ValueError, match="convolution over neighbouring places"):
        HFEncoder(config_of("deberta-v2", conv_kernel_size=3))
