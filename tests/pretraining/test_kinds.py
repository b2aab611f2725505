"""Every kind of encoder, from a store of its own vocabulary to a folder that transformers opens."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from linkbert.api import build_store
from linkbert.cli import main
from linkbert.model.checkpoint import load_model
from linkbert.model.heads import NONE, Inputs
from linkbert.pretraining.checkpoint import checkpoints
from linkbert.pretraining.run import pretrain

TOKENIZERS = {
    "roberta": "bpe",
    "electra": "words",
    "deberta": "bpe",
    "deberta-v2": "unigram",
    "modernbert": "bpe",
}


@pytest.fixture(scope="module")
def stores_of_kinds(tmp_path_factory, stores, other_vocabulary):
    """The toys' documents, tokenised by each kind of vocabulary."""
    words = tuple(f"Word{i} word{i}" for i in range(10, 58))
    made = {"words": stores[0]}
    for kind in ("bpe", "unigram"):
        folder = tmp_path_factory.mktemp(kind)
        other_vocabulary(kind, words).save(folder / "vocabulary")
        source = stores[0].parent / "0"
        build_store([source / "toys <b>.jsonl"], folder / "store", vocabulary=str(folder / "vocabulary"))
        made[kind] = folder / "store"
    return made


@pytest.fixture
def settings(config):
    return config.replace(
        sequence_length=48, held_out=0.2, eval_pairs=24, scope="document", max_steps=4, save_steps=2,
        num_hidden_layers=2, logging_steps=1,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_run_of_every_kind(tmp_path, stores_of_kinds, settings, kind, capsys):
    store, run = stores_of_kinds[TOKENIZERS[kind]], tmp_path / "run"
    config = settings.replace(architecture=kind)
    result = pretrain(store, run, config)
    assert result.finished
    assert set(result.scores.relations) == {"contiguous", "random", "linked"}

    unbroken = load_file(result.model / "model.safetensors")
    for name in ("model", "checkpoints/step-0000004"):  # as if it had stopped after step 2
        shutil.rmtree(run / name)
    assert [folder.name for folder in checkpoints(run)] == ["step-0000002"]
    resumed = pretrain(store, run, config, resume=True).model
    again = load_file(resumed / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in unbroken.items())

    model = load_model(resumed).eval()
    theirs, report = AutoModelForMaskedLM.from_pretrained(resumed, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    assert theirs.config.model_type == kind
    tokenizer = AutoTokenizer.from_pretrained(resumed)
    ids = tokenizer("Word12 word13 word14.", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == tokenizer.cls_token_id
    with torch.no_grad():
        everywhere = torch.arange(ids.shape[1])
        states, first = model.encode(Inputs.padded(ids)._replace(masked_positions=everywhere))
        torch.testing.assert_close(theirs(input_ids=ids).logits[0], model.token_logits(states), rtol=1e-4, atol=1e-5)
        bare = AutoModel.from_pretrained(resumed)
        output = bare(input_ids=ids)
        torch.testing.assert_close(output.last_hidden_state[0], states, rtol=1e-4, atol=1e-5)
        if kind == "roberta":
            torch.testing.assert_close(output.pooler_output, bare.pooler(first[:, None]), rtol=1e-4, atol=1e-5)
            assert torch.equal(bare.pooler.dense.weight, model.roberta.pooler.dense.weight)

    text = tmp_path / "a.txt"
    text.write_text("Word12 word13.")
    capsys.readouterr()
    assert main(["fill", "--model", str(run), "Word12 [MASK] word14."]) == 0
    assert "%" in capsys.readouterr().out
    assert main(["relate", "--model", str(run), str(text), str(text)]) == 0
    assert "linked" in capsys.readouterr().out


@pytest.mark.slow
def test_an_encoder_of_another_kind_is_continued_on_its_own_vocabulary_alone(tmp_path, stores_of_kinds, settings):
    run = tmp_path / "run"
    pretrain(stores_of_kinds["bpe"], run, settings.replace(architecture="roberta", steps=1))
    more = settings.replace(init=str(run / "model"), objective="none", steps=1)
    assert pretrain(stores_of_kinds["bpe"], tmp_path / "more", more).finished
    assert load_model(tmp_path / "more" / "model").objective is NONE
    with pytest.raises(ValueError, match="vocabulary is not that of"):
        pretrain(stores_of_kinds["words"], tmp_path / "other", settings.replace(init=str(run / "model")))
