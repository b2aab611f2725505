"""Encoders in the forms in which they were released: random small BERTs, as folders and behind a stand-in hub."""

import codecs
import io
import json
import os
import pickle
import re
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForPreTraining,
    CLIPTextConfig,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    LongformerConfig,
    T5Config,
)

from linkbert.config import make_config
from linkbert.files import WEIGHTS, find_encoder
from linkbert.instances.vocabulary import load_vocabulary
from linkbert.model.checkpoint import (
    PairModel,
    load_model,
    make_model,
    open_tokenizer,
    read_encoder,
    start_model,
    write_model,  # fmt: skip
)
from linkbert.model.fill import Line, embed, fill_mask, open_for, relate
from linkbert.model.weights import read_config, read_weights
from linkbert.tasks import finetune
from linkbert.tasks.kinds import Text
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.suite import width_of
from linkbert.tasks.table import find_tasks

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LOWER = [*SPECIAL, "the", "sea", "moon", "pulls", "tides", "##s", "."]
CASED = [*SPECIAL, "The", "Sea", "Moon", "the", "sea", "moon", "."]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
         "max_position_embeddings": 40, "type_vocab_size": 2}  # fmt: skip
REST = {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
SMALL = ["sequence_length=32"]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def bert(folder, *, form="bin", heads=True, words=LOWER, name=lambda name: name, files=None, **config):
    """Write a random BERT; `config` changes config.json (None: left out), `files` are written besides."""
    torch.manual_seed(3)
    model = BertForPreTraining(BertConfig(vocab_size=len(words), **SIZES))
    weights = {key: value.clone() for key, value in model.state_dict().items() if "decoder" not in key}
    if not heads:
        weights = {key[5:]: value for key, value in weights.items() if key.startswith("bert.")}
    weights = {name(key): value for key, value in weights.items()}
    folder.mkdir(parents=True)
    if form == "safetensors":
        save_file(weights, folder / "model.safetensors")
    elif form == "shards":
        parts = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
        places = {key: parts[i % 2] for i, key in enumerate(weights)}
        for part in parts:
            torch.save({key: value for key, value in weights.items() if places[key] == part}, folder / part)
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    elif form:
        torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "bin")
    said = {"model_type": "bert", "vocab_size": len(words), **SIZES, **REST, **config}
    written = {"config.json": json.dumps({key: value for key, value in said.items() if value is not None})}
    for file, text in (written | {"vocab.txt": "\n".join(words) + "\n"} | (files or {})).items():
        (folder / file).write_text(text)
    return folder, model


def lower(value):
    return {"tokenizer_config.json": json.dumps({"do_lower_case": value})}


FORMS = {  # of the thirteen in docs/formats.md
    "LinkBERT-base": {"heads": False, "files": lower(True)},
    "LinkBERT-large": {"heads": False, "form": "old", "files": lower(True)},
    "BioLinkBERT": {"heads": False, "files": {"tokenizer_config.json": '{"tokenizer_class": "BertTokenizer"}'}},
    "PubMedBERT-abstract": {"form": "old", "files": lower(True)},
    "PubMedBERT-fulltext": {"form": "old"},
    "SciBERT-uncased": {"form": "old", "model_type": None, "type_vocab_size": 2},
    "SciBERT-cased": {"form": "old", "words": CASED},
    "BioBERT-base": {"words": CASED, "form": "old", "architectures": ["BertModel"]},
    "BioBERT-large": {"words": CASED, "model_type": None},
    "LegalBERT": {"files": {**lower(True), "tf_model.h5": "x", "flax_model.msgpack": "x"}},
    "bert-tiny": {
        "form": "old",
        "model_type": None,
        "name": lambda key: key.replace("LayerNorm.weight", "LayerNorm.gamma"),
    },
    "L-2_H-128": {"form": "safetensors", "files": {"pytorch_model.bin": "never read"}},
    "sharded": {"form": "shards"},
}


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_every_released_form_loads_with_its_own_weights_and_capitals(hub, name, by_name):
    options = FORMS[name]
    folder, theirs = bert(hub / "org" / name, **options)
    said = f"org/{name}" if by_name else str(folder)
    model = start_model(make_config("tiny", [*SMALL, f"init={said}"]), len(options.get("words", LOWER)))
    folder = find_encoder(said)
    assert by_name != (folder.parent == hub / "org")
    ours = model.state_dict()
    heads = options.get("heads", True)
    for key, value in theirs.state_dict().items():
        assert not (heads or key.startswith("bert.")) or torch.equal(ours[key], value), key
    cased = options.get("words") is CASED
    text = "The Moon" if cased else "The moons"
    tokens = ["The", "Moon"] if cased else ["the", "moon", "##s"]
    assert load_vocabulary(folder).tokenizer.encode(text).tokens == tokens
    assert open_tokenizer(folder).tokenize(text) == tokens
    if heads:
        assert list(relate(folder, "the sea", "the moon")) == ["contiguous", "random"]
    else:
        for question in (lambda: fill_mask(folder, "[MASK]"), lambda: relate(folder, "sea", "moon")):
            with pytest.raises(ValueError, match="has no trained"):
                question()


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("kind", ["zip", "old", "bare", "tar", "text", "cut", "list", "pointer"])
def test_a_pickle_that_is_not_of_plain_weights_is_one_line_and_runs_nothing(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    folder, _ = bert(tmp_path / "m")
    file = folder / "pytorch_model.bin"
    if kind in ("zip", "old"):
        torch.save({"a": torch.ones(2), "b": Evil()}, file, _use_new_zipfile_serialization=kind == "zip")
    elif kind == "bare":
        file.write_bytes(pickle.dumps(Evil()))
    elif kind == "tar":
        with tarfile.open(file, "w") as archive:
            for name in ("storages", "tensors", "pickle"):
                info = tarfile.TarInfo(name)
                info.size = 1
                archive.addfile(info, io.BytesIO(b"\0"))
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[:999])
    elif kind == "list":
        torch.save([torch.ones(2)], file)
    else:
        file.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n" if kind == "pointer" else "?"
        )
    wanted = {"pointer": "is a pointer of git-lfs", "list": "a list, not weights", "tar": r"legacy \.tar format",
              "zip": "posix.system, code", "old": "posix.system, code"}  # fmt: skip
    with pytest.raises(ValueError, match=wanted.get(kind, "cannot be read as pickle of plain weights")) as refusal:
        read_encoder(folder)
    assert str(file) in str(refusal.value)
    assert not {"\n", "weights_only` argument"} & {
        part for part in ("\n", "weights_only` argument") if part in str(refusal.value)
    }
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "word"), [("tf_model.h5", "from_tf"), ("model.ckpt.index", "from_tf"), ("flax_model.msgpack", "from_flax")]
)
def test_weights_of_other_programs_are_named_with_a_way_that_keeps_the_encoder_alone(tmp_path, file, word):
    folder, _ = bert(tmp_path / "m", form="", files={file: "x"})
    with pytest.raises(ValueError, match=rf"it has {file}: .*AutoModel\.from_pretrained\(DIR, {word}=True\)"):
        read_encoder(folder)


def test_googles_own_archives_are_named_with_the_way_that_keeps_their_heads(tmp_path):
    folder, _ = bert(tmp_path / "m", form="", files={"bert_model.ckpt.index": "x", "bert_model.ckpt.meta": "x"})
    (folder / "config.json").rename(folder / "bert_config.json")
    with pytest.raises(ValueError, match=r"named bert_config.json, as of old: give it that name"):
        find_encoder(folder)
    (folder / "bert_config.json").rename(folder / "config.json")
    with pytest.raises(ValueError, match=r"`transformers-cli convert .* --tf_checkpoint bert_model.ckpt --config"):
        read_encoder(folder)
    (folder / "config.json").rename(folder / "adapter_config.json")
    with pytest.raises(ValueError, match=r"it is an adapter: peft's merge_and_unload"):
        find_encoder(folder)


@pytest.mark.parametrize("kind", [GPT2Config, CLIPTextConfig])
def test_what_is_no_encoder_for_a_task_is_named(tmp_path, kind):
    config = kind(vocab_size=len(LOWER), n_embd=16, hidden_size=16, pad_token_id=None, bos_token_id=2, eos_token_id=3)
    folder, _ = bert(tmp_path / "m", form="safetensors")
    (folder / "config.json").write_text(config.to_json_string())
    if kind is GPT2Config:
        with pytest.raises(ValueError, match="is of a gpt2, a decoder: linkbert trains encoders, such as a BERT"):
            finetune.open_folder(folder)
        return
    opened = finetune.open_folder(folder)[1]
    with pytest.raises(ValueError, match="is of a clip_text_model, for which transformers has no AutoModelForSeq"):
        finetune.load_model(Text(find_tasks("rte")[0]), folder, opened, ("a", "b"), FineTuneConfig())


def test_a_tokenizer_of_sentencepiece_alone_says_what_makes_it_ours(tmp_path):
    with pytest.raises(ValueError, match="is needed; copy the encoder's own there"):
        load_vocabulary(tmp_path)
    (tmp_path / "spiece.model").touch()
    with pytest.raises(ValueError, match="makes one where sentencepiece is installed"):
        load_vocabulary(tmp_path)


WRAPPED = [
    "module.",
    "_orig_mod.",
    "model.",
    "module._orig_mod.",
    "model.module.",
    "state.model.",
    "encoder.0.auto_model.",
]


@pytest.mark.parametrize("prefix", WRAPPED)
@pytest.mark.parametrize("heads", [True, False])
def test_names_that_a_training_program_wrapped(tmp_path, prefix, heads):
    folder, theirs = bert(tmp_path / "m", heads=heads, name=lambda key: prefix + key)
    config, weights = read_encoder(folder)
    model = make_model(config, weights, objective="none")
    parts = (model, theirs) if heads else (model.bert, theirs.bert)
    ours, wanted = (part.state_dict() for part in parts)
    assert all(torch.equal(ours[key], value) for key, value in wanted.items())


def test_a_compiled_layer_and_a_checkpoint_of_a_trainer(tmp_path):
    folder, theirs = bert(tmp_path / "m", name=lambda key: key.replace("layer.1.", "layer.1._orig_mod."))
    weights = torch.load(folder / "pytorch_model.bin")
    torch.save({"epoch": 3, "state": {"model": weights}}, folder / "pytorch_model.bin")
    model = load_model(folder)
    assert torch.equal(
        model.bert.encoder.layer[1].output.dense.weight, theirs.bert.encoder.layer[1].output.dense.weight
    )


def test_a_matrix_of_words_under_the_decoders_name(tmp_path):
    words, decoder = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
    folder, theirs = bert(tmp_path / "m", form="safetensors", name=lambda key: decoder if key == words else key)
    model = load_model(folder)
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, theirs.bert.embeddings.word_embeddings.weight)
    assert model.config.tie_word_embeddings


def test_weights_of_another_model_are_refused_by_what_differs(tmp_path):
    many, few = 10**6, 1
    for i, (config, message) in enumerate(
        [
            ({"num_hidden_layers": few}, r"num_hidden_layers=1, the weights end at layer\.1"),
            ({"num_hidden_layers": many}, r"num_hidden_layers=1000000, the weights end at layer\.1"),
            ({"hidden_size": 20_000}, r"shape .*16.* where config\.json asks for .*20000"),
            ({"intermediate_size": 10**7}, "where config.json asks for"),
            ({"max_position_embeddings": 10**7}, "where config.json asks for"),
            ({"vocab_size": 10**7}, "where config.json asks for"),
            ({"model_type": "roberta", "pad_token_id": 1}, "the weights are of a bert by their names"),
        ]
    ):
        with pytest.raises(ValueError, match=message):
            read_encoder(bert(tmp_path / str(i), **config)[0])
    folder, _ = bert(tmp_path / "two")
    weights = torch.load(folder / "pytorch_model.bin")
    both = {f"{side}.{name}": value for side in ("question", "context") for name, value in weights.items()}
    torch.save(both, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"hold 2 encoders \(context\.bert\., question\.bert\.\)"):
        read_encoder(folder)
    huge = torch.zeros(1).half().expand(10**6, 10**6)  # 4 TB in fp32, 2 bytes in the file
    torch.save(weights | {"bert.pooler.dense.weight": huge}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"'bert\.pooler\.dense\.weight' is no plain tensor"):
        read_encoder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": "16"}, r"hidden_size is '16'\. Input should be a valid integer"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"vocab_size": [9]}, "vocab_size is "),
        ({"hidden_act": "softmaxx"}, "hidden_act is 'softmaxx'. Input should be 'gelu'"),
        ({"num_attention_heads": 3}, "multiple of the number of attention heads"),
        ({"hidden_dropout_prob": 2}, "hidden_dropout_prob is 2"),
        ({"model_type": 7}, "model_type is 7"),
        ({"model_type": "gpt2"}, "of type 'gpt2'; linkbert continues bert"),
        ({"model_type": None, "intermediate_size": None}, 'lacks "model_type"'),
        ({"model_type": None, "architectures": ["RobertaModel"]}, "the weights are of a bert by their names"),
        ({"num_labels": 10**30}, "num_labels is 1000000"),
        ({"hidden_size": "abc"}, "hidden_size is 'abc'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"initializer_range": float("nan")}, "initializer_range is nan, no float that can be: write one such as 0.02"),
        ({"initializer_range": "0.02"}, "initializer_range is '0.02'"),
        ({"initializer_range": 10**400}, "initializer_range is 1000"),
        ({"chunk_size_feed_forward": 1.5}, "chunk_size_feed_forward is 1.5, no int"),
        ({"chunk_size_feed_forward": True}, "chunk_size_feed_forward is True, no int"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no', no bool"),
        ({"is_encoder_decoder": 1}, "is_encoder_decoder is 1, no bool"),
    ],
)
def test_a_config_that_says_nonsense_is_one_line_with_file_and_key(tmp_path, change, message):
    folder, _ = bert(tmp_path / "m", **change)
    with pytest.raises(ValueError, match=message) as refusal:
        read_encoder(folder)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["[]", "null", "{", '"x"', "[" * 100_000, "version https://git-lfs.github.com/spec/v1"]
)
def test_a_config_that_is_no_object_is_one_line(tmp_path, text):
    folder, _ = bert(tmp_path / "m", files={"config.json": text})
    with pytest.raises(ValueError, match=r"config\.json") as refusal:
        read_encoder(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    ["[]", "null", '"x"', "{}", "{", "[" * 100_000, POINTER]
    + [json.dumps({"weight_map": each}) for each in (None, [], {}, "x", {"a": 1}, {"a": None}, {"a": ["b"]})]
    + [json.dumps({"weight_map": {"a": each}}) for each in ("../x.bin", "/etc/passwd", "gone.bin", "", ".", "x\0")],
)
def test_an_index_that_says_nonsense_is_one_line_with_its_file(tmp_path, text):
    folder, _ = bert(tmp_path / "m", form="shards", files={"pytorch_model.bin.index.json": text})
    with pytest.raises(ValueError, match="/m") as refusal:
        read_encoder(folder)
    assert "\n" not in str(refusal.value)


def test_an_encoder_that_transformers_saved_again_has_lost_the_linked_row(tmp_path):
    folder, _ = bert(tmp_path / "m", linkbert_objective="drp")
    assert list(relate(folder, "the sea", "the moon")) == ["contiguous", "random"]


def test_a_vocabulary_of_more_tokens_than_the_encoder_has_is_one_line(tmp_path):
    folder, _ = bert(tmp_path / "a", words=LOWER[:-1], files={"vocab.txt": "\n".join(LOWER) + "\n"})
    with pytest.raises(ValueError, match=r"has .* tokens, its config.json .*: they do not belong together"):
        fill_mask(folder, "the [MASK]")


def test_what_starts_at_random_is_said(tmp_path, caplog):
    folder, _ = bert(tmp_path / "m", heads=False)
    start_model(make_config("tiny", [*SMALL, f"init={folder}"]), len(LOWER))
    assert (
        f"{folder} has no masked-token head, no relation head, no row for linked pairs: trained from scratch here"
        in caplog.text
    )


def test_a_hub_name_fetches_one_form_of_the_weights(hub, capsys):
    bert(hub / "org" / "both", form="safetensors", files={"pytorch_model.bin": "never fetched"})
    bert(hub / "org" / "old", form="shards")
    bert(hub / "org" / "flax", form="", files={"flax_model.msgpack": "x"})
    assert not (find_encoder("org/both") / "pytorch_model.bin").exists()
    assert open_for(find_encoder("org/old"), relations=True)[1].tokenize("The moons") == ["the", "moon", "##s"]
    with pytest.raises(ValueError, match=r"org/flax has no weights .*it has flax_model\.msgpack"):
        find_encoder("org/flax")
    assert capsys.readouterr().err == ""  # no bar for what takes no time


def test_a_pooler_that_is_not_there_answers_no_relation(tmp_path):
    folder, _ = bert(tmp_path / "m", form="safetensors")
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if "pooler" not in name}
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match="has no trained relation head"):
        relate(folder, "the sea", "the moon")
    assert fill_mask(folder, "the [MASK]")


def test_a_home_folder_is_found_where_no_shell_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder, _ = bert(tmp_path / "m", heads=False)
    assert find_encoder("~/m") == folder
    assert load_vocabulary("~/m/vocab.txt") == load_vocabulary(folder)


def test_a_pickle_that_holds_itself_ends(tmp_path):
    folder, _ = bert(tmp_path / "m")
    weights = torch.load(folder / "pytorch_model.bin")
    itself = {}
    itself["state_dict"] = itself
    torch.save(itself, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="more than 8 dictionaries deep"):
        read_encoder(folder)
    torch.save({"model_state": weights, "epoch": 3}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"\(it holds model_state, epoch, not weights by their names: save"):
        read_encoder(folder)
    torch.save({"other": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"says num_hidden_layers=2, the weights are only bert\.other: fetch those of it"
    ):
        read_encoder(folder)
    for _ in range(8):
        weights = {"state": weights}
    torch.save(weights, folder / "pytorch_model.bin")
    assert read_encoder(folder)[1]


@pytest.mark.filterwarnings("ignore:Sparse|The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.to("meta"),
        lambda value: value.to_sparse(),
        lambda value: value.to_sparse_csr(),
        lambda value: torch.nested.nested_tensor([*value]),
        lambda value: torch.zeros(1).expand(10_000_000, 16),
    ],
)
def test_tensors_that_are_not_plain_are_one_line(tmp_path, change):
    folder, _ = bert(tmp_path / "m")
    weights = torch.load(folder / "pytorch_model.bin")
    for name in ("bert.pooler.dense.weight", "more"):
        odd = change(torch.zeros(16, 16))
        torch.save(weights | {name: odd}, folder / "pytorch_model.bin")
        with pytest.raises(ValueError, match=f"{folder}.*'{name}' is no plain tensor"):
            read_encoder(folder)


@pytest.mark.parametrize("form", ["safetensors", "bin", "shards"])
def test_a_pipe_is_not_waited_for(tmp_path, form):
    folder, _ = bert(tmp_path / "m", form=form)
    place = next(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(ValueError, match=r"no weights that linkbert reads|no regular file has this name"):
        fill_mask(folder, "the [MASK]")


def test_a_model_that_answers_nan_is_refused(tmp_path):
    folder, _ = bert(tmp_path / "m", form="safetensors")
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight"][:] = 3e38  # times a number above 1
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match="answers NaN"):
        fill_mask(folder, "the [MASK]")
    with pytest.raises(ValueError, match="answers NaN"):
        relate(folder, "the sea", "the moon")
    with pytest.raises(ValueError, match="answers NaN"):
        embed(load_model(folder), [Line([2, 5, 3], 3)])


@pytest.mark.parametrize("form", ["safetensors", "bin", "shards"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_their_name_by_all_who_read_them(tmp_path, form, number):
    name = "bert.encoder.layer.0.output.dense.bias"
    folder, _ = bert(tmp_path / "m", form="safetensors")
    weights = load_file(folder / "model.safetensors")
    weights[name][3] = number
    (folder / "model.safetensors").unlink()
    if form == "safetensors":
        save_file(weights, folder / "model.safetensors")
    else:
        torch.save(weights, folder / ("pytorch_model.bin" if form == "bin" else "a.bin"))
    if form == "shards":
        (folder / "pytorch_model.bin.index.json").write_text(
            json.dumps({"weight_map": dict.fromkeys(weights, "a.bin")})
        )
    for ask in (load_model, read_weights, lambda each: fill_mask(each, "[MASK]"), PairModel):
        with pytest.raises(ValueError, match=f"{folder}: {name} holds NaN or infinity"):
            ask(folder)


def test_a_tokenizer_that_panics_is_one_line(tmp_path):
    folder, _ = bert(tmp_path / "m")
    open_for(folder, relations=False)[1].backend_tokenizer.save(str(folder / "tokenizer.json"))
    rules = json.loads((folder / "tokenizer.json").read_text())
    rules["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a vocabulary: the tokenizers library breaks off"):
        load_vocabulary(folder)
    with pytest.raises(ValueError, match="breaks off"):
        fill_mask(folder, "the [MASK]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layers": 10**9}, "n_layers is 1000000000"),
        ({"n_layers": 10**7}, "asks for 10000000 layers"),
        ({"dim": "abc"}, "dim is 'abc', no int that can be: write one such as 768"),
        ({"dim": -16}, "describes no model"),
        ({"hidden_dim": 10**7}, r"asks for an encoder of .* numbers, the weights have"),
        ({"vocab_size": 10**7}, r"asks for an encoder of .* numbers, the weights have"),
    ],
)
def test_an_encoder_of_another_kind_is_compared_with_its_weights_before_it_is_made(tmp_path, change, message):
    sizes = {"vocab_size": len(LOWER), "n_layers": 1, "n_heads": 2, "dim": 16, "hidden_dim": 32}
    theirs = DistilBertModel(DistilBertConfig(**sizes))
    (folder := tmp_path / "m").mkdir()
    save_file(theirs.state_dict(), folder / "model.safetensors")
    config = {"model_type": "distilbert", **sizes}

    def open_it():
        return finetune.load_model(
            Text(find_tasks("rte")[0]), folder, read_config(folder, others=True), ("a", "b"), FineTuneConfig()
        )

    (folder / "config.json").write_text(json.dumps(config))
    assert open_it()[0].distilbert.transformer.layer[0].output_layer_norm.weight.shape == (16,)
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=message) as refusal:
        open_it()
    assert "m/config.json" in str(refusal.value)


@pytest.mark.parametrize("size", ["abc", 1.5, None, [], 10**400])
def test_the_width_of_an_encoder_is_a_number(tmp_path, size):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": size}))
    with pytest.raises(ValueError, match=r"config\.json: hidden_size is "):
        width_of(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json: its content is \[\]"):
        width_of(tmp_path)


def test_files_of_a_vocabulary_that_are_links_to_elsewhere_are_not_written(tmp_path, caplog):
    folder, _ = bert(tmp_path / "m")
    (tmp_path / "secret").write_text("a key")
    (folder / "special_tokens_map.json").symlink_to(tmp_path / "secret")
    (folder / "none.json").write_text("{}")
    (folder / "added_tokens.json").symlink_to("none.json")
    write_model(load_model(folder), tmp_path / "to", vocabulary=folder)
    assert not (tmp_path / "to" / "special_tokens_map.json").exists()
    assert (tmp_path / "to" / "added_tokens.json").is_file()
    assert "1 files are left out, no model's or links to elsewhere: ['special_tokens_map.json']" in caplog.text


def test_a_vocabulary_and_a_config_with_a_mark_of_byte_order_are_read(tmp_path):
    folder, _ = bert(tmp_path / "m")
    words = load_vocabulary(folder).tokens
    for name in ("vocab.txt", "config.json"):
        (folder / name).write_bytes(codecs.BOM_UTF8 + (folder / name).read_bytes() + b"\n")
    assert load_vocabulary(folder).tokens == words
    assert load_model(folder).config.hidden_size == 16


@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("kind", [torch.int8, torch.uint8])
def test_quantised_weights_are_refused_as_such(tmp_path, form, kind):
    folder, _ = bert(tmp_path / "m", form="safetensors")
    file = folder / "model.safetensors"
    weights = {name: value.to(kind) if value.ndim == 2 else value for name, value in load_file(file).items()}
    file.unlink()
    (torch.save if form == "bin" else save_file)(weights, folder / WEIGHTS[2 * (form == "bin")])
    with pytest.raises(ValueError, match=r"weight is of u?int8: it is quantised; take the model in floating point"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "adapter_model.bin", "model.onnx", "a.gguf"])
def test_what_is_no_model_by_itself_is_named(tmp_path, name):
    folder, _ = bert(tmp_path / "m", form="")
    (folder / name).touch()
    with pytest.raises(ValueError, match=f"{name} is not enough"):
        load_model(folder)


def test_an_encoder_with_a_decoder_is_named_and_one_with_a_window_a_layer_is_read(tmp_path):
    (tmp_path / "config.json").write_text(T5Config(d_model=16).to_json_string())
    with pytest.raises(ValueError, match=r"config.json is of a t5, an encoder and a decoder"):
        read_config(tmp_path, others=True)
    (tmp_path / "config.json").write_text(LongformerConfig(attention_window=[8, 8], hidden_size=24).to_json_string())
    assert read_config(tmp_path, others=True).attention_window == [8, 8]


def test_a_pickle_whose_parts_are_compressed_is_refused(tmp_path):
    folder, _ = bert(tmp_path / "m", form="bin")
    file = folder / "pytorch_model.bin"
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match="its parts are compressed, as torch writes none"):
        load_model(folder)


def test_a_config_names_neither_kernels_nor_files_elsewhere(tmp_path):
    named = {"attn_implementation": "org/kernel", "_attn_implementation": "flash_attention_2",
             "_attn_implementation_internal": "org/kernel", "transformers_weights": "../other.safetensors",
             "return_dict": False, "output_attentions": True}  # fmt: skip
    folder, _ = bert(tmp_path / "m", **named)
    config = finetune.open_folder(folder)[1]
    assert not re.search("org/kernel|flash", str(vars(config)))
    assert "transformers_weights" not in config.to_dict()
    assert (config.return_dict, config.output_attentions) == (True, False)
    finetune.load_model(Text(find_tasks("rte")[0]), folder, config, ("a", "b"), FineTuneConfig())
