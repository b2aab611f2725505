"""Whole runs from a store's folder: files, refusals, going on, many processes, `kill -9`."""

import doctest
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForPreTraining

from helpers import assert_same, journal
from linkbert.api import build_store
from linkbert.cli import main
from linkbert.compiled import is_whole_library
from linkbert.config import Config, choose_config
from linkbert.files import read_json
from linkbert.instances.mixture import fingerprint
from linkbert.instances.tokens import hash_id
from linkbert.instances.vocabulary import load_vocabulary
from linkbert.model import device
from linkbert.model.fill import relate
from linkbert.pretraining import card as cards
from linkbert.pretraining.checkpoint import checkpoints, find_model, read_state
from linkbert.pretraining.run import pretrain
from linkbert.pretraining.scores import describe

CARD = [
    "library_name: transformers",
    "pipeline_tag: fill-mask",
    "- linkbert",
    "| documents | 60 |",
    "| tokens | 2,520 |",
    "| links: dead | 2 |",
    "| pairs seen | 96 |",
    "toys _b_.jsonl",
    "in-degree^-1",
    "(asked: 33.3%)",
    "| max_steps | `12` |",
    "AutoModelForMaskedLM",
    "linkbert relate",
    "* relations right: ",
    "  * contiguous: ",
    "not for clinical use",
    "too few pairs",
]


def test_a_run_leaves_what_the_documentation_says(store, run, settings):
    result = pretrain(store, run, settings)
    assert (result.finished, result.step, result.model) == (True, 12, run / "model")
    assert {path.name for path in run.iterdir()} == {"run.json", "journal.jsonl", "tensorboard", "checkpoints", "model"}
    assert {path.name for path in (run / "model").iterdir()} == {
        "README.md", "config.json", "model.safetensors", "vocab.txt", "tokenizer.json",
        "tokenizer_config.json"}  # fmt: skip
    assert {path.name for path in (checkpoints(run)[-1] / "training").iterdir()} == {
        "optimizer.safetensors",
        "state.json",
    }
    record = json.loads((run / "run.json").read_text())
    assert set(record) == {"format", "created", "preset", "config", "store", "versions", "processes", "resumed"}
    assert result.scores.pairs == 48
    assert result.scores.mlm_accuracy.count > 0
    assert journal(run)[-1]["evaluation"]["pairs"] == 48
    assert not list(run.rglob("*.part"))


def test_the_model_opens_in_hugging_face(store, run, settings):
    pretrain(store, run, settings)
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    assert tokenizer.mask_token_id == 4
    assert tokenizer("word13 word14")["input_ids"] == [2, 8, 9, 3]
    BertForPreTraining.from_pretrained(run / "model")
    model = AutoModelForMaskedLM.from_pretrained(run / "model")
    assert model(**tokenizer("word13 [MASK]", return_tensors="pt")).logits.shape == (1, 4, 54)


def test_the_card_is_written_from_the_run(store, run, settings):
    pretrain(store, run, settings)
    card = (run / "model" / "README.md").read_text()
    for words in CARD:
        assert words in card, words
    assert all(f"| {name} | `" in card for name in Config.model_fields)
    assert str(run.parent.parent) not in card
    assert "on the way" not in card
    assert "on the way, 4 of 12 steps" in (checkpoints(run)[0] / "README.md").read_text()


def released(folder, store):
    """Write a BERT of the store's vocabulary as a hub has it: a pickle, dropout of 0.1, and a card."""
    folder.mkdir(parents=True)
    shutil.copy(store / "vocabulary" / "vocab.txt", folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    encoder = BertForPreTraining(BertConfig(vocab_size=54, max_position_embeddings=64, **sizes))
    encoder.config.to_json_file(folder / "config.json", use_diff=False)
    torch.save({name: value.clone() for name, value in encoder.state_dict().items()}, folder / "pytorch_model.bin")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\ndatasets: [org/words]\n---\nA card.\n")
    return encoder


def test_a_card_fetches_nothing(monkeypatch, hub):
    (hub / "org" / "base").mkdir(parents=True)
    (hub / "org" / "base" / "README.md").write_text("---\nlicense: mit\n---\n")
    monkeypatch.setattr(cards, "find_encoder", lambda name: pytest.fail(f"{name} is looked for on the hub"))
    assert cards.describe_base("org/base") == cards.LICENCE | {"base_model": "org/base"}, "not in the cache"


@pytest.mark.slow
def test_the_card_of_a_continued_encoder_has_its_sizes_name_licence_and_code_that_runs(
    store, run, settings, hub, capsys
):
    released(hub / "org" / "base", store)
    settings = settings.replace(init="org/base", max_steps=2, hidden_dropout_prob=0.0)
    pretrain(store, run, settings)
    card = ModelCard.load(run / "model" / "README.md")
    said = card.data.to_dict()
    wanted = {"base_model": "org/base", "language": "en", "license": "apache-2.0", "datasets": ["org/words"]}
    assert said | wanted == said
    for row in ("| hidden_size | `32` |", "| num_hidden_layers | `1` |", "| intermediate_size | `48` |"):
        assert row in card.text
    assert json.loads((run / "model" / "config.json").read_text())["hidden_dropout_prob"] == 0.1
    fill, pairs = re.findall(r"```python\n(.*?)```", card.text.replace("DIR", str(run / "model")), re.S)
    exec(fill, {})
    capsys.readouterr()
    exec(pairs, {})
    shown = eval(capsys.readouterr().out)
    assert shown == pytest.approx(relate(run / "model", "One text.", "Another."), abs=1e-5)
    assert pretrain(store, run, settings, resume=True).finished


def test_an_unfinished_run_is_an_encoder_to_start_from_and_a_vocabulary(store, run, settings, tmp_path):
    pretrain(store, run, settings.replace(max_steps=4))
    shutil.rmtree(run / "model")
    assert pretrain(store, tmp_path / "next", settings.replace(max_steps=2, init=str(run))).finished
    assert load_vocabulary(run) == load_vocabulary(store) == load_vocabulary(store / "vocabulary" / "vocab.txt")


def test_a_model_is_uploaded_with_its_name_in_its_card(store, run, settings, hub, tmp_path):
    pretrain(store, run, settings.replace(max_steps=2))
    assert main(["push", str(run), "org/mine", "language=de", "license=mit", "datasets=a/b,c/d", "--private"]) == 0
    there, here = hub / "org" / "mine", run / "model"
    assert {path.name for path in there.iterdir()} == {path.name for path in here.iterdir()}
    assert (there / "model.safetensors").read_bytes() == (here / "model.safetensors").read_bytes()
    card = ModelCard.load(there / "README.md")
    assert (card.data.language, card.data.license, card.data.datasets) == ("de", "mit", ["a/b", "c/d"])
    assert 'AutoTokenizer.from_pretrained("org/mine")' in card.text
    assert list(relate(find_model("org/mine"), "a", "b")) == ["contiguous", "random", "linked"]
    (hub / "org" / "mine" / "config.json").unlink()
    assert main(["push", str(tmp_path / "nothing"), "org/mine"]) == 1


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["licence=mit"], None, "licence: a card has key=value, as language=en license=mit; did you mean 'license'?"),
        (["mit"], None, "mit: a card has key=value"),
        (["thumbnail=a.png"], ConnectionError("Name or service not known"), "the hub was not reached"),
        ([], HfHubHTTPError("401", response=SimpleNamespace(headers={}, request=None)), "log in first"),
        ([], HFValidationError("Repo id"), "a name is ORG/NAME"),
    ],
)
def test_why_a_model_is_not_uploaded_is_said(folder_of_model, monkeypatch, words, error, said):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(ValueError, match=re.escape(said)):
        cards.push_model(folder_of_model, "org/mine", dict(word.partition("=")[::2] for word in words))


@pytest.fixture
def folder_of_model(tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(b"{}")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "grows"),
    [
        ({"lr_scheduler_type": "constant", "warmup_steps": 2}, True),
        ({"lr_scheduler_type": "wsd", "warmup_steps": 2, "decay_ratio": 0.5}, False),  # has decayed
        ({"lr_scheduler_type": "constant", "warmup_steps": 0.5}, False),  # a share of the steps
        ({"lr_scheduler_type": "linear", "warmup_steps": 2}, False),
    ],
)
def test_a_run_whose_schedule_does_not_depend_on_its_length_may_get_longer(store, run, settings, schedule, grows):
    short, whole = settings.replace(**schedule, max_steps=8), settings.replace(**schedule, max_steps=12)
    pretrain(store, run, short)
    if not grows:
        with pytest.raises(ValueError, match="was started with max_steps=8, not max_steps=12"):
            pretrain(store, run, whole, resume=True)
        return
    pretrain(store, run, whole, resume=True)
    pretrain(store, run.with_name("whole"), whole)
    ours, theirs = (load_file(each / "model" / "model.safetensors") for each in (run, run.with_name("whole")))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_a_run_with_transformers_modules_resumes_bit_for_bit_and_opens_as_any(store, run, settings):
    theirs = settings.replace(bert_modules="transformers")
    pretrain(store, run.with_name("whole"), theirs)
    pretrain(store, run, theirs)
    shutil.rmtree(checkpoints(run)[-1])
    shutil.rmtree(run / "model")
    pretrain(store, run, theirs, resume=True)
    assert_same(run, run.with_name("whole"))
    pretrain(store, run.with_name("ours"), settings)
    configs = [read_json(each / "model" / "config.json") for each in (run, run.with_name("ours"))]
    assert configs[0] == configs[1]
    first = [journal(each)[0] for each in (run, run.with_name("ours"))]
    assert first[0]["mlm_loss"] == pytest.approx(first[1]["mlm_loss"], rel=0.1), "another dropout"
    assert first[0]["mlm_loss"] != first[1]["mlm_loss"], "it was theirs"
    with pytest.raises(ValueError, match="attention_probs_dropout_prob must be 0 with bert_modules=transformers"):
        theirs.replace(attention_probs_dropout_prob=0.1)


def test_a_run_that_is_there_is_not_overwritten(store, run, settings):
    pretrain(store, run, settings)
    with pytest.raises(ValueError, match=r"is not empty; add --resume to continue") as caught:
        pretrain(store, run, settings)
    assert "\n" not in str(caught.value)
    again = pretrain(store, run, settings, resume=True)
    assert (again.finished, again.step) == (True, 12)
    assert again.scores is not None


def test_what_is_refused_leaves_no_folder(store, run, settings):
    for change in ({"init": "/nowhere"}, {"graph": "tfidf"}, {"batch_size": 1, "device": "gpu"}):
        with pytest.raises(ValueError):
            pretrain(store, run, settings.replace(**change))
        assert not run.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tiny", "'tiny' is not a setting; settings are written key=value"),
        ("seed=3 budget=soon", "budget must be none, or a time such as 90s, 40m or 2h, got soon"),
        ({"budget": 0.001}, "budget must be none, or a time such as 90s, 40m or 2h, got 0.001"),
        ({"init": torch.nn.Sequential(*[torch.nn.Linear(2, 2)] * 9)}, "init must be a valid string, got Sequential"),
    ],
)
def test_settings_of_other_kinds_are_refused_in_one_line(store, run, given, said):
    with pytest.raises(ValueError) as refusal:
        pretrain(store, run, given)
    assert said in str(refusal.value)
    assert len(str(refusal.value)) < 160
    assert "\n" not in str(refusal.value)


def test_a_run_on_usable_anchors_is_scored_on_such(store, run, settings):
    result = pretrain(store, run, settings.replace(anchors="usable", eval_pairs=300))
    assert all(70 < share.count < 130 for share in result.scores.relations.values())


def test_where_no_held_out_anchor_is_usable_all_are_scored(tmp_path, run, settings, caplog):
    lines = []
    for number in range(60):  # held-out documents have no links
        links = [] if hash_id(str(number)) < 0.2 * 2**64 else [{"start": 0, "end": 5, "target": str(59 - number)}]
        lines.append(json.dumps({"id": str(number), "text": "There it is. It goes on. It ends.", "links": links}))
    (tmp_path / "few.jsonl").write_text("\n".join(lines))
    build_store([tmp_path / "few.jsonl"], tmp_path / "few", vocabulary="train:100")
    result = pretrain(tmp_path / "few", run, settings.replace(anchors="usable", steps=1))
    assert result.scores.pairs == 48
    assert "so there is no link gain, and scores are of all anchors" in caplog.text


def test_a_folder_of_other_things_is_left_alone(store, run, settings):
    run.mkdir()
    (run / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"no run.json"):
        pretrain(store, run, settings, resume=True)
    assert [path.name for path in run.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_resume_without_a_checkpoint_starts_at_step_0_and_says_so(store, run, settings, caplog):
    pretrain(store, run.with_name("other"), settings)
    said = []
    pretrain(store, run, settings, resume=True, report=said.append)
    assert said[0] == f"{run} has no run to resume: one starts at step 0"
    assert_same(run, run.with_name("other"))
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ValueError, match="is not empty"):  # it has a model, which is not to be deleted
        pretrain(store, run, settings)
    shutil.rmtree(run / "model")
    with pytest.raises(ValueError, match=r"a run without a checkpoint, which stopped early: delete it to start again"):
        pretrain(store, run, settings)
    with pytest.raises(ValueError, match=r"resume with seed=\d+, or delete it: it has no checkpoint"):
        pretrain(store, run, settings.replace(seed=99), resume=True)
    pretrain(store, run, settings, resume=True)
    assert f"{run} has a run without a checkpoint: it starts again at step 0" in caplog.text
    assert_same(run, run.with_name("other"))


@pytest.mark.slow
def test_resume_does_not_begin_anew_over_damaged_checkpoints(store, run, settings):
    pretrain(store, run, settings)
    before, folders = (run / "journal.jsonl").read_bytes(), checkpoints(run)
    for folder in folders:
        (folder / "model.safetensors").write_bytes(b"")
    names = ", ".join(folder.name for folder in folders)
    with pytest.raises(ValueError, match=rf"is damaged \({names}\): bring one back, or delete them from .* to start"):
        pretrain(store, run, settings, resume=True)
    assert (run / "journal.jsonl").read_bytes() == before


def test_another_setting_is_refused_by_name(store, run, settings):
    pretrain(store, run, settings)
    before = (run / "run.json").read_bytes()
    for change, message in (
        ({"learning_rate": 0.5}, "was started with learning_rate=0.01, not learning_rate=0.5"),
        ({"steps": 24}, "was started with max_steps=12, not max_steps=24"),
        ({"seed": 1}, "seed=0"),
        ({"shares": (0.5, 0.25, 0.25)}, "shares=1/3,1/3,1/3, not shares=1/2,1/4,1/4"),
        ({"batch_size": 16}, "batch_size=8"),
    ):
        with pytest.raises(ValueError) as caught:
            pretrain(store, run, settings.replace(**change), resume=True)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (run / "run.json").read_bytes() == before


@pytest.mark.slow
def test_what_is_harmless_may_change_and_is_written_down(store, run, settings):
    pretrain(store, run, settings)
    pretrain(store, run, settings.replace(keep=1, precision="bf16", micro_batch_size=8), resume=True)
    resumed = json.loads((run / "run.json").read_text())["resumed"]
    assert resumed[0]["step"] == 12
    assert resumed[0]["changed"] == {"save_total_limit": 1, "precision": "bf16", "micro_batch_size": 8}


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on(store, run, settings):
    """Its run.json has older words and fewer settings, its checkpoint's state fewer entries."""
    pretrain(store, run, settings.replace(masking="word"))
    whole, last = journal(run), checkpoints(run)[-1]
    last.with_name("step-0000008").joinpath("README.md").write_text("damaged")  # so that the first one counts
    shutil.rmtree(last)
    shutil.rmtree(run / "model")
    record = json.loads((run / "run.json").read_text())
    for key in (
        "masking",
        "lr_scheduler_type",
        "decay_ratio",
        "budget",
        "spike",
        "on_spike",
        "mlm_probability_end",
    ):
        del record["config"][key]
    record["config"] |= {"whole_word": True, "pace": "none", "stop_before": 120.0}  # words that are no more
    (run / "run.json").write_text(json.dumps(record))
    path = checkpoints(run)[0] / "training" / "state.json"
    state = json.loads(path.read_text())
    state["plan"] = [0, 0.0, 12]
    for key in ("trained", "planned", "skipped", "faults_in_a_row", "norms", "scale", "since_overflow"):
        del state[key]
    path.write_text(json.dumps(state))
    with pytest.raises(ValueError, match="was started with masking=word, not masking=token"):
        pretrain(store, run, settings, resume=True)
    assert pretrain(store, run, settings.replace(masking="word"), resume=True).finished
    assert journal(run) == whole


def test_another_store_is_refused_and_a_moved_one_is_not(store, make_store, run, settings):
    pretrain(store, run, settings)
    with pytest.raises(ValueError, match="was started on another store"):
        pretrain(make_store("second", seed=1), run, settings, resume=True)
    moved = store.rename(store.with_name("moved"))
    assert pretrain(moved, run, settings, resume=True).finished


def test_a_fingerprint_sees_contents_not_dates(store, make_store):
    for stray in (store / "tokens" / "notes.bin", store / "graphs" / "hyperlink" / "old.bin"):
        stray.write_text("no array of a store")
    assert fingerprint(store, "hyperlink") == fingerprint(make_store("same"), "hyperlink")
    assert fingerprint(store, "hyperlink") != fingerprint(make_store("other", seed=1), "hyperlink")


def test_nothing_held_out_means_no_scores(store, run, settings, caplog):
    result = pretrain(store, run, settings.replace(held_out=0.0))
    assert result.scores is None
    assert "to score on: no scores" in caplog.text
    assert "Not scored." in (run / "model" / "README.md").read_text()


def test_a_run_continues_an_encoder(store, run, settings):
    pretrain(store, run, settings)
    second = settings.replace(init=str(run / "model"), steps=3, objective="nsp", shares=(0.5, 0.5, 0.0))
    result = pretrain(store, run.with_name("second"), second)
    assert list(result.scores.confusion) == ["contiguous", "random"]


def test_scope_auto_is_decided_by_the_links_and_a_run_goes_on_with_what_it_came_to(tmp_path, run, settings):
    cited = [{"id": str(i), "text": "Some text. More.", "links": [{"target": str((i + 1) % 20)}]} for i in range(20)]
    (tmp_path / "cited.jsonl").write_text("\n".join(map(json.dumps, cited)))
    build_store([tmp_path / "cited.jsonl"], tmp_path / "store", vocabulary="train:200")
    settings, said = settings.replace(scope="auto", max_steps=1), []
    pretrain(tmp_path / "store", run, settings, report=said.append)
    assert said[0] == "relations asked: contiguous 33.3%, random 33.3%, linked 33.3%"
    assert said[-1] == "scope=document: of 20 links, 100.0% are document-level; all are followed"
    record = read_json(run / "run.json")
    assert (record["config"]["scope"], record["store"]["scope"]) == ("auto", "document")
    assert read_state(checkpoints(run)[-1]).relations[2] > 0
    pretrain(tmp_path / "store", run, settings.replace(scope="document"), resume=True)
    for path in (run, tmp_path / "other"):
        with pytest.raises(ValueError, match=r"no link of graph 'hyperlink' of .* has a place in the text"):
            pretrain(tmp_path / "store", path, settings.replace(scope="segment"), resume=path == run)
    assert not (tmp_path / "other").exists()


def test_a_store_without_links_says_that_this_is_bert(make_store, run, settings):
    said = []
    pretrain(make_store("books", seed=2), run, settings.replace(max_steps=1), report=said.append)
    assert said == ["no links: no linked pairs; this is BERT"]


@pytest.mark.slow
def test_a_mixture_is_trained_and_scored_by_name(mix, run, settings):
    result = pretrain(mix, run, settings)
    record = json.loads((run / "run.json").read_text())
    assert set(record) == {"format", "created", "preset", "config", "stores", "versions", "processes", "resumed"}
    assert record["stores"] == {
        "books": {
            "path": str(mix[0].path),
            "fingerprint": fingerprint(mix[0].path, "hyperlink"),
            "scope": "segment",
            "weight": 0.25,
            "settings": {"shares": [0.5, 0.5, 0.0]},
        },
        "wiki": {
            "path": str(mix[1].path),
            "fingerprint": fingerprint(mix[1].path, "hyperlink"),
            "scope": "document",
            "weight": 0.75,
            "settings": {"scope": "document", "shares": [0.25, 0.25, 0.5]},
        },
    }
    scores = result.scores
    assert {name: each.pairs for name, each in scores.stores.items()} == {"books": 12, "wiki": 36}
    assert "    linked: no pairs" in describe(scores)
    assert scores.stores["books"].relations["linked"].count == 0
    assert scores.stores["wiki"].relations["linked"].count > 6
    assert scores.mlm_accuracy.count == sum(each.mlm_accuracy.count for each in scores.stores.values())
    assert scores.pairs == 48
    assert journal(run)[-1]["evaluation"]["stores"]["books"]["pairs"] == 12
    relations = read_state(checkpoints(run)[-1]).relations
    assert sum(relations) == 96
    assert 24 <= relations[2] <= 36  # linked: a half of 72
    card = (run / "model" / "README.md").read_text()
    for words in ("### books", "### wiki", "| share of the pairs | 75.00% |", "No pair was linked.", "(asked: 37.5%)",
                  "* books, 12 pairs:\n  * masked tokens right: ",
                  "contiguous 25.0%, random 25.0%, linked 50.0%", "any link of the first document"):  # fmt: skip
        assert words in card, words


def test_a_mixture_goes_on_only_as_it_was(mix, make_store, run, settings):
    settings = settings.replace(max_steps=2)
    pretrain(mix, run, settings)
    books, wiki = mix
    for parts, message in (
        ([replace(books, weight=2), wiki], "the weight of books=0.25, not the weight of books=0.4"),
        ([books, replace(wiki, settings={})], "wiki.scope=document, not wiki.scope=segment"),
        (
            [books, replace(wiki, path=make_store("other", seed=1))],
            r"on another store \(.*store\) than .*other",
        ),
        ([replace(books, name="novels"), wiki], r"started on books=.*books, wiki=.*, not on novels="),
        (wiki.path, r"started on books=.*, not on /"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            pretrain(parts, run, settings, resume=True)
        assert "\n" not in str(caught.value)
    assert pretrain([replace(books, weight=10), replace(wiki, weight=30)], run, settings, resume=True).finished


def test_a_run_chooses_its_arithmetic_once(store, run, settings, monkeypatch):
    """What is quicker at the start stays the run's, whatever is quicker when it goes on."""
    quick = {torch.bfloat16: 1.0, torch.float32: 2.0}
    monkeypatch.setattr(device, "matrix_peak", lambda _, dtype: quick[dtype])
    pretrain(store, run, settings.replace(precision="auto", steps=2))
    assert read_json(run / "run.json")["config"]["precision"] == "fp32"
    quick[torch.float32] = 0.5
    assert device.choose_precision("auto", torch.device("cpu")) == "bf16"
    assert device.choose_precision("fp16", torch.device("cpu")) == "fp16"


def test_the_example_of_the_documentation_runs(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store == tmp_path / "store"
    (example,) = doctest.DocTestFinder().find(pretrain, "pretrain", globs={})
    assert doctest.DocTestRunner().run(example) == doctest.TestResults(failed=0, attempted=4)


@pytest.mark.slow
def test_the_settings_of_a_run_win_over_its_preset(store, run):
    """With the same preset, with or without the words; another preset or value is refused by name."""
    words = ["max_steps=2", "batch_size=8", "sequence_length=32", "eval_pairs=8", "held_out=0.2", "learning_rate=1e-3"]
    first = pretrain(store, run, words, preset="tiny")
    assert (first.finished, read_json(run / "run.json")["preset"]) == (True, "tiny")
    before = read_json(run / "run.json")["config"]
    for preset, again in ((None, []), ("tiny", []), ("tiny", words), ("tiny", words[-1:])):
        assert pretrain(store, run, again, preset=preset, resume=True).finished
        assert read_json(run / "run.json")["config"] == before
    with pytest.raises(ValueError, match=r"with learning_rate=0\.001, not learning_rate=0\.5"):
        pretrain(store, run, ["learning_rate=0.5"], preset="tiny", resume=True)
    with pytest.raises(ValueError, match=r"with learning_rate=0\.001, not learning_rate=0\.5"):
        pretrain(store, run, {"learning_rate": 0.5}, resume=True)
    with pytest.raises(ValueError, match=r"with .*, not "):
        pretrain(store, run, [], preset="base", resume=True)


def test_a_recipe_is_part_of_the_preset():
    config, preset = choose_config("tiny", ["recipe=paper", "seed=3"], {})
    before = {"config": config.model_dump(), "preset": preset}
    assert preset == "tiny recipe=paper"
    assert choose_config("tiny", [], before) == (config, preset)
    assert choose_config("tiny", ["recipe=paper"], before) == (config, preset)
    plain, preset = choose_config("tiny", [], {})
    other, _ = choose_config("tiny", ["recipe=paper"], {"config": plain.model_dump(), "preset": preset})
    assert other.batch_size != plain.batch_size


def test_a_library_that_is_short_or_empty_is_not_whole(tmp_path):
    whole = next(path for path in Path(torch.__path__[0]).glob("lib/*.so") if is_whole_library(path))
    content = whole.read_bytes()
    for name, part in (("empty", b""), ("head", content[:30]), ("half", content[: len(content) // 2])):
        (tmp_path / f"{name}.so").write_bytes(part)
        assert not is_whole_library(tmp_path / f"{name}.so"), name


A_PART = """
import sys
import torch._inductor.config
from linkbert.cli import main
from linkbert.model import loss
from linkbert.model.fast_bert import LinkBertForPreTraining

torch._inductor.config.cpp_cache_precompile_headers = False  # which pays for many kernels
torch._inductor.config.cpp.simdlen = 1  # no code for vectors, and none that asks for them
loss.compiled_powers_of = lambda: loss.powers_of
LinkBertForPreTraining.parts_to_compile = lambda self: [self.cls.predictions.transform]
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def command(store, run, tmp_path):
    """Start training, a part of it compiled, in a process of its own, with torch's cache in the test's folder."""

    def go(**environment):
        words = ["max_steps=2", "batch_size=4", "micro_batch_size=2", "sequence_length=16", "eval_pairs=8",
                 "held_out=0.2", "num_hidden_layers=1", "hidden_size=16", "intermediate_size=16",
                 "precision=fp32", "threads=1", "compile=on", "scope=document"]  # fmt: skip
        command = [sys.executable, "-c", A_PART, "pretrain", str(store), "--to", str(run), "--resume", *words]
        names = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | environment
        names.pop("TORCHINDUCTOR_CACHE_DIR", None)
        return subprocess.Popen(command, env=names, stderr=subprocess.PIPE, text=True, start_new_session=True)

    return go


@pytest.mark.slow
def test_a_cut_library_in_the_cache_is_compiled_again(command, run, tmp_path):
    fast = tmp_path / "g++"
    fast.write_text('#!/bin/sh\nexec g++ "$@" -O0\n')
    fast.chmod(0o755)
    process = command(CXX=str(fast))
    process.communicate()
    assert process.returncode == 0
    libraries = [*(tmp_path / "cache" / "linkbert" / "torch").rglob("*.so")]
    sizes = [path.stat().st_size for path in libraries]
    assert sizes
    for path in libraries:
        path.write_bytes(path.read_bytes()[:1000])
    shutil.rmtree(run)
    process = command(CXX=str(fast))
    _, errors = process.communicate()
    assert process.returncode == 0
    assert "compiling takes a minute" in errors
    assert "uncompiled" not in errors
    assert [path.stat().st_size for path in libraries] == sizes


@pytest.mark.slow
def test_a_compiler_that_fails_leaves_training_uncompiled_with_one_line(command, run, tmp_path):
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 'fatal error: Python.h: No such file or directory' >&2\nexit 1\n")
    compiler.chmod(0o755)
    process = command(CXX=str(compiler))
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert (run / "model").is_dir()
    assert errors.count("training continues uncompiled") == 1
    assert len(errors.splitlines()) < 8, errors


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_compiling_ends_the_run_with_one_line(command, run, tmp_path, number):
    """To the whole process group, as a terminal sends it: the compiler dies of it, too."""
    slow = tmp_path / "g++"
    slow.write_text(f'#!/bin/sh\ntouch {tmp_path}/compiling\nsleep 1\nexec g++ "$@"\n')
    slow.chmod(0o755)
    process = command(CXX=str(slow))
    while not (tmp_path / "compiling").exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, errors = process.communicate()
    assert process.returncode == 130
    lines = [line for line in errors.splitlines() if not line.startswith("  train: ")]
    assert lines[1:] == ["linkbert pretrain: interrupted"]
    assert "compiling takes a minute" in lines[0]
    assert not (run / "model").exists()


def test_a_scope_that_can_link_nothing_is_refused_before_the_first_step(store, run, settings):
    """Segments of one sentence, none of which holds a link that leads on."""
    with pytest.raises(ValueError, match=r"scope=segment can link nothing: .* take scope=document or a larger"):
        pretrain(store, run, settings.replace(sequence_length=16))
    assert pretrain(
        store, run, settings.replace(sequence_length=16, scope="document", max_steps=1), resume=True
    ).finished


def test_stores_by_path(store, make_store, run, settings):
    result = pretrain([store, str(make_store("books", seed=2))], run, settings.replace(max_steps=1))
    assert set(read_json(result.run / "run.json")["stores"]) == {"store", "books"}
    with pytest.raises(ValueError, match="two of the stores have the same name; give Parts with names of their own"):
        pretrain([store, store], run, settings, resume=True)


@pytest.mark.slow
def test_a_run_that_is_stopped_in_its_last_evaluation_is_finished_when_it_is_resumed(store, run, settings):
    unbroken = pretrain(store, run.with_name("unbroken"), settings)

    def stop(now):
        if now.stage == "evaluation":
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = pretrain(store, run, settings, progress=stop)
    assert (stopped.step, stopped.finished, stopped.model, stopped.scores) == (12, False, None, None)
    result = pretrain(store, run, settings, resume=True)
    assert (result.finished, result.scores) == (True, unbroken.scores)
    assert_same(run, run.with_name("unbroken"))
