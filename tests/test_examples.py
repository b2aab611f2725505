"""The programs of examples/ run as they stand, on a small store and a small model."""

import contextlib
import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertModel,
    Trainer,
    TrainingArguments,
)

import linkbert
from linkbert.model.checkpoint import load_model
from linkbert.model.fill import relate

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


@pytest.mark.slow
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


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM, BertForPreTraining])
def test_a_plain_bert_gets_the_rows_it_lacks_and_they_answer_only_once_they_are_trained(made, tmp_path, kind, caplog):
    sizes = {name: SMALL[name] for name in ("num_hidden_layers", "hidden_size", "num_attention_heads")}
    rows = len(AutoModel.from_pretrained(made / "run" / "model").get_input_embeddings().weight)
    kind(BertConfig(vocab_size=rows, intermediate_size=32, **sizes)).save_pretrained(tmp_path / "plain")
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / "plain" / name).write_bytes((made / "run" / "model" / name).read_bytes())
    model, two = linkbert.load_model(tmp_path / "plain"), kind is BertForPreTraining
    lacking = "masked-token head, no relation head" if kind is BertModel else "relation head"
    assert f"has no {'row for linked pairs' if two else lacking}: it must be trained" in caplog.text
    model.save_pretrained(tmp_path / "untrained")
    assert load_model(tmp_path / "untrained").objective.relations == (2 if two else 0)  # what `score` asks
    if two:
        assert list(relate(tmp_path / "untrained", "A", "B")) == ["contiguous", "random"]
    else:
        with pytest.raises(ValueError, match="no trained relation head"):
            relate(tmp_path / "untrained", "A", "B")
    same = linkbert.load_model(tmp_path / "untrained").state_dict()
    assert all(torch.equal(value, same[name]) for name, value in model.state_dict().items())

    pairs = linkbert.PairDataset(made / "store", sequence_length=32, shares="0,1/2,1/2")
    batch = linkbert.PairCollator(pairs)([pairs[i] for i in range(16)])
    assert batch["next_sentence_label"].max() == 2
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model(**batch).loss.backward()
    optimizer.step()
    assert model.eval()(**batch).seq_relationship_logits.shape == (16, 3)
    model.save_pretrained(tmp_path / "trained")
    assert list(relate(tmp_path / "trained", "A", "B")) == ["contiguous", "random", "linked"]


def test_a_run_with_two_relations_says_what_linked_pairs_need(made, tmp_path):
    linkbert.load_model(made / "run", objective="nsp").save_pretrained(tmp_path / "two")
    pairs = linkbert.PairDataset(made / "store", sequence_length=32, shares="0,0,1")
    batch = linkbert.PairCollator(pairs)([pairs[i] for i in range(16)])
    with pytest.raises(ValueError, match=r'two relations \(nsp\): open it with load_model\(..., objective="drp"\)'):
        linkbert.load_model(tmp_path / "two")(**batch)
    assert linkbert.load_model(tmp_path / "two", objective="drp")(**batch).loss > 0


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing:FutureWarning")
def test_trainer_saves_resumes_and_picks_the_best(made, tmp_path):
    pairs = linkbert.PairDataset(made / "store", sequence_length=32)
    held_out = linkbert.PairDataset(made / "store", sequence_length=32, held_out=0.2, split="held-out")

    def trainer(steps, packed):
        arguments = TrainingArguments(
            tmp_path / "out", max_steps=steps, save_steps=2, eval_steps=2, eval_strategy="steps", use_cpu=True,
            load_best_model_at_end=True, gradient_checkpointing=True, remove_unused_columns=False, report_to="none",
            per_device_train_batch_size=4, disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        collator = linkbert.PairCollator(pairs, packed=packed)
        model = linkbert.load_model(made / "run")
        return Trainer(model, arguments, train_dataset=pairs, eval_dataset=held_out, data_collator=collator)

    trainer(4, packed=True).train()
    again = trainer(6, packed=False)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    again.save_model(str(tmp_path / "out"))
    assert (tmp_path / "out" / "checkpoint-6" / "config.json").is_file()  # saving next to them leaves them there
    saved, trained = linkbert.load_model(tmp_path / "out").state_dict(), again.model.state_dict()
    assert saved.keys() == trained.keys()
    assert all(torch.equal(saved[name], trained[name]) for name in saved)
    assert AutoModel.from_pretrained(tmp_path / "out" / "checkpoint-6").config.model_type == "bert"


def test_a_packed_batch_gives_what_a_padded_one_gives(made):
    pairs = linkbert.PairDataset(made / "store", sequence_length=64)
    items, model = [pairs[i] for i in range(9)], linkbert.load_model(made / "run").eval()
    padded, packed = (model(**linkbert.PairCollator(pairs, packed=packed)(items)) for packed in (False, True))
    torch.testing.assert_close(packed.loss, padded.loss)
    torch.testing.assert_close(packed.seq_relationship_logits, padded.seq_relationship_logits)


def test_a_loss_is_of_what_has_labels(made):
    pairs = linkbert.PairDataset(made / "store", sequence_length=32)
    batch, model = linkbert.PairCollator(pairs)([pairs[i] for i in range(8)]), linkbert.load_model(made / "run").eval()
    labels, relations = batch.pop("labels"), batch.pop("next_sentence_label")
    both, tokens, relation = (
        model(**batch, **given).loss
        for given in ({"labels": labels, "next_sentence_label": relations}, {"labels": labels},
                      {"next_sentence_label": relations})
    )  # fmt: skip
    torch.testing.assert_close(both, tokens + relation)
    assert model(**batch, labels=torch.full_like(labels, -100)).loss == 0
    assert model(**batch).loss is None


def test_a_trained_model_is_used_as_the_page_of_commands_shows(made, capsys):
    page = (EXAMPLES.parent / "docs" / "commands.md").read_text(encoding="utf-8")
    code = re.search(r"^## Use a trained model.*?^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1]
    names = {}
    with contextlib.chdir(made):
        exec(compile(code, "commands.md", "exec"), names)
    assert names["vectors"].shape == (2, 16)
    assert "'linked': 0." in capsys.readouterr().out


@pytest.mark.slow
def test_accelerate_and_trainer_set_the_epoch_of_pairs(made, tmp_path):
    from accelerate import Accelerator

    loader = torch.utils.data.DataLoader(
        linkbert.PairDataset(made / "store", {"sequence_length": 32}), 8, collate_fn=lambda items: {"x": items[0]}
    )
    loader = Accelerator(cpu=True).prepare(loader)
    for _ in range(2):
        list(loader)
    assert loader.dataset.epoch == 1
    pairs = linkbert.PairDataset(made / "store", sequence_length=32)
    arguments = TrainingArguments(
        tmp_path / "out", num_train_epochs=2, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
        remove_unused_columns=False, per_device_train_batch_size=32, dataloader_pin_memory=False,
    )  # fmt: skip
    collator = linkbert.PairCollator(pairs)
    Trainer(linkbert.load_model(made / "run"), arguments, train_dataset=pairs, data_collator=collator).train()
    assert pairs.epoch == 1
