import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    BertTokenizerFast,
    CamembertTokenizer,
    DebertaTokenizer,
    DebertaV2Tokenizer,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from linkbert.cli import main
from linkbert.instances import vocabulary as vocabulary_module
from linkbert.instances.vocabulary import (
    SPECIAL,
    Vocabulary,
    check_same_vocabulary,
    load_vocabulary,
    make_vocabulary,
    train_vocabulary,
)

TEXTS = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Ein Käfer läuft über die Straße; 東京 is Tokyo. Ça va?",
    "Pretraining of pretrained models: predict, predicting, predicted!",
] * 20


@pytest.fixture(scope="module")
def trained():
    return train_vocabulary(lambda: TEXTS, 300)


def test_a_trained_vocabulary_is_a_bert_vocabulary(trained):
    assert trained.tokens[:5] == SPECIAL
    assert len(trained) <= 300
    assert trained.lowercase
    assert "again" in trained.ids
    assert not any(token != token.lower() for token in trained.tokens[5:])
    assert trained.tokenizer.encode("Again, again").tokens == ["again", ",", "again"]


def test_capitals_are_kept_when_asked():
    assert "The" in train_vocabulary(lambda: TEXTS, 400, lowercase=False).ids


def test_training_twice_gives_the_same_vocabulary_in_any_process_and_number_of_threads(trained):
    code = (
        "import sys, json; from linkbert.instances.vocabulary import train_vocabulary; "
        "texts = json.loads(sys.argv[1]); print(train_vocabulary(lambda: texts, 300).sha256)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, json.dumps(TEXTS)],
            env={"TOKENIZERS_PARALLELISM": parallel, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for parallel in ("true", "false")
    }
    assert hashes == {trained.sha256}


def test_rare_characters_leave_room_for_words():
    strange = "".join(chr(0x4E00 + i) for i in range(3_000))
    vocabulary = train_vocabulary(lambda: [*TEXTS, strange], 300)
    assert "again" in vocabulary.ids
    assert vocabulary.tokenizer.encode(chr(0x4E00 + 2_999)).tokens == ["[UNK]"]


@given(st.text(max_size=60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_hugging_face_opens_a_saved_vocabulary_and_gives_the_same_ids(tmp_path_factory, trained, text, lowercase):
    folder = tmp_path_factory.getbasetemp() / f"vocabulary-{lowercase}"
    vocabulary = replace(trained, lowercase=lowercase)
    if not folder.is_dir():
        vocabulary.save(folder)
        assert load_vocabulary(folder) == vocabulary
    for kind in (BertTokenizerFast, AutoTokenizer):
        theirs = kind.from_pretrained(folder)
        if any(token in text for token in SPECIAL):
            continue
        assert theirs(text, add_special_tokens=False).input_ids == vocabulary.tokenizer.encode(text).ids
    assert [theirs.convert_tokens_to_ids(token) for token in SPECIAL] == [vocabulary.ids[token] for token in SPECIAL]


def test_special_tokens_in_a_text_are_text(trained):
    ids = trained.tokenizer.encode("the [MASK] and [SEP]").ids
    assert not {trained.ids[token] for token in SPECIAL if token != "[UNK]"} & set(ids)


def test_a_tokenizer_json_is_read(trained, tmp_path):
    from tokenizers.processors import BertProcessing

    tokenizer = trained.tokenizer.from_str(trained.tokenizer.to_str())
    tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_vocabulary(tmp_path) == trained
    assert load_vocabulary(tmp_path / "tokenizer.json") == trained


def test_a_bare_file_is_cased_where_its_tokens_have_capitals(tmp_path):
    lower = tmp_path / "lower.txt"
    lower.write_text("\n".join([*SPECIAL, "paris", "##ing"]) + "\n", encoding="utf-8")
    upper = tmp_path / "upper.txt"
    upper.write_text("\n".join([*SPECIAL, "Paris", "##ing"]), encoding="utf-8", newline="\r\n")
    assert load_vocabulary(lower).lowercase
    assert not load_vocabulary(upper).lowercase
    assert load_vocabulary(upper).tokens[-2:] == ("Paris", "##ing")
    assert load_vocabulary(lower).continues.tolist() == [False] * 6 + [True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.txt", "[PAD]\n[UNK]\nword\n", r"has no \[CLS\], \[SEP\], \[MASK\]"),
        ("vocab.txt", b"\xff\xfe\x00", "is not a vocabulary: 'utf-8' codec"),
        ("tokenizer.json", '{"model": {"type": "BPE"}}', "library cannot open it"),
        ("tokenizer.json", "{", "not valid JSON"),
        ("tokenizer.json", "[" * 100_000, "not valid JSON"),
        *(
            ("tokenizer.json", text, "library cannot open it")
            for text in ("[]", "null", '"x"', "1", '{"added_tokens": {}}', '{"model": null}', '{"model": []}')
        ),
        *(
            ("tokenizer.json", f'{{"model": {{"type": "WordPiece", "vocab": {words}}}}}', "library cannot open it")
            for words in ("null", "[1]", '{"[UNK]": "x"}', '{"[UNK]": -1}', '{"[UNK]": 1e300}', '{"a": 10000000000}')
        ),
        ("tokenizer.json", '{"model": {"type": "Unigram", "vocab": [["a", "b"]]}}', "library cannot open it"),
        ("tokenizer.json", '{"added_tokens": [{"id": -1}], "model": {"type": "BPE"}}', "library cannot open it"),
    ],
)
def test_what_is_no_vocabulary_says_so(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        load_vocabulary(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="is not there"):
        load_vocabulary(tmp_path / "nothing.txt")
    with pytest.raises(ValueError, match="holds no vocabulary"):
        load_vocabulary(tmp_path)

    def offline(*_, **__):
        raise OSError("error sending request\nfor url")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(ValueError, match="the hub did not give it") as caught:
        load_vocabulary("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_the_words_of_the_command_line(small_store, tmp_path):
    trained = make_vocabulary("train:150", small_store)
    assert trained.lowercase
    assert not make_vocabulary("train:150", small_store, lowercase=False).lowercase
    trained.save(tmp_path / "v")
    assert make_vocabulary(tmp_path / "v", small_store) == trained
    assert not make_vocabulary(str(tmp_path / "v" / "vocab.txt"), small_store, lowercase=False).lowercase
    with pytest.raises(ValueError, match=r"says by its tokenizer_config\.json what becomes of capitals"):
        make_vocabulary(tmp_path / "v", small_store, lowercase=False)
    assert make_vocabulary(tmp_path / "v", small_store, lowercase=True) == trained
    for word in ("train:", "train:many", "train:7"):
        with pytest.raises(ValueError, match="train:SIZE"):
            make_vocabulary(word, small_store)


@pytest.mark.data
@pytest.mark.parametrize(("name", "size"), [("bert-base-uncased", 30_522), ("pubmedbert", 28_895)])
def test_real_vocabularies(data, tmp_path, name, size):
    vocabulary = load_vocabulary(data / "vocab" / f"{name}.txt")
    assert len(vocabulary) == size
    assert vocabulary.lowercase
    vocabulary.save(tmp_path / "v")
    theirs = BertTokenizerFast.from_pretrained(tmp_path / "v")
    text = "Café naïve, the p53-mediated ＡＢＣ response (東京) isn't ½ of “that”… étude\u200b\u0007x"
    assert theirs(text, add_special_tokens=False).input_ids == vocabulary.tokenizer.encode(text).ids


def test_duplicate_free_ids_follow_lines():
    vocabulary = Vocabulary((*SPECIAL, "a", "b"))
    assert vocabulary.ids["b"] == 6
    assert len({vocabulary.sha256, Vocabulary((*SPECIAL, "b", "a")).sha256}) == 2


def test_an_encoder_of_another_vocabulary_is_refused_with_the_remedy(trained, tmp_path):
    check_same_vocabulary(trained, replace(trained, strip_accents=True), tmp_path)
    for other, message in (
        (Vocabulary((*trained.tokens[:7], "other", *trained.tokens[8:])), "first difference at number 7"),
        (replace(trained, lowercase=False, strip_accents=True), f"{tmp_path} and the store do not lower-case alike"),
        (replace(trained, strip_accents=False), "do not strip accents alike"),
        (replace(trained, chinese_characters=False), "do not set Chinese characters apart alike"),
    ):
        with pytest.raises(ValueError, match=f"{message}.*linkbert build SOURCE --to STORE --vocab {tmp_path}"):
            check_same_vocabulary(other, trained, tmp_path)


def test_a_vocabulary_that_could_write_nothing_or_two_ways_is_refused():
    with pytest.raises(ValueError, match="no token but the special ones"):
        Vocabulary(SPECIAL)
    with pytest.raises(ValueError, match="'a' twice"):
        Vocabulary((*SPECIAL, "a", "b", "a"))


def test_words_without_end_do_not_stall_the_training():
    begin = time.process_time()
    chinese = "東京是日本的首都" * 30  # without a space, and yet words
    trained = train_vocabulary(lambda: ["x" * 300_000 + " and, " + "acgt" * 100_000, chinese, *TEXTS], 300)
    assert time.process_time() - begin < 10
    assert {"again", "首", "都"} <= trained.ids.keys()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_other_tokenizers_are_kept_as_they_are(other_vocabulary, tmp_path, kind):
    vocabulary = other_vocabulary(kind)
    vocabulary.save(tmp_path / "v")
    assert load_vocabulary(tmp_path / "v") == vocabulary
    theirs = AutoTokenizer.from_pretrained(tmp_path / "v")
    text = "A (quick) fox, isn't it?\n\nCafé 東京  today\u00a0\U0001f98a."
    ids = vocabulary.tokenizer.encode(text).ids
    assert theirs(text, add_special_tokens=False).input_ids == ids
    assert theirs.decode(ids) == vocabulary.tokenizer.decode(ids, skip_special_tokens=False)
    names = (theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id)
    assert names == tuple(vocabulary.special_ids[name] for name in SPECIAL)
    check_same_vocabulary(vocabulary, load_vocabulary(tmp_path / "v"), tmp_path)
    changed = json.loads(vocabulary.definition) | {"normalizer": {"type": "Lowercase"}}
    with pytest.raises(ValueError, match=r"do not cut text into tokens \(tokenizer.json\) alike"):
        check_same_vocabulary(replace(vocabulary, definition=json.dumps(changed)), vocabulary, tmp_path)
    with pytest.raises(ValueError, match="leave out --cased"):
        make_vocabulary(tmp_path / "v", None, lowercase=False)


@given(st.lists(st.sampled_from(["a ", "[MASK]", "<mask>", "</s>", "[CLS]", " <pad>", "fox", "<s>", "[UNK]"])))
@settings(max_examples=60, deadline=None)
def test_special_tokens_of_other_tokenizers_are_text_too(other_vocabulary, words):
    for kind in ("bpe", "unigram"):
        vocabulary = other_vocabulary(kind)
        found = set(vocabulary.tokenizer.encode("".join(words)).ids)
        assert not found & set(vocabulary.reserved.tolist()) - {vocabulary.special_ids["[UNK]"]}


def test_pieces_of_other_tokenizers_are_spelled_as_wordpieces(other_vocabulary):
    for kind in ("bpe", "unigram"):
        vocabulary = other_vocabulary(kind)
        spelled = vocabulary.spelled
        ids = vocabulary.tokenizer.encode(" quick (fox, ").ids
        wanted = ["(", "##fox", ","]
        assert [word for word in (spelled[i] for i in ids) if word in wanted] == wanted
        assert [spelled[vocabulary.special_ids[name]] for name in SPECIAL] == list(SPECIAL)
        assert {spelled[i] for i in np.flatnonzero(vocabulary.continues)} == {w for w in spelled if w.startswith("##")}


def test_a_tokenizer_that_cannot_be_used_says_why(tmp_path):
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(ValueError, match=r"is needed; AutoTokenizer.*makes one"):
        load_vocabulary(tmp_path)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="does not mark where words begin"):
        load_vocabulary(tmp_path)


BYTES = {token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 5)}
MERGES = [("Ġ", "f"), ("Ġf", "o"), ("Ġfo", "x"), ("f", "o"), ("fo", "x")]
LETTERS = [("▁fox", -3.0), *((letter, -5.0) for letter in "▁abcdefghijklmnopqrstuvwxyzéAFT.,()<>[]/'?-")]


@pytest.mark.parametrize(
    ("kind", "special"),
    [
        (RobertaTokenizer, "<s> <pad> </s> <unk> <mask>"),
        (DebertaTokenizer, "[CLS] [PAD] [SEP] [UNK] [MASK]"),
        (DebertaV2Tokenizer, "[PAD] [CLS] [SEP] [UNK]"),
        (XLMRobertaTokenizer, "<s> <pad> </s> <unk>"),
        (CamembertTokenizer, "<s>NOTUSED <pad> </s>NOTUSED <unk> <unk>NOTUSED"),
    ],
)
def test_the_tokenizers_of_released_encoders(tmp_path, kind, special):
    if kind in (RobertaTokenizer, DebertaTokenizer):
        whole = {token: i for i, token in enumerate(special.split())} | BYTES
        whole |= {token: len(whole) + i for i, token in enumerate("".join(pair) for pair in MERGES)}
        theirs = kind(vocab=whole, merges=MERGES)
    else:
        theirs = kind(vocab=[*((token, 0.0) for token in special.split()), *LETTERS])
    theirs.save_pretrained(tmp_path)
    vocabulary = load_vocabulary(tmp_path)
    names = (theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id)
    assert tuple(vocabulary.special_ids.values()) == names
    assert {theirs.convert_tokens_to_ids(token) for token in theirs.all_special_tokens} <= set(vocabulary.reserved)
    text = "A fox (a fox), isn't it?  café. Fox\nThe foxs"
    assert vocabulary.tokenizer.encode(text).ids == theirs(text, add_special_tokens=False).input_ids
    text = "a <s> [CLS]</s><mask> [MASK] <pad>[PAD] [SEP]fox <unk>NOTUSED [UNK]"
    found = set(vocabulary.tokenizer.encode(text).ids)
    assert not found & set(vocabulary.reserved.tolist()) - {theirs.unk_token_id}
    assert vocabulary.spelled[theirs.convert_tokens_to_ids("x")] == "##x"


@pytest.mark.parametrize("form", [str, lambda token: {"content": token, "lstrip": True}])
def test_special_tokens_of_names_of_their_own_are_those_that_the_config_names(tmp_path, form):
    special = {"pad": "<blank>", "unk": "<oov>", "cls": "<doc>", "sep": "<eos>", "mask": "<hole>"}
    whole = {token: i for i, token in enumerate(special.values())} | BYTES
    tokenizer = Tokenizer(models.BPE(whole, [], unk_token="<oov>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"has no \[PAD\], .* or tokenizer_config.json names them"):
        load_vocabulary(tmp_path)
    config = {f"{name}_token": form(token) for name, token in special.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    vocabulary = load_vocabulary(tmp_path)
    assert list(vocabulary.special_ids.values()) == [0, 1, 2, 3, 4]
    vocabulary.save(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert load_vocabulary(tmp_path / "saved") == vocabulary
    assert (theirs.mask_token, theirs("a", "b").input_ids[0]) == ("<hole>", 2)


def test_what_becomes_of_capitals_says_the_config_then_the_tokenizer_then_the_letters(trained, tmp_path, caplog):
    trained.save(tmp_path)
    words, config = tmp_path / "vocab.txt", tmp_path / "tokenizer_config.json"
    for said, lowered in (("{}", True), ('{"do_lower_case": false}', False), ('{"do_lower_case": null}', True)):
        config.write_text(said)
        assert load_vocabulary(tmp_path).lowercase == load_vocabulary(words).lowercase == lowered
    assert caplog.text.count("does not say what becomes of capitals: they are lowered") == 1, "a line, once"
    tokenizer = trained._with_rules(trained.tokenizer.from_str(trained.tokenizer.to_str()))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for said, lowered in (("{}", True), ('{"do_lower_case": false}', False)):
        config.write_text(said)
        assert load_vocabulary(tmp_path).lowercase == lowered
    config.write_text('{"do_lower_case": "yes"}')
    with pytest.raises(ValueError, match=r"do_lower_case must be true or false, got 'yes'"):
        load_vocabulary(tmp_path)


@pytest.mark.parametrize("form", ["tokenizer.json", "added_tokens.json", "tokenizer_config.json"])
def test_added_tokens_are_kept_by_every_reader(trained, tmp_path, form):
    trained.save(tmp_path)
    number, config = len(trained), {"do_lower_case": True}
    if form == "tokenizer.json":
        theirs = AutoTokenizer.from_pretrained(tmp_path)
        theirs.add_tokens(["lighthousekeeper"])
        theirs.save_pretrained(tmp_path)
    elif form == "added_tokens.json":
        (tmp_path / form).write_text(json.dumps({"lighthousekeeper": number}))
    else:
        config["added_tokens_decoder"] = {number: {"content": "lighthousekeeper"}}
        (tmp_path / form).write_text(json.dumps(config))
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.ids["lighthousekeeper"] == number
    assert vocabulary.tokenizer.encode("a Lighthousekeeper").ids[-1] == number
    assert vocabulary.spelled[number] == "lighthousekeeper"
    text = "Again, a lighthousekeeper [MASK]s"
    assert [t for t in vocabulary.tokenizer.encode(text).tokens if "MASK" in t] == []
    vocabulary.save(tmp_path / "again")
    assert load_vocabulary(tmp_path / "again") == vocabulary
    (tmp_path / "added_tokens.json").write_text(json.dumps({"x y": number + 7}))
    if form != "tokenizer.json":
        with pytest.raises(ValueError, match=f"added tokens must have the numbers from {number} on"):
            load_vocabulary(tmp_path)


SPLIT = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
ODD = {
    "breaks off over a text": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT]}},
    "takes more than 1 seconds": {
        "normalizer": {"type": "Replace", "pattern": {"Regex": "a+(?<!a)"}, "content": "b"},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("said", ODD)
def test_a_tokenizer_that_panics_or_never_ends_is_one_line_in_every_command(
    other_vocabulary, tmp_path, monkeypatch, capsys, said
):
    rules, odd = json.loads((own := other_vocabulary("bpe")).definition), json.loads(json.dumps(ODD[said]))
    for part in (odd["pre_tokenizer"],) if "pre_tokenizer" in odd else ():
        part["pretokenizers"].append(rules["pre_tokenizer"])
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForPreTraining(BertConfig(vocab_size=len(own), **sizes)).save_pretrained(folder := tmp_path / "model")
    (folder / "tokenizer.json").write_text(json.dumps(rules | odd))
    names = {f"{name[1:-1].lower()}_token": token for name, token in zip(SPECIAL, own.special, strict=True)}
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | names
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setattr(vocabulary_module, "PATIENCE", 1 if "takes" in said else 200)
    monkeypatch.setattr(vocabulary_module, "PACE", 10**9)
    text = "a" * (20_000 if "takes" in said else 60) + "!"
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a", "text": text}) + "\n")
    (tmp_path / "a.csv").write_text("note,label\n" + f"{text},x\nb,y\n" * 20)
    to, data = ["--to", str(tmp_path / "to")], str(tmp_path / "a.csv")
    for command in (
        ["build", str(tmp_path / "a.jsonl"), "--vocab", str(folder), *to, "--workers", "1"],
        ["fill", f"{text} [MASK]", "--model", str(folder)],
        ["finetune", str(folder), data, "--text", "note", "--label", "label", *to, "threads=1"],
    ):
        assert main(command) == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"linkbert {command[0]}: ")]
        assert [said in line for line in lines] == [True], lines
        shutil.rmtree(tmp_path / "to", ignore_errors=True)


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1_001},
        {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": ""}, "content": "aa"}] * 9},
        {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 40}]}] * 2},
        {"type": "Prepend", "prepend": "a" * 2_000},
    ],
)  # fmt: skip
def test_a_normalizer_that_may_flood_the_memory_is_refused(tmp_path, normalizer):
    rules = json.loads(Vocabulary((*SPECIAL, "a")).tokenizer.to_str()) | {"normalizer": normalizer}
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a vocabulary: it may make a text \d+ times longer"):
        load_vocabulary(tmp_path)
