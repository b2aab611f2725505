"""Checkpoints as Hugging Face folders, and every kind of folder a run can start from."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
)

from linkbert.config import make_config
from linkbert.files import UMASK, find_encoder
from linkbert.instances.vocabulary import load_vocabulary
from linkbert.model.checkpoint import PairModel, load_model, read_encoder, start_model, write_model
from linkbert.model.fast_bert import LinkBertForPreTraining
from linkbert.model.fill import fill_mask, relate
from linkbert.model.heads import Inputs, find_objective

WORDS = ["the", "sea", "moon", "pulls", "tides", "bread", "of", "capital", "##s", "."]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
SETTINGS = [
    "sequence_length=32",
    "num_hidden_layers=1",
    "hidden_size=16",
    "num_attention_heads=2",
    "intermediate_size=32",
    "initializer_range=0.3",
]


@pytest.fixture
def vocabulary(tmp_path):
    folder = tmp_path / "vocabulary"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}')
    return folder


@pytest.fixture
def encoder_folder(tmp_path, vocabulary):
    """Write a Hugging Face model of a class into a folder with the vocabulary; weights may be changed on the way."""

    def write(kind, change=lambda weights: weights, **config):
        torch.manual_seed(5)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        sizes |= {"vocab_size": len(VOCABULARY), "max_position_embeddings": 40}
        model = kind(BertConfig(**sizes | config))
        folder = tmp_path / kind.__name__
        model.save_pretrained(folder)
        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
        for file in vocabulary.iterdir():
            (folder / file.name).write_text(file.read_text())
        return folder, model

    return write


def start(folder, vocabulary, *words):
    return start_model(make_config("tiny", [*SETTINGS, f"init={folder}", *words]), len(VOCABULARY))


def same_weights(ours, theirs):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    return [name for name in theirs if name in ours and not torch.equal(ours[name], theirs[name])]


@pytest.mark.parametrize("objective", ["drp", "nsp", "none"])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, vocabulary, objective):
    shares = [] if objective == "drp" else ["shares=1/2,1/2,0"]
    model = start_model(make_config("tiny", [*SETTINGS, f"objective={objective}", *shares]), len(VOCABULARY))
    write_model(model, tmp_path / "model", vocabulary=vocabulary, card="# A card\n")
    back = load_model(tmp_path / "model")
    assert back.objective is find_objective(objective)
    assert back.state_dict().keys() == model.state_dict().keys()
    assert not same_weights(back, model)
    same = {"dtype": None}
    assert back.config.to_dict() | same == model.config.to_dict() | same
    assert (tmp_path / "model" / "README.md").read_text() == "# A card\n"
    assert not list(tmp_path.glob("*.part"))
    assert not same_weights(start(tmp_path / "model", vocabulary, f"objective={objective}", *shares), model)


def test_the_seed_decides_the_start(vocabulary):
    first, same, other = (
        start_model(make_config("tiny", [*SETTINGS, f"seed={seed}"]), len(VOCABULARY)) for seed in (1, 1, 2)
    )
    assert not same_weights(first, same)
    assert same_weights(first, other)
    assert first.bert.embeddings.word_embeddings.weight.std().item() == pytest.approx(0.3, rel=0.2)


def test_a_head_that_starts_anew_knows_how_common_words_are(vocabulary, encoder_folder):
    counts = np.arange(len(VOCABULARY)) * 3
    wanted = torch.from_numpy((counts + 1) / (counts + 1).sum()).log().float()
    bare, _ = encoder_folder(BertModel)
    ready, theirs = encoder_folder(BertForPreTraining)
    for init, bias in (("none", wanted), (bare, wanted), (ready, theirs.cls.predictions.bias)):
        model = start_model(make_config("tiny", [*SETTINGS, f"init={init}"]), len(VOCABULARY), counts=counts)
        torch.testing.assert_close(model.cls.predictions.bias.data, bias.data)


def test_hugging_face_opens_a_checkpoint(tmp_path, vocabulary):
    model = start_model(make_config("tiny", SETTINGS), len(VOCABULARY)).eval()
    folder = tmp_path / "model"
    write_model(model, folder, vocabulary=vocabulary)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(
        ["The moon pulls the [MASK].", "bread"], ["tides", "of the sea"], return_tensors="pt", padding=True
    )
    real = inputs["attention_mask"].bool()
    places, pairs = torch.arange(real.shape[1]).expand_as(real), torch.where(real, torch.tensor([[0], [1]]), -1)
    with torch.no_grad():
        shape = inputs["input_ids"].shape
        everywhere = torch.arange(shape[0] * shape[1])
        starts = torch.arange(shape[0]) * shape[1]
        states, first = model.encode(
            Inputs(inputs["input_ids"], inputs["token_type_ids"], places, pairs, starts, everywhere)
        )
        hidden, logits = states.view(*shape, -1), model.token_logits(states).view(*shape, -1)
        for kind, missing in ((AutoModel, set()), (AutoModelForMaskedLM, set()), (BertForPreTraining, set())):
            theirs, report = kind.from_pretrained(folder, output_loading_info=True)
            assert set(report["missing_keys"]) == missing
            assert not report["mismatched_keys"]
            output = theirs.eval()(**inputs)
            if kind is AutoModel:
                torch.testing.assert_close(output.last_hidden_state[real], hidden[real])
            elif kind is AutoModelForMaskedLM:
                torch.testing.assert_close(output.logits[real], logits[real])
            else:
                torch.testing.assert_close(output.prediction_logits[real], logits[real])
                torch.testing.assert_close(output.seq_relationship_logits, model.relation_logits(first)[:, :2])
                extra = {"cls.linked_relationship.weight", "cls.linked_relationship.bias"}
                assert set(report["unexpected_keys"]) == extra
    assert tokenizer.model_max_length == model.config.max_position_embeddings
    assert tokenizer.decode(inputs["input_ids"][0]).startswith("[CLS] the moon pulls the [MASK]")


def test_start_from_an_encoder_without_heads(encoder_folder, vocabulary):
    folder, theirs = encoder_folder(BertModel)
    model = start(folder, vocabulary, "hidden_dropout_prob=0.2").eval()
    assert not same_weights(model.bert, theirs)
    transform = model.cls.predictions.transform
    assert torch.equal(transform.dense.weight, torch.eye(16))
    for zero in (transform.dense.bias, transform.LayerNorm.bias, model.cls.predictions.bias):
        assert not zero.any()
    assert torch.equal(transform.LayerNorm.weight, torch.ones(16))
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert model.cls.seq_relationship.weight.any()
    assert model.config.hidden_dropout_prob == 0.2
    assert model.config.attention_probs_dropout_prob == 0.0


def test_start_from_an_encoder_with_both_heads(encoder_folder, vocabulary):
    folder, theirs = encoder_folder(BertForPreTraining)
    model = start(folder, vocabulary)
    assert not same_weights(model, theirs)
    assert not model.cls.linked_relationship.weight.any()
    assert not model.cls.linked_relationship.bias.any()
    without = start(folder, vocabulary, "objective=nsp", "shares=1/2,1/2,0")
    assert without.cls.linked_relationship is None


def test_start_without_a_pooler_and_with_old_names(encoder_folder, vocabulary):
    def age(weights):
        old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in weights.items()}
        old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): value.half() for name, value in old.items()}
        old["cls.predictions.decoder.bias"] = old.pop("cls.predictions.bias")
        return old | {"bert.embeddings.position_ids": torch.arange(40)}

    folder, theirs = encoder_folder(BertForMaskedLM, age)
    model = start(folder, vocabulary)
    for name, value in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.half().float()), name
    assert model.bert.pooler.dense.weight.any()


def test_what_is_no_bert_or_does_not_fit_is_refused(encoder_folder, tmp_path, vocabulary):
    folder, _ = encoder_folder(BertModel)
    with pytest.raises(ValueError, match="40 positions, fewer than sequence_length=64"):
        start(folder, vocabulary, "sequence_length=64")
    weights = load_file(folder / "model.safetensors")
    hole = {name: value for name, value in weights.items() if "query" not in name}
    save_file(hole, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks 2 weights, bert.encoder.layer.0.attention.self.query"):
        start(folder, vocabulary)
    save_file(weights | {"embeddings.LayerNorm.weight": torch.ones(3)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="has shape"):
        start(folder, vocabulary)
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        start(folder, vocabulary)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin cannot be read as pickle of plain weights"):
        start(folder, vocabulary)

    for other in ("gpt2", "t5"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "config.json").write_text(json.dumps({"model_type": other}))
        with pytest.raises(ValueError, match=f"of type '{other}'; linkbert continues bert, roberta"):
            read_encoder(tmp_path / other)
    with pytest.raises(ValueError, match=r"no config\.json"):
        read_encoder(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        find_encoder("./nowhere")


def test_an_untied_decoder_stays_apart(encoder_folder, tmp_path, vocabulary):
    change = {"cls.predictions.decoder.weight": torch.ones(15, 16)}
    folder, _ = encoder_folder(BertForMaskedLM, lambda weights: weights | change)
    model = start(folder, vocabulary)
    assert torch.equal(model.cls.predictions.decoder.weight, torch.ones(15, 16))
    assert model.bert.embeddings.word_embeddings.weight.std() > 0
    write_model(model, tmp_path / "again", vocabulary=vocabulary)
    assert not same_weights(load_model(tmp_path / "again"), model)
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "again")
    assert torch.equal(theirs.cls.predictions.decoder.weight, torch.ones(15, 16))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("equal", [True, False])
def test_an_untied_decoder_keeps_its_bias(tmp_path, vocabulary, kind, equal):
    """Transformers 5 ties neither weight nor bias then, and computes with the decoder's; 4 wrote both alike."""
    sizes = {"vocab_size": 15, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    head = {"bert": "cls.predictions", "roberta": "lm_head"}[kind]
    torch.manual_seed(5)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, tie_word_embeddings=False, **sizes)).eval()
    for value in model.parameters():
        value.data += 0.1 * torch.randn_like(value)
    if equal:
        model.get_parameter(f"{head}.bias").data.copy_(model.get_parameter(f"{head}.decoder.bias"))
    model.save_pretrained(tmp_path / "theirs")
    for file in vocabulary.iterdir():
        (tmp_path / "theirs" / file.name).write_bytes(file.read_bytes())
    ids = torch.randint(5, 15, (2, 9))
    ours = PairModel(tmp_path / "theirs").eval()
    ours.save_pretrained(tmp_path / "again")
    back, report = AutoModelForMaskedLM.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not report["missing_keys"]
    with torch.no_grad():
        expected = model(ids).logits
        assert torch.allclose(ours(ids).prediction_logits, expected, atol=1e-5)
        assert torch.allclose(back.eval()(ids).logits, expected, atol=1e-5)


def test_a_pair_model_is_saved_as_accelerate_asks_for(encoder_folder, tmp_path):
    model = PairModel(encoder_folder(BertForPreTraining)[0])
    model.save_pretrained(
        tmp_path / "zeros", state_dict={name: 0 * value for name, value in model.state_dict().items()}
    )
    assert not any(value.any() for value in load_file(tmp_path / "zeros" / "model.safetensors").values())
    assert (tmp_path / "zeros" / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~UMASK
    model.save_pretrained(tmp_path / "second", is_main_process=False)
    assert not (tmp_path / "second").exists()
    with pytest.raises(ValueError, match="linkbert push FOLDER REPOSITORY"):
        model.save_pretrained(tmp_path / "third", push_to_hub=True)


@pytest.mark.parametrize(
    ("architecture", "objective", "says", "answers"),
    [("bert", "none", "relation head", None), ("roberta", "none", "relation head", None),
     ("bert", "nsp", "row for linked pairs", 2), ("roberta", "nsp", "row for linked pairs", 2)],
)  # fmt: skip
def test_rows_that_were_never_trained_are_not_taken_for_trained(
    tmp_path, vocabulary, caplog, architecture, objective, says, answers
):
    settings = [
        *SETTINGS,
        f"architecture={architecture}",
        "weight_init=random",
        f"objective={objective}",
        "shares=1/2,1/2,0",
    ]
    write_model(start_model(make_config("tiny", settings), len(VOCABULARY)), tmp_path / "run", vocabulary=vocabulary)
    model = PairModel(tmp_path / "run", objective="drp")
    assert f"has no {says}: it must be trained" in caplog.text
    weights = load_file(tmp_path / "run" / "model.safetensors")
    dense = ("cls.predictions.transform.dense", "lm_head.dense")
    save_file({k: v for k, v in weights.items() if not k.startswith(dense)}, tmp_path / "run" / "model.safetensors")
    PairModel(tmp_path / "run", objective="drp")
    assert f"has no masked-token head, no {says}: it must be trained" in caplog.text
    model.save_pretrained(tmp_path / "out")
    if answers:
        assert len(relate(tmp_path / "out", "the sea", "the moon")) == answers
    else:
        with pytest.raises(ValueError, match="has no trained relation head"):
            relate(tmp_path / "out", "the sea", "the moon")
    for name, value in model.state_dict().items():
        value += ".relation." in name or "relationship" in name
    model.save_pretrained(tmp_path / "trained")
    assert len(relate(tmp_path / "trained", "the sea", "the moon")) == 3


def test_a_tokenizer_goes_with_its_model_whatever_its_kind(tmp_path):
    """What AutoTokenizer reads of the folder that was opened, it reads of the one that is written."""
    kinds = {
        "cased": {"vocab.txt": "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "The", "the", "s", "##s", "."])}
    }
    alphabet = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"ĠTthes."])}
    kinds["bpe"] = {"vocab.json": json.dumps(alphabet), "merges.txt": "#version: 0.2\n"}
    for kind, files in kinds.items():
        size = len(alphabet) if kind == "bpe" else 10
        config = AutoConfig.for_model(
            "roberta" if kind == "bpe" else "bert", vocab_size=size, hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, pad_token_id=1 if kind == "bpe" else 0)  # fmt: skip
        AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / kind)
        for name, text in files.items():
            (tmp_path / kind / name).write_text(text)
        PairModel(tmp_path / kind).save_pretrained(tmp_path / "out" / kind)
        ids = [
            AutoTokenizer.from_pretrained(tmp_path / "out" / kind)("The these.", add_special_tokens=False)["input_ids"]
        ]
        ids += [load_vocabulary(tmp_path / kind).tokenizer.encode("The these.").ids] if kind == "cased" else []
        ids += [AutoTokenizer.from_pretrained(tmp_path / kind)("The these.", add_special_tokens=False)["input_ids"]]
        assert ids[0] == ids[1]
        assert len(set(ids[0])) > 2


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_special_tokens_of_other_names_are_found(tmp_path, kind):
    """Of a tokenizer.json alone, of which AutoTokenizer knows no special token; WordPieces may have such names, too."""
    special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    if kind == "bert":
        ids = {word: i for i, word in enumerate([*special, "the", "sea", "moon", "##s"])}
        tokenizer = Tokenizer(models.WordPiece(ids, unk_token="<unk>"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    else:
        ids = {word: i for i, word in enumerate([*special, *"Ġtheseamoon"])}
        ids = {word: i for i, word in enumerate(ids)}
        tokenizer = Tokenizer(models.BPE(ids, []))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    numbers = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    numbers = numbers if kind == "modernbert" else {}
    config = AutoConfig.for_model(kind, vocab_size=tokenizer.get_vocab_size(), **sizes, **numbers)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(fill_mask(tmp_path, "the [MASK] moon")[0]) == 5


def test_marks_in_a_text_to_relate_are_text(tmp_path, vocabulary):
    write_model(start_model(make_config("tiny", SETTINGS), len(VOCABULARY)), tmp_path / "model", vocabulary=vocabulary)
    written, spelled = (relate(tmp_path / "model", f"the {text} sea", "moon") for text in ("[SEP]", "[ sep ]"))
    assert written == spelled


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_kind_of_bert_folder(encoder_folder, vocabulary, kind, prefix):
    folder, theirs = encoder_folder(kind, lambda weights: {prefix + name: value for name, value in weights.items()})
    model = start(folder, vocabulary)
    assert not same_weights(model.bert if kind is BertModel else model, theirs)


def test_shards_are_held_to_their_index(encoder_folder, vocabulary):
    folder, theirs = encoder_folder(BertForPreTraining)
    (folder / "model.safetensors").unlink()
    theirs.save_pretrained(folder, max_shard_size="8KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert not same_weights(start(folder, vocabulary), theirs)
    weights = load_file(shards[1])
    save_file(weights | {"extra": torch.ones(2)}, shards[1])
    with pytest.raises(ValueError, match=r"do not hold what their index says \(extra\)"):
        start(folder, vocabulary)
    save_file(dict(list(weights.items())[1:]), shards[1])
    with pytest.raises(ValueError, match="do not hold what"):
        start(folder, vocabulary)
    shards[1].unlink()
    with pytest.raises(ValueError, match=f"{shards[1].name} cannot be read"):
        start(folder, vocabulary)


def test_a_matrix_of_words_may_have_rows_to_spare(encoder_folder, tmp_path):
    folder, theirs = encoder_folder(BertModel, vocab_size=24)
    counts = np.arange(15)
    config = make_config("tiny", [*SETTINGS, f"init={folder}"])
    model = start_model(config, 15, counts=counts)
    assert not same_weights(model.bert, theirs)
    bias = model.cls.predictions.bias
    assert bias.shape == (24,)
    assert (bias[15:] == bias[0]).all()
    write_model(model, tmp_path / "wide", vocabulary=folder)
    assert len(fill_mask(tmp_path / "wide", "[MASK]", top=99)[0]) == 15


def test_a_hub_name_without_a_network_is_one_clear_line(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(ValueError, match="the hub did not give it") as refusal:
        find_encoder("bert-base-uncased")
    assert "\n" not in str(refusal.value)


def test_a_config_of_another_size_than_the_vocabulary_is_refused(encoder_folder):
    folder, _ = encoder_folder(BertModel)
    with pytest.raises(ValueError, match="has 15 tokens by its config"):
        start_model(make_config("tiny", [*SETTINGS, f"init={folder}"]), 16)


def test_ask_a_model(encoder_folder, tmp_path, vocabulary):
    model = start_model(make_config("tiny", SETTINGS), len(VOCABULARY))
    write_model(model, tmp_path / "model", vocabulary=vocabulary)
    guesses = fill_mask(tmp_path / "model", "The [MASK] pulls the [MASK].", top=3)
    assert [len(each) for each in guesses] == [3, 3]
    assert all(word in VOCABULARY for each in guesses for word, _ in each)
    assert guesses[0][0][1] >= guesses[0][1][1] > 0
    assert sum(p for _, p in fill_mask(tmp_path / "model", "[MASK]", top=99)[0]) == pytest.approx(1)
    answer = relate(tmp_path / "model", "the moon pulls the sea " * 500, "tides of bread")
    assert list(answer) == ["contiguous", "random", "linked"]
    assert sum(answer.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"no \[MASK\]"):
        fill_mask(tmp_path / "model", "the moon")
    with pytest.raises(ValueError, match="longer than the model's 512"):
        fill_mask(tmp_path / "model", "moon " * 600 + "[MASK]")
    for name in ("vocab.txt", "tokenizer.json"):
        (tmp_path / "model" / name).unlink()
    with pytest.raises(ValueError, match="holds no vocabulary"):
        fill_mask(tmp_path / "model", "[MASK]")

    folder, theirs = encoder_folder(BertForPreTraining)
    assert list(relate(folder, "the sea", "the moon")) == ["contiguous", "random"]
    inputs = AutoTokenizer.from_pretrained(folder)("the [MASK]", return_tensors="pt")
    with torch.no_grad():
        expected = theirs.eval()(**inputs).prediction_logits[0, 2].softmax(-1)
    assert dict(fill_mask(folder, "the [MASK]", top=15)[0])["sea"] == pytest.approx(float(expected[6]), rel=1e-4)
    headless, _ = encoder_folder(BertModel)
    for question in (lambda: fill_mask(headless, "[MASK]"), lambda: relate(headless, "sea", "moon")):
        with pytest.raises(ValueError, match="has no trained"):
            question()


def test_objectives_have_their_rows():
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=15)
    for objective, rows in (("drp", 3), ("nsp", 2), ("none", 2)):
        model = LinkBertForPreTraining(config, objective=objective)
        assert model.relation_logits(torch.zeros(1, 16)).shape == (1, rows)


def test_a_folder_cannot_have_code_imported(tmp_path, vocabulary, caplog, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = start_model(make_config("tiny", SETTINGS), len(VOCABULARY))
    write_model(model, tmp_path / "model", vocabulary=vocabulary)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"linkbert_objective": "evil:OBJECTIVE"}))
    assert load_model(tmp_path / "model").objective is find_objective("none")
    assert "the objective evil:OBJECTIVE is not installed: only masked tokens are scored" in caplog.text


def test_a_pair_model_has_embeddings_keeps_its_vocabulary_and_refuses_half_a_packed_batch(encoder_folder):
    folder, _ = encoder_folder(BertForPreTraining)
    model, ids = PairModel(folder), torch.arange(5, 13)[None]
    words = model.get_input_embeddings()
    assert words.weight is model.model.get_parameter("bert.embeddings.word_embeddings.weight")
    with pytest.raises(ValueError, match=r"keeps its 15 tokens; AutoModelForMaskedLM\.from_pretrained"):
        model.resize_token_embeddings(16)
    packed = {"position_ids": torch.arange(8)[None], "cls_positions": torch.tensor([0])}
    for name, value in packed.items():
        with pytest.raises(
            ValueError, match="packed rows need both position_ids and cls_positions, padded ones neither"
        ):
            model(ids, **{name: value})
    model.eval()
    assert torch.allclose(model(ids, **packed).prediction_logits, model(ids).prediction_logits, atol=1e-6)
