"""The programs of examples/ run as they stand, on a small store and a small model."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

import linkbert

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_steps": 2,
         "sequence_length": 32, "batch_size": 8, "micro_batch_size": 8, "compile": "off", "precision": "fp32",
         "threads": 1, "eval_pairs": 16, "held_out": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of towns that link to their countries, and a model trained on it for two steps."""
    folder = tmp_path_factory.mktemp("examples")
    countries = [linkbert.Document(name, name, f"{name} is a country. It has towns. The sea is near.") for name in "AB"]
    towns = [
        linkbert.Document(
            f"town {i}",
            f"Town {i}",
            f"Town {i} lies in {'AB'[i % 2]}. It has a mill. It is old. People like it.",
            (linkbert.Link(len(f"Town {i} lies in "), len(f"Town {i} lies in ") + 1, "AB"[i % 2]),),
        )
        for i in range(30)
    ]
    linkbert.build_store([*countries, *towns], folder / "store", vocabulary="train:200")
    linkbert.pretrain(folder / "store", folder / "run", SMALL)
    return folder


def run(name, *words):
    """Run an example's main."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(*map(str, words))


@pytest.mark.parametrize("name", ["trainer", "accelerate_loop", "contrastive"])
def test_an_example_trains_and_what_it_saves_opens_in_hugging_face(made, tmp_path, name, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run(name, made / "store", made / "run" / "model", tmp_path / "out", 3)
    before, after = (AutoModel.from_pretrained(folder) for folder in (made / "run" / "model", tmp_path / "out"))
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(changed)
    if name != "contrastive":  # the heads are saved, too: three relations
        assert linkbert.load_model(tmp_path / "out").config.linkbert_objective == "drp"
        names = json.loads((tmp_path / "out" / "config.json").read_text())
        assert names["architectures"] == ["BertForPreTraining"]


def test_a_loaded_model_computes_what_the_run_computes(made):
    """Loss and logits of padded pairs equal those of the run's own packed forward pass."""
    model = linkbert.load_model(made / "run").eval()
    pairs = linkbert.PairDataset(made / "store", sequence_length=32)
    batch = linkbert.PairCollator(pairs)([pairs[i] for i in range(6)])
    output = model(**batch)
    masked = batch["labels"] != -100
    mlm = torch.nn.functional.cross_entropy(output.prediction_logits[masked], batch["labels"][masked])
    relation = torch.nn.functional.cross_entropy(output.seq_relationship_logits, batch["next_sentence_label"])
    torch.testing.assert_close(output.loss, mlm + relation)
    alone = model(**{key: value[:1] for key, value in batch.items()})
    torch.testing.assert_close(alone.prediction_logits, output.prediction_logits[:1])
    assert output.seq_relationship_logits.shape == (6, 3)
