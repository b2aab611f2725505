"""Data sets as they lie where they are published: the authors' archive, the hub's shards, archives, other names."""

import io
import json
import tarfile
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from linkbert.files import one_line
from linkbert.tasks.splits import find_data, find_files, read_splits
from linkbert.tasks.table import find_task, make_task, tasks

SPLITS = ("train", "dev", "test")
ASKED = {
    "id": "q",
    "question": "What? ",
    "context": "[PAR] A red kite .",
    "answers": {"answer_start": [8], "text": ["red"]},
}
CHOICE = {"id": "c", "sent1": "Why?", "sent2": "", **{f"ending{i}": f"{i}" for i in range(4)}, "label": 2}
ROWS = {
    "question": ASKED,
    "choice": CHOICE,
    "tags": {"id": "t", "tokens": ["red", "kite"], "ner_tags": ["B", "I"]},
    "text": {"id": "x", "sentence": "A @GENE$ .", "sentence1": "A", "sentence2": "B", "label": "yes"},
}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def tagged(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("|", "\t"))


@pytest.mark.parametrize("zipped", [False, True])
def test_all_twenty_one_sets_of_the_authors_archive_are_read_as_they_are(tmp_path, zipped):
    known = [task for task in tasks().values() if task.authors]
    assert len(known) == 21
    for task in known:
        row = ROWS[task.kind] | {"biosses": {"label": 3.5}, "hoc": {"label": [0, 1] * 5}}.get(task.name, {})
        for split in SPLITS:
            name = "val" if task.suite == "mmlu" and split == "dev" else split
            write(tmp_path / "data" / task.authors / f"{name}.json", [row | {"id": f"{split}1"}])
    if zipped:
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for path in sorted((tmp_path / "data").rglob("*.json")):
                archive.write(path, path.relative_to(tmp_path))
    folder = tmp_path / "data"
    if zipped:
        folder.rename(tmp_path / "aside")
        folder = tmp_path
    for task in known:
        splits = read_splits(task, folder)
        assert [each.id for each in (*splits.dev, *splits.test)] == ["dev1", "test1"], task.name
        assert not any("split of our own" in note for note in splits.notes)
    assert read_splits(find_task("hoc"), folder).dev[0].label == ("1", "3", "5", "7", "9")
    assert read_splits(find_task("biosses"), folder).dev[0].label == 3.5
    (asked,) = read_splits(find_task("newsqa"), folder).test
    assert (asked.answers, asked.context[slice(*asked.spans[0])]) == (("red",), "red")


def test_a_table_with_files_of_its_own_has_not_the_authors_ones():
    own = {"name": "mine", "kind": "question", "metrics": ["exact"], "format": "mrqa", "files": {"dev": ["d.jsonl"]}}
    assert make_task("mine", own, "here").files == {"dev": ("d.jsonl",)}
    assert not find_task("mrqa-drop").authors
    assert not any("_hf" in name for names in find_task("mrqa-drop").files.values() for name in names)


@pytest.mark.parametrize("other", ["devel", "valid", "validation", "val"])
def test_a_dev_set_under_another_name(tmp_path, other):
    for name in ("train", other, "test"):
        tagged(tmp_path / "BC2GM" / f"{name}.tsv", f"{name}|O\n\n")
    assert read_splits(find_task("bc2gm"), tmp_path).dev[0].words == (other,)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("B-X E-X S-X O", "B-X I-X B-X O"),
        ("B I E O S", "B I I O B"),
        ("B-X M-X L-X U-Y", "B-X I-X I-X B-Y"),
    ],
)
def test_tags_of_bioes_and_biluo_are_read_as_b_and_i_and_said(tmp_path, given, read):
    text = "".join(f"w{i}|{tag}\n" for i, tag in enumerate(given.split()))
    for name in SPLITS:
        tagged(tmp_path / "BC2GM" / f"{name}.tsv", text)
    splits = read_splits(find_task("bc2gm"), tmp_path)
    assert splits.dev[0].tags == tuple(read.split())
    assert splits.counts["dev: tags of BIOES or BILUO, read as B and I"] > 0


def test_tags_that_are_numbers_need_their_names(tmp_path):
    table = {"name": "mine", "kind": "tags", "metrics": ["entity_f1"], "format": "tag-rows",
             "files": {split: [f"{split}.jsonl"] for split in SPLITS},
             "options": {"columns": {"words": "tokens", "tags": "ner_tags"}}}  # fmt: skip
    for name in SPLITS:
        write(tmp_path / f"{name}.jsonl", [{"tokens": ["red", "kite"], "ner_tags": [1, 0]}])
    with pytest.raises(ValueError, match=r"train.jsonl, line 1: '1' is not a tag .*; options.tag_names"):
        read_splits(make_task("mine", table, "here"), tmp_path)
    table["options"]["tag_names"] = ["O", "B"]
    for tags, said in (
        ([1, -1], r"'-1' is not a tag .*; options.tag_names lists the names of numbers, from 0; it has 2"),
        ([-100, 2], "'-100' is not a tag .*; options.tag_names"),
        ([1], "train.jsonl, line 1 has 2 words and 1 tags: write a tag for each word$"),
    ):
        write(tmp_path / "train.jsonl", [{"tokens": ["red", "kite"], "ner_tags": tags}])
        with pytest.raises(ValueError, match=said):
            read_splits(make_task("mine", table, "here"), tmp_path)
    write(tmp_path / "train.jsonl", [{"tokens": ["red", "kite"], "ner_tags": [1, 0]}])
    assert read_splits(make_task("mine", table, "here"), tmp_path).dev[0].tags == ("B", "O")


@pytest.mark.parametrize(
    ("label", "more", "read"),
    [
        ([0, 1, 0], {}, ("1",)),
        ([0, 0, 0], {}, ()),
        ([True, False, True], {"classes": ("a", "b", "c")}, ("a", "c")),
        (["b", "a"], {}, ("a", "b")),
        ("b|a", {"separator": "|"}, ("a", "b")),
    ],
)
def test_several_labels_of_a_row(tmp_path, label, more, read):
    write(tmp_path / "train.jsonl", [{"text": "A.", "label": label}])
    table = {"name": "mine", "kind": "text", "metrics": ["multilabel_f1"], "format": "jsonl",
             "files": {"train": ["train.jsonl"], "dev": ["train.jsonl"]},
             "options": {"columns": {"a": "text", "label": "label"}, **more}}  # fmt: skip
    assert read_splits(make_task("mine", table, "here"), tmp_path).train[0].label == read


def hub_row(subset, context, number, start, end):
    spans = {"text": ["x"], "char_spans": [{"start": [start], "end": [end]}]}
    return {"subset": subset, "context": context, "qid": f"{subset}{number}", "question": "What?",
            "detected_answers": spans, "answers": ["cat"]}  # fmt: skip


def test_mrqa_of_the_hub_in_shards_of_all_sets_together(tmp_path):
    (tmp_path / "plain_text").mkdir()
    rows = [hub_row("SQuAD", "A cat .", 0, 2, 4), hub_row("TriviaQA-web", "The cat .", 1, 4, 6)]
    for number in range(2):
        path = tmp_path / "plain_text" / f"train-{number:05}-of-00002.parquet"
        parquet.write_table(pa.Table.from_pylist(rows), path)
    several = [hub_row("TriviaQA-web", f"Cat {i // 2} .", i, 0, 2) for i in range(8)]
    parquet.write_table(
        pa.Table.from_pylist(several + rows[:1]), tmp_path / "plain_text/validation-00000-of-00001.parquet"
    )
    splits = read_splits(find_task("triviaqa"), tmp_path)
    assert [(each.context, each.context[slice(*each.spans[0])]) for each in splits.train] == [("The cat .", "cat")] * 2
    assert len(splits.dev) + len(splits.test) == 8
    assert not {each.context for each in splits.dev} & {each.context for each in splits.test}
    path.unlink()
    with pytest.raises(ValueError, match=r"has 1 of 2 shards, such as train-00000-of-00002.parquet"):
        read_splits(find_task("triviaqa"), tmp_path)


def mrqa(folder, name, contexts):
    asked = [{"qid": "q", "question": "What?", "answers": ["cat"], "detected_answers": [{"char_spans": [[2, 4]]}]}]
    lines = [{"header": {}}, *({"context": f"A cat {i} .", "qas": asked} for i in range(contexts))]
    for split in ("train", "dev"):
        write(folder / split / f"{name}.jsonl", lines)


def test_a_folder_of_halves_has_a_file_for_each_set(tmp_path):
    for name in ("SQuAD", "NewsQA", "NaturalQuestionsShort"):
        mrqa(tmp_path / "mrqa", name, 4)
    (tmp_path / "halves").mkdir()
    for name, dev in {"squad": [0], "newsqa": [0, 1, 2], "naturalqa": [1, 3]}.items():
        halves = {"dev": dev, "test": [i for i in range(4) if i not in dev]}
        (tmp_path / "halves" / f"inhouse_split_{name}.json").write_text(json.dumps(halves))
    sizes = {
        name: len(read_splits(find_task(name), tmp_path, dev_split=str(tmp_path / "halves")).dev)
        for name in ("squad", "newsqa", "naturalquestions")
    }
    assert sizes == {"squad": 1, "newsqa": 3, "naturalquestions": 2}
    mrqa(tmp_path, "SearchQA", 4)
    with pytest.raises(ValueError, match=r"halves has no file for SearchQA: it would be inhouse_split_searchqa.json"):
        read_splits(find_task("searchqa"), tmp_path, dev_split=str(tmp_path / "halves"))


def test_archives_are_read_unopened_and_another_archive_of_that_name_is_not_theirs(tmp_path):
    question = b'Why?,a,b,c,d,"B"\n'
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        for split in ("val", "test"):
            member = tarfile.TarInfo(f"data/{split}/anatomy_{split}.csv")
            member.size = len(question)
            archive.addfile(member, io.BytesIO(question))
    with zipfile.ZipFile(tmp_path / "RTE.zip", "w") as archive:
        for split in SPLITS:
            archive.writestr(f"RTE/{split}.tsv", f"index\tsentence1\tsentence2\tlabel\n7\t{split}\tB.\tentailment\n")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:  # the authors' archive has no MMLU of this form
        archive.writestr("data/readme.txt", "")
    write(tmp_path / "phrases_no_exclude_train.jsonl", [])
    found = find_files(find_task("mmlu-anatomy"), tmp_path)
    assert [(name, path.name) for name, path in found["test"]] == [("data.tar!data/test/anatomy_test.csv", "data.tar")]
    assert [each.a for each in read_splits(find_task("rte"), tmp_path).dev] == ["dev"]
    assert find_data(str(tmp_path / "RTE.zip"), [find_task("rte")]) == tmp_path  # named by itself
    with zipfile.ZipFile(tmp_path / "pubmedqa-master.zip", "w") as archive:  # GitHub's
        archive.writestr("pubmedqa-master/data/ori_pqal.json", "{}")
        archive.writestr("pubmedqa-master/data/test_ground_truth.json", "{}")
    assert "pubmedqa-master.zip!pubmedqa-master/data/ori_pqal.json" in dict(
        find_files(find_task("pubmedqa"), tmp_path)["train"]
    )
    (tmp_path / "RTE").mkdir()
    with pytest.raises(ValueError, match=f"no train set in {tmp_path}/RTE, but in {tmp_path}: give --data {tmp_path}"):
        find_files(find_task("rte"), tmp_path / "RTE")


def test_stsbenchmark_and_multinli_as_their_archives_have_them(tmp_path):
    line = 'main-captions|MSRvid|2012test|0001|2.500|A "kite.|A bird.|a licence\n'
    for split in SPLITS:
        tagged(tmp_path / "stsbenchmark" / f"sts-{split}.csv", line)
    (one,) = read_splits(find_task("stsb"), tmp_path).test
    assert (one.a, one.b, one.label) == ('A "kite.', "A bird.", 2.5)
    pair = {"gold_label": "neutral", "sentence1": "A.", "sentence2": "B.", "pairID": "9n"}
    for name in ("train", "dev_matched"):
        write(tmp_path / "multinli_1.0" / f"multinli_1.0_{name}.jsonl", [pair, pair | {"gold_label": "-"}])
    splits = read_splits(find_task("mnli-matched"), tmp_path)
    assert [(each.id, each.label) for each in splits.dev] == [("9n", "neutral")]


def test_pubmedqa_as_its_repository_has_it_keeps_the_official_test_set(tmp_path):
    asked = {str(i): {"QUESTION": f"Is {i}?", "CONTEXTS": ["It was."], "final_decision": "yes"} for i in range(60)}
    folder = tmp_path / "pubmedqa" / "data"
    folder.mkdir(parents=True)
    (folder / "ori_pqal.json").write_text(json.dumps(asked))
    (folder / "test_ground_truth.json").write_text(json.dumps({str(i): "no" for i in range(0, 60, 2)}))
    for data in (tmp_path, tmp_path / "pubmedqa"):
        splits = read_splits(find_task("pubmedqa"), data)
        assert {int(each.id) for each in splits.test} == {*range(0, 60, 2)}
        assert {each.label for each in splits.test} == {"no"}
        assert {int(each.id) for each in (*splits.train, *splits.dev)} == {*range(1, 60, 2)}
        assert len(splits.dev) == 3


@pytest.mark.parametrize("name", ["pubmedqa/{}", "pubmedqa/data/{}", "pqal.zip"])
def test_pubmedqa_whose_test_set_has_its_own_labels(tmp_path, name):
    of = {"train": "pqal_fold0/train_set.json", "dev": "pqal_fold0/dev_set.json", "test": "test_set.json"}
    asked = {key: json.dumps({key: {"QUESTION": "Is it?", "CONTEXTS": ["It is."], "final_decision": "yes"}})
             for key in of}  # fmt: skip
    if name == "pqal.zip":  # of the hub
        files_in(tmp_path / name, {of[key].replace("test", "pqal_test"): text for key, text in asked.items()})
    else:
        files_in(tmp_path, {name.format(of[key]): text for key, text in asked.items()})
    assert [(each.id, each.label) for each in read_splits(find_task("pubmedqa"), tmp_path).test] == [("test", "yes")]


def test_hotpotqa_and_musique_whole_by_type_and_hops(tmp_path):
    item = {"_id": "h", "type": "comparison", "level": "hard", "question": "Who?", "answer": "Ida",
            "supporting_facts": [["A", 0]], "context": [["A", ["Ida came."]], ["B", ["No."]]]}  # fmt: skip
    (tmp_path / "hotpot_dev_distractor_v1.json").write_text(json.dumps([item, item | {"_id": "i"}]))
    (tmp_path / "hotpot_train_v1.1.json").write_text(json.dumps([item]))
    splits = read_splits(find_task("hotpotqa-distractor"), tmp_path)
    assert [each.group for each in splits.dev] == ["comparison", "comparison"]
    assert splits.dev[0].context[slice(*splits.dev[0].spans[0])] == "Ida"
    steps = [{"paragraph_support_idx": 0}, {"paragraph_support_idx": 1}]
    hops = {"id": "2hop__1", "question": "Who?", "answer": "Ida", "answer_aliases": [], "answerable": True,
            "question_decomposition": steps,
            "paragraphs": [{"idx": i, "title": "T", "paragraph_text": "Ida."} for i in range(2)]}  # fmt: skip
    for name in ("train", "dev"):
        write(tmp_path / "data" / f"musique_ans_v1.0_{name}.jsonl", [hops])
    (one,) = read_splits(find_task("musique-ans"), tmp_path).dev
    assert (one.group, len(one.spans)) == ("2 hops", 1)


def test_repositories_as_they_are_cloned_and_files_as_their_scripts_name_them(tmp_path):
    """MRQA's script saves DuoRC.ParaphraseRC as DuoRC; the others lie where their repositories have them."""
    asked = {"qid": "q", "question": "Who?", "answers": ["cat"], "detected_answers": [{"char_spans": [[2, 4]]}]}
    write(tmp_path / "DuoRC.jsonl", [{"header": {}}, {"context": "A cat .", "qas": [asked]}])
    head = "q_review_id,question,domain,item_id,review,human_ans_spans,human_ans_indices\n"
    for domain in ("books", "movies"):
        folder = tmp_path / "SubjQA" / domain / "splits"
        folder.mkdir(parents=True)
        for split in SPLITS:
            row = f'{domain}{split},Fine?,{domain},1,"Very fine. ANSWERNOTFOUND",fine,"(5, 9)"\n'
            (folder / f"{split}.csv").write_text(head + row)
    for split in ("train", "test"):
        for name, line in (("_s1.txt", f"{split} {{}}."), ("_s2.txt", f"{split}, no {{}}."), (".labels", "1")):
            lines = "".join(line.format(number) + "\n" for number in range(20))
            tagged(tmp_path / "dataset" / "mt-metrics-paraphrase-corpus" / f"pan-{split}{name}", lines)
    for split in SPLITS:
        tagged(tmp_path / "data" / f"stsb-en-{split}.csv", f'"A {split}.",B.,2.5\n')
    choice = {"question": "Why?", "options": {"A": "x", "B": "y"}, "answer": "y", "answer_idx": "B"}
    with zipfile.ZipFile(tmp_path / "data_clean.zip", "w") as archive:
        for split in SPLITS:
            archive.writestr(f"data_clean/questions/US/{split}.jsonl", json.dumps(choice) + "\n")
    (tmp_path / "adversarial-glue").mkdir()
    adversarial = {"rte": [{"idx": 0, "sentence1": "A.", "sentence2": "B.", "label": 0}]}
    (tmp_path / "adversarial-glue" / "dev.json").write_text(json.dumps(adversarial))
    read = {name: read_splits(find_task(name), tmp_path) for name in ("subjqa", "stsb", "medqa-5")}
    assert [each.group for each in read["subjqa"].test] == ["books", "movies"]
    assert (read["stsb"].test[0].a, read["stsb"].test[0].label) == ("A test.", 2.5)
    assert (read["medqa-5"].test[0].options, read["medqa-5"].test[0].label) == (("x", "y"), 1)
    assert read_splits(find_task("pan"), tmp_path, train=False).test[8].texts == ("test 8.", "test, no 8.")
    assert find_files(find_task("mrqa-duorc"), tmp_path)["test"][0][0] == "DuoRC.jsonl"
    assert find_files(find_task("advglue-rte"), tmp_path)["dev"][0][0] == "adversarial-glue/dev.json"


def test_a_table_without_a_format_or_columns_says_so(tmp_path):
    table = {"kind": "text", "metrics": ["accuracy"], "files": {split: ["a.csv"] for split in ("train", "dev")}}
    with pytest.raises(ValueError, match=r"here has no format: docs/tasks.md"):
        make_task("mine", table, "here")
    (tmp_path / "a.csv").write_text("t,c\na,b\n")
    with pytest.raises(ValueError, match=r"the table \[mine\] has no options.columns"):
        read_splits(make_task("mine", table | {"format": "csv"}, "here"), tmp_path)


def test_a_triple_is_two_pairs_of_papers(tmp_path):
    row = {"query": {"corpus_id": 7, "title": "A", "abstract": None}, "pos": {"title": "B", "abstract": "b ."}}
    row |= {"neg": {"title": "C", "abstract": ""}}
    (tmp_path / "cite_prediction").mkdir()
    for split in ("train", "validation"):
        path = tmp_path / "cite_prediction" / f"{split}-00000-of-00001.parquet"
        parquet.write_table(pa.Table.from_pylist([row]), path)
    dev = read_splits(find_task("citation-prediction"), tmp_path, train=False).dev
    assert [(each.a, each.b, each.label, each.group) for each in dev] == [
        ("A", "B b .", "1", "7"),
        ("A", "C", "0", "7"),
    ]


@pytest.mark.parametrize(
    ("place", "said"),
    [("models--bert-base-cased/snapshots/0a1", "bert-base-cased"), ("datasets--a--b/snapshots/9f", "a/b")],
)
def test_what_lies_in_the_hubs_cache_is_called_as_the_user_does(place, said):
    assert (
        one_line(ValueError(f"no file /home/x/.cache/hub/{place}/c.tsv:\n  get it")) == f"no file {said}/c.tsv: get it"
    )


def files_in(place, files):
    """Write files to a folder, or to an archive by its name: {"GAD/train.tsv": "a|0\n"}."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text.replace("|", "\t"))
    elif place.name.endswith((".tar", ".tgz")):
        with tarfile.open(place, "w:gz" if place.suffix == ".tgz" else "w") as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.replace("|", "\t").encode()))
    else:
        for name, text in files.items():
            tagged(place / name, text)


FOLD = "A @GENE$ and a @DISEASE$ .|{}\n"
FOLDS = {  # BioBERT's: no header but of test; its other script moves them, gives one to train and takes test's labels
    "as published": {"train.tsv": "".join(f"{i} {FOLD.format(i % 2)}" for i in range(40)),
                     "test.tsv": "index|sentence|label\n7|" + FOLD.format(1)},
    "by the script": {"train.tsv": "sentence|label\n" + "".join(f"{i} {FOLD.format(i % 2)}" for i in range(40)),
                      "test.tsv": "index|sentence\n7|A .\n", "test_original.tsv": "index|sentence|label\n7|A .|1\n"},
}  # fmt: skip


@pytest.mark.parametrize("folds", FOLDS)
@pytest.mark.parametrize("name", ["RE", "REdata.zip", "datasets.tgz"])
def test_biobert_s_folds_of_gad_and_eu_adr(tmp_path, name, folds):
    top = "" if name == "RE" else "datasets/RE/"
    files = {f"{top}{of}/1/{file}": text for of in ("GAD", "euadr") for file, text in FOLDS[folds].items()}
    files_in(tmp_path / name, files)
    for task in ("gad", "euadr"):
        splits = read_splits(find_task(task), tmp_path / "RE" if name == "RE" else tmp_path)
        assert len(splits.train) + len(splits.dev) == 40
        assert {each.label for each in (*splits.train, *splits.dev)} == {"0", "1"}
        assert [(each.id, each.label) for each in splits.test] == [("7", "1")]
        assert splits.notes == ("dev: a split of our own, of train, by a hash of its texts",)
        assert splits.counts.get("train: headers, not read", 0) == (folds == "by the script")


BLUE = {
    "BIOSSES/{}.tsv": "index|genre|filename|sentence1|sentence2|score\n3|b|f|A .|B .|2.5\n",
    "hoc/{}.tsv": "index|sentence|labels\n9_s0|One .|cellular energetics,resisting cell death\n9_s1|Two .|\n",
    "ChemProt/{}.tsv": "index|sentence|label\n9.T1.T2|A @CHEMICAL$ .|CPR:4\n9.T1.T3|A .|false\n",
    "ddi2013-type/{}.tsv": "index|sentence|label\nDDI.d9.s0.p1|A @DRUG$ .|DDI-int\n",
    "BC5CDR/chem/{}.tsv": "Low|9|0|B\ndose|-|4|O\n\n",
    "BC5CDR/disease/{}.tsv": "Low|9|0|O\nfever|-|4|B\n\n",
    "mednli/{}.tsv": "index|sentence1|sentence2|label\n9a|A .|B .|neutral\n",
}


@pytest.mark.parametrize("top", ["bert_data", "data", ""])
def test_blue_s_sets_in_its_archive_and_folders(tmp_path, top):
    dev = {"BC5CDR": "devel"}
    files = {f"{top}/{name.format(dev.get(name[:6], 'dev') if split == 'dev' else split)}".lstrip("/"): text
             for name, text in BLUE.items() for split in SPLITS}  # fmt: skip
    files_in(tmp_path / ("folder" if not top else "bert_data.zip"), files)
    data = tmp_path if top else tmp_path / "folder"
    read = {name: read_splits(find_task(name), data).dev
            for name in ("biosses", "hoc", "chemprot", "ddi", "bc5-chem", "bc5-disease", "mednli")}  # fmt: skip
    (pair,), (abstract,) = read["biosses"], read["hoc"]
    assert (pair.id, pair.a, pair.b, pair.label) == ("3", "A .", "B .", 2.5)
    assert (abstract.id, abstract.a, abstract.label) == ("9", "One . Two .", ("2", "7"))
    assert [(each.id, each.label) for each in read["chemprot"]] == [("9.T1.T2", "CPR:4"), ("9.T1.T3", "0")]
    assert read["ddi"][0].group == "DDI.d9"
    assert [read[name][0].tags for name in ("bc5-chem", "bc5-disease")] == [("B", "O"), ("O", "B")]
    assert (read["mednli"][0].id, read["mednli"][0].label) == ("9a", "neutral")
    script = {f"HoC/{split}.tsv": "index|sentence1|sentence2|label\n9_s0|One .|cellular energetics\n"
              for split in SPLITS}  # fmt: skip
    files_in(tmp_path / "made", script)  # what its script writes: a row less than its header
    assert read_splits(find_task("hoc"), tmp_path / "made").dev[0].label == ("2",)


@pytest.mark.parametrize(
    ("archive", "top", "name"),
    [
        ("data.zip", "", "qa/squad_hf/{}.json"),  # the authors' folders, zipped anew
        ("data.zip", "LinkBERT-data/", "qa/squad_hf/{}.json"),
        ("linkbert.tar", "a/b/data/", "qa/squad_hf/{}.json"),
        ("mednli-a-natural-language-inference-dataset-for-the-clinical-domain-1.0.0.zip",
         "mednli-a-natural-language-inference-dataset-for-the-clinical-domain-1.0.0/", "mli_{}_v1.jsonl"),
        ("mednli-1.0.0.zip", "", "mli_{}_v1.jsonl"),
        ("glue_data.tgz", "glue_data/", "RTE/{}.tsv"),
        ("Glue.zip", "Glue/", "rte/{}.TSV"),
    ],
)  # fmt: skip
def test_an_archive_of_any_name_with_any_folder_above(tmp_path, archive, top, name):
    pair = {"sentence1": "A.", "sentence2": "B.", "gold_label": "neutral", "pairID": "p"}
    text = f"{json.dumps(ASKED if 'qa' in name else pair)}\n"
    if "rte" in name.lower():
        text = "index|sentence1|sentence2|label\np|A.|B.|entailment\n"
    files = {top + name.format(split): text for split in SPLITS} | {f"__MACOSX/{top}._x": ""}
    files_in(tmp_path / archive, files)
    task = find_task("squad" if "qa" in name else "rte" if "rte" in name.lower() else "mednli")
    for data in (tmp_path, find_data(str(tmp_path / archive), [task])):
        assert [each.id for each in read_splits(task, data).test] == ["q" if "qa" in name else "p"]
    files_in(tmp_path / "other.zip", {f"a/{name.format('dev')}": text, f"b/{name.format('dev')}": text})
    (tmp_path / archive).unlink()
    with pytest.raises(ValueError, match=r"other.zip has .* as a/.* and as b/.*: unzip it, and name one$"):
        find_files(task, tmp_path)


def test_a_file_of_a_name_that_many_archives_have_is_not_taken_from_one(tmp_path):
    table = {"kind": "text", "metrics": ["accuracy"], "format": "csv", "options": {"columns": {"a": 0, "label": 1}},
             "files": {split: [f"{split}.csv", f"data/{split}.csv"] for split in SPLITS}}  # fmt: skip
    for split in SPLITS[:2]:
        tagged(tmp_path / f"{split}.csv", "a,b\nc,d\n")
    files_in(tmp_path / "another.zip", {f"{top}{split}.csv": "e,f\n" for top in ("", "data/") for split in SPLITS})
    assert set(find_files(make_task("mine", table, "here"), tmp_path)) == {"train", "dev"}


@pytest.mark.parametrize("name", ["ChemProt/{}.tsv", "CHEMPROT/{}.tsv", "Blurb/chemprot/{}.tsv", "chemprot/{}.TSV"])
def test_folders_and_files_in_other_capitals(tmp_path, name):
    files_in(tmp_path, {name.format(split): f"{split}1|A .|CPR:3\n" for split in SPLITS})
    task = find_task("chemprot")
    assert [each.id for each in read_splits(task, tmp_path).dev] == ["dev1"]
    files_in(tmp_path, {f"chemprot/{split}.tsv": f"{split}2|A .|CPR:3\n" for split in SPLITS})
    if "TSV" not in name and name[:3] != "chem":  # as it is spelled comes first
        assert [each.id for each in read_splits(task, tmp_path).dev] == ["dev2"]
