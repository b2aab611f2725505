"""A dataset's files as splits: found in every form, divided, checked, and refused with one clear line."""

import dataclasses
import gzip
import hashlib
import json
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkbert.tasks.examples import TaggedExample, TextExample
from linkbert.tasks.splits import divide, find_data, find_files, hash_files, model_task, read_splits, sample
from linkbert.tasks.table import find_task

HEAD = "index\tsentence1\tsentence2\tlabel\n"


def write(folder, **files):
    for name, text in files.items():
        path = folder / "RTE" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def pairs(number, label="entailment"):
    return HEAD + "".join(f"{i}\tA cat {i} slept.\tIt {i} rested.\t{label}\n" for i in range(number))


def test_splits_with_their_counts_notes_and_hashes(tmp_path):
    write(tmp_path / "glue", train=pairs(3), dev=pairs(2), test="index\tsentence1\tsentence2\n0\tA.\tB.\n")
    splits = read_splits(find_task("rte"), tmp_path)
    assert splits.train[1] == TextExample("1", "A cat 1 slept.", "It 1 rested.", "entailment")
    assert splits.test == [TextExample("0", "A.", "B.")]
    assert splits.counts == {
        "dev: examples": 2,
        "dev: texts that train has, too": 2,
        "test: examples": 1,
        "test: without a label": 1,
        "train: examples": 3,
    }
    assert splits.notes == ("the test set's labels are not public: scored on dev",)
    hashes = hash_files(find_task("rte"), tmp_path)
    assert hashes["glue/RTE/dev.tsv"] == hashlib.sha256(pairs(2).encode()).hexdigest()
    assert [path.name for _, path in find_files(find_task("rte"), tmp_path)["dev"]] == ["dev.tsv"]


def test_a_file_that_is_missing_is_one_line_with_the_remedy(tmp_path):
    write(tmp_path / "mine", train=pairs(3))
    with pytest.raises(ValueError, match=r"RTE: no train set: RTE/train.tsv nor rte/.* is neither in .*; get it from"):
        read_splits(find_task("rte"), tmp_path)
    with pytest.raises(
        ValueError,
        match=r"RTE: no dev set: RTE/dev.tsv .* is neither .* get it from https://glue.* --data nyu-mll/glue,",
    ):
        read_splits(find_task("rte"), tmp_path / "mine")
    with pytest.raises(
        ValueError, match=r"HoC: no train set: .*; get it from .*BLURB.*, or from the authors' data.zip, h"
    ):
        read_splits(find_task("hoc"), tmp_path / "mine")
    with pytest.raises(ValueError, match="nowhere is no folder"):
        read_splits(find_task("rte"), tmp_path / "nowhere")


def test_a_dataset_of_the_hub_that_cannot_be_had_is_one_line(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", offline)
    with pytest.raises(ValueError, match=r"^--data no/such: no such folder, .* \(no route to host and more\); get"):
        find_data("no/such", [find_task("rte")])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my" / "data").mkdir(parents=True)
    for path in ("my/data", "my/data/", "./other", "../a/b", "nowhere", str(tmp_path / "nowhere")):  # not asked for
        assert find_data(path, [find_task("rte")]) == Path(path)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / "nothing-matched"))
    with pytest.raises(ValueError, match=r"^--data cais/mmlu: that dataset has no file for rte; get the files"):
        find_data("cais/mmlu", [find_task("rte")])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[1]", "not of this form"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "item 0: a question needs a 'context' .* there is only qas"),
        ('{"data": [{"title": "T", "paragraphs": [{"context": "Rome fell.", "qas": ['
         '{"id": "q", "question": "What?", "answers": [{"answer_start": 0, "text": "Rome"}]}]}]}]}', "is too small"),
    ],
)  # fmt: skip
def test_questions_of_another_form_or_too_few_are_one_line(tmp_path, text, wrong):
    (tmp_path / "XQuAD").mkdir()
    (tmp_path / "XQuAD" / "xquad.en.json").write_text(text)
    with pytest.raises(ValueError, match=wrong):
        read_splits(find_task("xquad-en"), tmp_path)


def test_lists_of_another_length_are_one_line_with_its_place(tmp_path):
    item = {"_id": "1", "question": "Who?", "answer": "he", "supporting_facts": [["T", 0, 1]], "context": []}
    (tmp_path / "hotpotqa_train100_with_contexts.json").write_text(json.dumps([item]))
    with pytest.raises(ValueError, match=r"contexts.json, item 0 is .* not of this form .ValueError: too many values"):
        read_splits(find_task("hotpotqa-100"), tmp_path)
    (tmp_path / "hotpotqa_train100_with_contexts.json").write_text(
        json.dumps([item | {"supporting_facts": [], "_id": 7}])
    )
    with pytest.raises(ValueError, match=r"contexts.json: the id or a text of 7 is not a string"):
        read_splits(find_task("hotpotqa-100"), tmp_path)


def test_what_is_odd_is_counted_or_noted(tmp_path):
    odd = HEAD + "0\tA.\tB.\tmaybe\n0\t \tB.\tentailment\n1\tA.\t\tentailment\n2\tA.\tB.\t-1\n"
    write(tmp_path, train=pairs(3), dev=odd, test=pairs(1))
    splits = read_splits(find_task("rte"), tmp_path)
    assert [example.id for example in splits.dev] == ["0", "0#2", "1"]
    assert splits.counts["dev: ids that come again"] == 1
    assert splits.counts["dev: empty texts"] == 2
    assert splits.counts["dev: without a label"] == 1
    assert splits.notes == ("dev: label 'maybe' of 1 is not in train: never predicted, scored as wrong",)


def test_a_set_without_labels_or_examples_is_refused(tmp_path):
    write(tmp_path, train=pairs(3, "-1"), dev=pairs(1))
    with pytest.raises(ValueError, match=r"train.tsv holds no example with a label: is it the train"):
        read_splits(find_task("rte"), tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", "tsvs.zip", "tsvs.tar.xz"])
def test_files_are_read_compressed_and_from_archives(tmp_path, suffix):
    write(tmp_path, train=pairs(3), dev=pairs(2))
    task, path = find_task("rte"), tmp_path / "RTE" / "train.tsv"
    if suffix[:1] == ".":
        path.with_name("train.tsv" + suffix).write_bytes({".gz": gzip, ".xz": lzma}[suffix].compress(path.read_bytes()))
        path.unlink()
    elif suffix.endswith("zip"):
        with zipfile.ZipFile(tmp_path / suffix, "w") as archive:
            archive.write(path, "RTE/train.tsv")
    elif suffix:
        with tarfile.open(tmp_path / suffix, "w:xz") as archive:
            archive.add(path, "RTE/train.tsv")
    if suffix.startswith("tsvs"):
        task = dataclasses.replace(task, files={"train": (f"{suffix}!*/train.tsv",), "dev": task.files["dev"]})
    assert read_splits(task, tmp_path).train[2].a == "A cat 2 slept."
    if suffix.startswith("tsvs"):
        task = dataclasses.replace(task, files={"train": (f"{suffix}!no.tsv",), "dev": task.files["dev"]})
        with pytest.raises(ValueError, match=f"{suffix} holds no no.tsv"):
            read_splits(task, tmp_path)


def test_a_missing_set_is_made_by_a_hash_of_documents(tmp_path):
    lines = [f"-DOCSTART- ({doc})\n\n" + "a\tI-INT\n\nb\tO\n\n" * (doc % 3 + 1) for doc in range(60)]
    (tmp_path / "ebmnlp").mkdir()
    (tmp_path / "ebmnlp" / "dev.tsv").write_text("".join(lines))
    (tmp_path / "ebmnlp" / "test.tsv").write_text(lines[0])
    splits = read_splits(find_task("ebm-pico"), tmp_path)
    train, dev = ({example.group for example in each} for each in (splits.train, splits.dev))
    assert not train & dev
    assert len(train | dev) == 60
    assert splits.train[0].tags in (("B-INT",), ("O",))
    assert 0.7 < len(splits.train) / (len(splits.train) + len(splits.dev)) < 0.9
    assert splits.notes == ("train: a split of our own, of dev, by a hash of its groups",)


def test_entities_are_counted_as_conll_s_script_has_them(tmp_path):
    tags = ["I-X", "I-X", "O", "I-X", "I-Y", "B-Y", "O"]
    data = {split: [TaggedExample(split, ("a",) * len(tags), tuple(tags))] for split in ("train", "dev", "test")}
    assert read_splits(find_task("ebm-pico"), data).counts["train: entities"] == 4


def test_texts_that_the_other_model_was_trained_on_are_noted(tmp_path):
    write(tmp_path, train=pairs(20), dev=pairs(2))
    found = [
        {"idx": 0, "sentence1": "A CAT, 3, slept!", "sentence2": "It slept.", "label": 0},
        {"idx": 1, "sentence1": "A cat 99 slept well.", "sentence2": "It rested.", "label": 1},
    ]
    (tmp_path / "AdvGLUE").mkdir()
    (tmp_path / "AdvGLUE" / "dev.json").write_text(json.dumps({"rte": found}))
    task = dataclasses.replace(find_task("advglue-rte"), files={"dev": ("AdvGLUE/dev.json",)})
    notes = read_splits(task, tmp_path).notes
    assert "scored with the model of RTE" in notes
    assert not any("share a text" in note for note in notes)  # four words are shared by chance
    found[0]["sentence1"] = "a Cat 99 slept well"
    write(tmp_path, train=pairs(20) + "20\tA cat 99 slept well.\tSo.\tentailment\n", dev=pairs(2))
    notes = read_splits(task, tmp_path).notes
    assert "dev: 1 of 2 share a text of 5 words or more with what that model was trained on" in notes


def test_a_task_without_train_is_scored_by_the_first_model_at_hand(tmp_path):
    for name in (
        "data_clean/questions/US/4_options/phrases_no_exclude_train.jsonl",
        "mmlu/test/professional_medicine_test.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('"Which, of these?",a,b,c,d,C\n')
    task = find_task("mmlu-professional-medicine")
    splits = read_splits(task, tmp_path)
    assert (splits.train, splits.test[0].label, splits.test[0].options) == ([], 2, ("a", "b", "c", "d"))
    with pytest.raises(ValueError, match=r"MedQA.*: no train set"):
        model_task(task, tmp_path)
    record = {"question": "Q?", "options": {"A": "a", "B": "b", "C": "c", "D": "d"}, "answer_idx": "B"}
    (tmp_path / "data_clean/questions/US/4_options/phrases_no_exclude_train.jsonl").write_text(
        (json.dumps(record) + "\n") * 20
    )
    assert model_task(task, tmp_path).name == "medqa"
    assert model_task(find_task("medqa"), tmp_path).name == "medqa"
    assert read_splits(task, tmp_path).notes[0] == "scored with the model of MedQA-USMLE"
    (tmp_path / "data_clean/questions/US/4_options/phrases_no_exclude_train.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"phrases_no_exclude_train.jsonl, line 1 is .* .JSONDecode"):
        read_splits(task, tmp_path)  # not as if there were none


@given(st.lists(st.integers(0, 40), min_size=1), st.floats(0.05, 0.6), st.sampled_from(["id", "group"]))
def test_a_division_is_complete_disjoint_and_keeps_together(groups, share, by):
    examples = [TextExample(str(i), "a", group=f"g{group}") for i, group in enumerate(groups)]
    parts = divide(examples, {"dev": share}, rest="train", by=by)
    assert sorted(parts["dev"] + parts["train"], key=lambda each: int(each.id)) == examples
    assert not {getattr(each, by) for each in parts["dev"]} & {getattr(each, by) for each in parts["train"]}
    if by == "id":
        assert abs(len(parts["dev"]) - share * len(examples)) <= 1
    shuffled = divide(examples[::-1], {"dev": share}, rest="train", by="id")["dev"]
    assert {each.id for each in shuffled} == {
        each.id for each in divide(examples, {"dev": share}, rest="train", by="id")["dev"]
    }


def test_examples_that_share_a_text_stay_together():
    examples = [TextExample(str(i), f"a{i // 2}", f"b{(i + 1) // 2}") for i in range(6)]  # a chain: all of one piece
    examples += [TextExample(f"{i}", f"c{i}", f"d{i}") for i in range(6, 30)]
    parts = divide(examples, {"dev": 0.5}, rest="train", by="texts")
    assert len({any(int(each.id) < 6 for each in part) for part in parts.values()}) == 2
    assert all(sum(int(each.id) < 6 for each in part) in (0, 6) for part in parts.values())


def test_a_few_shot_sample_lies_in_a_larger_one_and_keeps_the_order():
    examples = [TaggedExample(str(i), ("w",), ("O",)) for i in range(100)]
    small, large = sample(examples, 0.1), sample(examples, 0.3)
    assert (len(small), len(large)) == (10, 30)
    assert [each for each in large if each in small] == small


def test_a_fraction_of_train_is_noted(tmp_path):
    write(tmp_path, train=pairs(30), dev=pairs(2), test=pairs(1))
    splits = read_splits(find_task("rte"), tmp_path, fraction=0.1)
    assert (len(splits.train), len(splits.dev), splits.notes) == (3, 2, ("train: 3 of 30 examples (0.1)",))
    one, more = (read_splits(find_task("rte"), tmp_path, fraction=f, seed=1).train for f in (0.1, 0.5))
    assert {each.id for each in one} < {each.id for each in more}
    assert one != splits.train  # another seed, other examples: a ± of seeds holds the draw


def test_text_that_is_not_utf8_is_refused(tmp_path):
    write(tmp_path, train=pairs(2), dev=pairs(2))
    (tmp_path / "RTE" / "train.tsv").write_bytes(HEAD.encode() + b"0\t\xff\tb\tentailment\n")
    with pytest.raises(ValueError, match=r"train.tsv is not UTF-8: .*invalid start byte; fetch it again"):
        read_splits(find_task("rte"), tmp_path)
