r"""Datasets in the exact forms in which they are published, by their own tables: fixtures of our own writing.

`|` stands for a tab in the fixtures.
"""

import io
import json
import zipfile
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from linkbert.tasks.examples import ChoiceExample, QuestionExample, TaggedExample, TextExample
from linkbert.tasks.formats import Source
from linkbert.tasks.own import own_task
from linkbert.tasks.splits import FORMATS, find_files, hash_files, read_files, read_splits
from linkbert.tasks.table import find_task, tasks

PUBMEDQA = {
    "101": {"QUESTION": "Do naps help?", "CONTEXTS": ["Naps were taken.", "Ten slept. "], "final_decision": "maybe"},
    "102": {"QUESTION": "Is tea warm?", "CONTEXTS": ["It was."], "final_decision": "yes", "LONG_ANSWER": "Warm."},
}
ASKED = {"question": "What cures a yawn?", "options": {"A": "tea", "B": "a nap", "C": "chalk", "D": "rain"}}
MEDQA = ASKED | {"answer": "a nap", "answer_idx": "B", "meta_info": "step1", "metamap_phrases": ["yawn"]}
MEDMCQA = {
    "question": "Which is a bone?",
    "cop": 3,
    "opa": "ear",
    "opb": "eye",
    "opc": "rib",
    "opd": "lip",
    "id": "x-1",
}
SNLI = {
    "gold_label": "neutral",
    "pairID": "9.jpg#2r1n",
    "captionID": "9.jpg#2",
    "sentence1": "A dog.",
    "sentence2": "Wet.",
}
ADVGLUE = {"mnli": [{"idx": 0, "premise": "It rained.", "hypothesis": "It was dry.", "label": 2, "method": "x"}]}
HOC = "labels|sentence|index\n0_0,1_1,2_0|One .|77_s0\n0_1,1_0,2_0|Two .|77_s1\n0_0,1_0,2_0|Other .|78_s0\n"
MNLI = "index|promptID|pairID|genre|{trees}|sentence1|sentence2|{labels}gold_label\n"
TREES = "sentence1_binary_parse|sentence2_binary_parse|sentence1_parse|sentence2_parse"
STSB = "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2"
CASES = {  # task, file, its text, its examples
    "cola": (
        "cola",
        "CoLA/train.tsv",
        'x01|1||"Sam slept.\nx01|0|*|Slept Sam the.\n',
        [TextExample("0", '"Sam slept.', label="1"), TextExample("1", "Slept Sam the.", label="0")],
    ),
    "cola test": ("cola", "CoLA/test.tsv", "index|sentence\n0|Sam slept.\n", [TextExample("0", "Sam slept.")]),
    "sst2": (
        "sst2",
        "SST-2/train.tsv",
        'sentence|label\na fine " film |1\n',
        [TextExample("0", 'a fine " film', label="1")],
    ),
    "sst2 with labels": (
        "sst2",
        "SST-2/test-labeled.tsv",
        "sentence|label|\r\ndull .|0|\r\n",
        [TextExample("0", "dull .", label="0")],
    ),
    "mrpc": (
        "mrpc",
        "MRPC/train.tsv",
        '\ufeffQuality|#1 ID|#2 ID|#1 String|#2 String\n1|7|8|He "ran|She ran\n',
        [TextExample("0", 'He "ran', "She ran", "1")],
    ),
    "mrpc test": (
        "mrpc",
        "MRPC/test.tsv",
        "index|#1 ID|#2 ID|#1 String|#2 String\n5|7|8|He ran|She ran\n",
        [TextExample("5", "He ran", "She ran")],
    ),
    "mrpc's own": (
        "mrpc",
        "MRPC/msr_paraphrase_train.txt",
        "\ufeffQuality|#1 ID|#2 ID|#1 String|#2 String\r\n0|7|8|A|B\r\n",
        [TextExample("0", "A", "B", "0")],
    ),
    "qqp": (
        "qqp",
        "QQP/train.tsv",
        "id|qid1|qid2|question1|question2|is_duplicate\n4|1|2|Why?|How?|0\n5|3|4|What\nnow?|1\n",
        [TextExample("4", "Why?", "How?", "0")],
    ),
    "qqp test": ("qqp", "QQP/test.tsv", "id|question1|question2\n0|Why?|How?\n", [TextExample("0", "Why?", "How?")]),
    "stsb": (
        "stsb",
        "STS-B/train.tsv",
        STSB + '|score\n0|news|n|2015|9|none|none|A "dog.|A cat.|1.250\n',
        [TextExample("0", 'A "dog.', "A cat.", 1.25)],
    ),
    "stsb test": (
        "stsb",
        "STS-B/test.tsv",
        STSB + "\n0|news|n|2015|9|none|none|A dog.|A cat.\n",
        [TextExample("0", "A dog.", "A cat.")],
    ),
    "stsb csv": (
        "stsb",
        "STS-B/stsb-en-dev.csv",
        '"A dog, he said ""loud"".",A cat.,5.0\r\n',
        [TextExample("0", 'A dog, he said "loud".', "A cat.", 5.0)],
    ),
    "mnli": (
        "mnli-matched",
        "MNLI/train.tsv",
        MNLI.format(trees=TREES, labels="label1|") + "0|1|1n|fiction|(|(|(|(|A.|B.|neutral|neutral\n",
        [TextExample("0", "A.", "B.", "neutral")],
    ),
    "mnli dev": (
        "mnli-matched",
        "MNLI/dev_matched.tsv",
        MNLI.format(trees=TREES, labels="label1|label2|label3|label4|label5|")
        + "3|1|1e|fiction|(|(|(|(|A.|B.|x|x|x|x|x|entailment\n",
        [TextExample("3", "A.", "B.", "entailment")],
    ),
    "mnli mismatched": (
        "mnli-mismatched",
        "MNLI/test_mismatched.tsv",
        f"index|promptID|pairID|genre|{TREES}|sentence1|sentence2\n9|1|1|letters|(|(|(|(|A.|B.\n",
        [TextExample("9", "A.", "B.")],
    ),
    "qnli": (
        "qnli",
        "QNLI/dev.tsv",
        'index|question|sentence|label\n2|Who?|"Ann|not_entailment\n',
        [TextExample("2", "Who?", '"Ann', "not_entailment")],
    ),
    "rte": (
        "rte",
        "RTE/train.tsv",
        "index|sentence1|sentence2|label\n0|A.|B.|entailment\n",
        [TextExample("0", "A.", "B.", "entailment")],
    ),
    "rte mirror": (
        "rte",
        "RTE/dev.tsv",
        "sentence1|sentence2|label|idx\nA.|B.|1|0\n",
        [TextExample("0", "A.", "B.", "not_entailment")],
    ),
    "sick": (
        "sick-relatedness",
        "SICK/SICK_trial.txt",
        "pair_ID|sentence_A|sentence_B|relatedness_score|entailment_judgment|\r\n4|A|B|3.6|NEUTRAL|\r\n",
        [TextExample("4", "A", "B", 3.6)],
    ),
    "snli": (
        "snli",
        "snli_1.0/snli_1.0_dev.jsonl",
        json.dumps(SNLI) + "\n",
        [TextExample("9.jpg#2r1n", "A dog.", "Wet.", "neutral")],
    ),
    "snli hard": (
        "snli-hard",
        "snli_1.0/snli_1.0_test_hard.jsonl",
        json.dumps(SNLI) + "\n",
        [TextExample("9.jpg#2r1n", "A dog.", "Wet.", "neutral", group="9.jpg")],
    ),
    "advglue": (
        "advglue-mnli",
        "advglue/dev.json",
        json.dumps(ADVGLUE),
        [TextExample("0", "It rained.", "It was dry.", "contradiction")],
    ),
    "ner": (
        "jnlpba",
        "JNLPBA/dev.tsv",
        "-DOCSTART- 12\n\nIL-2|B\ngene|I\nacts|O\n\n-DOCSTART- 13\n\nNone|O\n",
        [
            TaggedExample("0", ("IL-2", "gene", "acts"), ("B", "I", "O"), "12"),
            TaggedExample("1", ("None",), ("O",), "13"),
        ],
    ),
    "pico": (
        "ebm-pico",
        "ebmnlp/dev.tsv",
        "-DOCSTART- (5)\n\nLow|I-INT\ndose|I-INT\nwon|O\n\n",
        [TaggedExample("0", ("Low", "dose", "won"), ("B-INT", "B-INT", "O"), "5")],
    ),
    "chemprot": (
        "chemprot",
        "chemprot/train.tsv",
        '9.T1.T2|@GENE$ "binds @CHEMICAL$.|CPR:4\n9.T1.T3|A @CHEM-GENE$.|false\n',
        [
            TextExample("9.T1.T2", '@GENE$ "binds @CHEMICAL$.', label="CPR:4", group="9"),
            TextExample("9.T1.T3", "A @CHEM-GENE$.", label="0", group="9"),
        ],
    ),
    "chemprot of BLUE": (
        "chemprot",
        "chemprot/train.tsv",
        "index|sentence|label\n9.T1.T3|A @CHEM-GENE$.|CPR:3\n",
        [TextExample("9.T1.T3", "A @CHEM-GENE$.", label="CPR:3", group="9")],
    ),
    "ner as CoNLL has it": (
        "jnlpba",
        "JNLPBA/train.tsv",
        "-DOCSTART- -X- O O\n\nIL-2 NN B-NP B\n\n-DOCSTART- -X- O O\n\nNone NN B-NP O\n\n-DOCSTART-\n\nA O\n",
        [
            TaggedExample("0", ("IL-2",), ("B",), "-X- O O"),
            TaggedExample("1", ("None",), ("O",), "-X- O O#2"),
            TaggedExample("2", ("A",), ("O",), "#1"),
        ],
    ),
    "ddi": (
        "ddi",
        "DDI/test.tsv",
        "DDI-DrugBank.d7.s0.p1|@DRUG$ with @DRUG$. |DDI-false\n",
        [TextExample("DDI-DrugBank.d7.s0.p1", "@DRUG$ with @DRUG$.", label="0", group="DDI-DrugBank.d7")],
    ),
    "gad": (
        "gad",
        "GAD/test.tsv",
        "index|sentence|label\n0|@GENE$ in @DISEASE$.|1\n",
        [TextExample("0", "@GENE$ in @DISEASE$.", label="1")],
    ),
    "biosses": (
        "biosses",
        "BIOSSES/test.tsv",
        "pair_id|sent1|sent2|score\n59|A.|B.|2.2\n",
        [TextExample("59", "A.", "B.", 2.2)],
    ),
    "hoc": (
        "hoc",
        "HoC/test.tsv",
        HOC,
        [
            TextExample("77", "One . Two .", label=("0", "1"), group="77"),
            TextExample("78", "Other .", label=(), group="78"),
        ],
    ),
    "pubmedqa": (
        "pubmedqa",
        "pubmedqa/pqal_fold0/dev_set.json",
        json.dumps(PUBMEDQA, indent=1),
        [
            TextExample("101", "Do naps help?", "Naps were taken. Ten slept.", "maybe"),
            TextExample("102", "Is tea warm?", "It was.", "yes"),
        ],
    ),
    "bioasq": (
        "bioasq",
        "BioASQ/dev.tsv",
        '5a|Is it?|It is.  "So|yes\n',
        [TextExample("5a", "Is it?", 'It is.  "So', "yes")],
    ),
    "medqa": (
        "medqa",
        "data_clean/questions/US/4_options/phrases_no_exclude_dev.jsonl",
        json.dumps(MEDQA) + "\n",
        [ChoiceExample("0", "What cures a yawn?", ("tea", "a nap", "chalk", "rain"), 1)],
    ),
    "medqa list": (
        "medqa",
        "us_4opt_train_subset1030.json",
        json.dumps([MEDQA], indent=2),
        [ChoiceExample("0", "What cures a yawn?", ("tea", "a nap", "chalk", "rain"), 1)],
    ),
    "medqa five": (
        "medqa-5",
        "medqa/us_5opt_dev.json",
        json.dumps(
            [{"question": "Who?", "options": ["A. Al", "B. E. coli", "C. Cy", "D. Di", "E. Eve"], "answer": "E. coli"}]
        ),
        [ChoiceExample("0", "Who?", ("Al", "E. coli", "Cy", "Di", "Eve"), 1)],
    ),
    "medmcqa": (
        "medmcqa",
        "medmcqa/dev.json",
        json.dumps(MEDMCQA) + "\n",
        [ChoiceExample("x-1", "Which is a bone?", ("ear", "eye", "rib", "lip"), 2)],
    ),
    "mmlu": (
        "mmlu-anatomy",
        "data/test/anatomy_test.csv",
        '"A ""rib"", or\na lip?",1,"2, 3",4,5,B\r\nWhy?,a,b,c,d,A\n',
        [
            ChoiceExample("0", 'A "rib", or\na lip?', ("1", "2, 3", "4", "5"), 1),
            ChoiceExample("1", "Why?", tuple("abcd"), 0),
        ],
    ),
}


def read(folder, task, files):
    """Write files, by name, and read them as one set of a task: examples, counts."""
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(text.encode())
    counts = Counter()
    return read_files(find_task(task), tuple((file, folder / file) for file in files), counts), counts


@pytest.mark.parametrize("case", CASES)
def test_published_forms_are_read(tmp_path, case):
    task, file, text, expected = CASES[case]
    text = text if text[0] in "{[" else text.replace("|", "\t")
    examples, counts = read(tmp_path, task, {file: text})
    assert examples == expected
    assert counts["broken lines, skipped"] == (2 if case == "qqp" else 0)
    assert any(file in (each,) for found in find_task(task).files.values() for each in found)


def test_cola_lies_in_its_zip_with_two_dev_sets(tmp_path):
    (tmp_path / "CoLA").mkdir()
    with zipfile.ZipFile(tmp_path / "CoLA" / "cola_public.zip", "w") as archive:
        for number, name in enumerate(("in_domain_train", "in_domain_dev", "out_of_domain_dev")):
            archive.writestr(f"cola_public/raw/{name}.tsv", f"x\t{number % 2}\t\tSentence {number}.\n")
    splits = read_splits(find_task("cola"), tmp_path)
    assert [example.a for example in splits.train] == ["Sentence 0."]
    assert [(each.id, each.a, each.label) for each in splits.dev] == [
        ("0", "Sentence 1.", "1"),
        ("1", "Sentence 2.", "0"),
    ]
    assert list(hash_files(find_task("cola"), tmp_path)) == ["CoLA/cola_public.zip"]


def test_a_damaged_member_of_a_zip_is_one_line(tmp_path):
    (tmp_path / "CoLA").mkdir()
    path = tmp_path / "CoLA" / "cola_public.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("in_domain_train", "in_domain_dev", "out_of_domain_dev"):
            archive.writestr(f"cola_public/raw/{name}.tsv", "x\t1\t\tA sentence.\n")
    path.write_bytes(path.read_bytes().replace(b"A sentence", b"B sentence"))
    with pytest.raises(
        ValueError, match=r"cola_public.zip is damaged or not of this form .*Bad CRC-32.*: fetch or write it again"
    ):
        read_splits(find_task("cola"), tmp_path)


def test_lines_of_files_side_by_side(tmp_path):
    names = find_task("mnli-hard").files["test"][0]
    texts = dict(zip(names, ('A "b\n\n', "C\nD\n", "neutral\nentailment\n"), strict=True))
    examples, _ = read(tmp_path, "mnli-hard", texts)
    assert examples == [TextExample("0", 'A "b', "C", "neutral"), TextExample("1", "", "D", "entailment")]
    with pytest.raises(ValueError, match=r"HardTest/s2.test ends at line 1, before the files next to it"):
        read(tmp_path, "mnli-hard", texts | {names[1]: "C\n"})


def test_pubmedqa_has_the_labels_of_its_test_set_in_a_file_of_their_own(tmp_path):
    names = find_task("pubmedqa").files["test"][0]
    blind = {key: {**value, "final_decision": "no"} for key, value in PUBMEDQA.items()}
    files = dict(zip(names, (json.dumps(blind), json.dumps({"102": "yes", "101": "maybe"})), strict=True))
    assert [each.label for each in read(tmp_path, "pubmedqa", files)[0]] == ["maybe", "yes"]


def test_parquet_as_hugging_face_has_it(tmp_path):
    for file, rows in {
        "qnli/train-00000-of-00001.parquet": {"question": ["Who?"], "sentence": ["Ann."], "label": [1], "idx": [7]},
        "qnli/test-00000-of-00001.parquet": {"question": ["Who?"], "sentence": ["Ann."], "label": [-1], "idx": [0]},
        "anatomy/test-00000-of-00001.parquet": {"question": ["Why?"], "choices": [["a", "b"]], "answer": [1]},
    }.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        parquet.write_table(pa.table(rows), tmp_path / file)

    def found(task, file):
        return read_files(find_task(task), ((file, tmp_path / file),), Counter())

    assert found("qnli", "qnli/train-00000-of-00001.parquet") == [TextExample("7", "Who?", "Ann.", "not_entailment")]
    assert found("qnli", "qnli/test-00000-of-00001.parquet") == [TextExample("0", "Who?", "Ann.")]
    assert found("mmlu-anatomy", file) == [ChoiceExample("0", "Why?", ("a", "b"), 1)]
    (tmp_path / file).write_text("not a table")
    with pytest.raises(ValueError, match=r"anatomy/test-.* not a parquet file"):
        found("mmlu-anatomy", file)


def test_sets_of_the_hub_as_they_are_published(tmp_path):
    questions = {"question": ["Where?", "When?"], "opa": ["a", "e"], "opb": ["b", "f"], "opc": ["c", "g"],
                 "opd": ["d", "h"]}  # fmt: skip
    more = {"choice_type": ["single", "multi"], "exp": [None, "See x."], "subject_name": ["Anatomy"] * 2}
    asked = {"id": ["q1", "q2"], "title": ["Rome", "Rome"], "context": ["Rome fell. Rome!"] * 2}
    answers = [{"text": ["Rome", "Rome"], "answer_start": [0, 11]}, {"text": [], "answer_start": []}]
    medqa = {"question": "Why?", "answer": "b", "options": {"A": "a", "B": "b", "C": "c", "D": "d"},
             "meta_info": "step1", "answer_idx": "B", "metamap_phrases": ["b"]}  # fmt: skip
    for file, rows in {
        "plain_text/test-00000-of-00001.parquet": {
            "premise": ["A cat.", "A cat."], "hypothesis": ["It naps.", "It runs."], "label": [2, -1],
        },
        "data/validation-00000-of-00001.parquet": {"id": ["x", "y"], **questions, "cop": [0, 3], **more},
        "data/test-00000-of-00001.parquet": {"id": ["x", "y"], **questions, "cop": [-1, -1], **more},
        "squad_v2/validation-00000-of-00001.parquet": {
            **asked, "question": [" What fell?", "Who?"], "answers": answers,
        },
    }.items():  # fmt: skip
        (tmp_path / file).parent.mkdir(exist_ok=True)
        parquet.write_table(pa.table(rows), tmp_path / file)
    (tmp_path / "phrases_no_exclude_test.jsonl").write_text(json.dumps(medqa) + "\n")

    def found(task, split):
        names = (each.replace("*", "00000-of-00001") for each in find_task(task).files[split])
        name = next(each for each in names if (tmp_path / each).is_file())
        return read_files(find_task(task), ((name, tmp_path / name),), Counter())

    assert found("snli", "test") == [
        TextExample("0", "A cat.", "It naps.", "contradiction"),
        TextExample("1", "A cat.", "It runs."),
    ]
    assert [(each.id, each.options[each.label]) for each in found("medmcqa", "dev")] == [("x", "a"), ("y", "h")]
    assert [each.label for each in found("medmcqa", "test")] == [None, None]
    assert found("medqa", "test") == [ChoiceExample("0", "Why?", ("a", "b", "c", "d"), 1)]
    first, second = found("squad2", "dev")
    assert first == QuestionExample(
        "q1", "What fell?", "Rome fell. Rome!", ("Rome", "Rome"), ((0, 4), (11, 15)), title="Rome"
    )
    assert (second.id, second.answers, second.spans) == ("q2", (), ())


@pytest.mark.parametrize(
    ("case", "changed", "fault"),
    [
        ("ner", "-DOCSTART- 12\n\nIL-2|B\ngene\n", "dev.tsv, line 4: 'gene' is not a word and a tag"),
        ("ner", "IL-2|B\ngene|X\n", r"dev.tsv, line 2: 'gene\\tX' is not a word and a tag"),
        ("ner", "|B\n", "dev.tsv, line 1: 'B' is not a word and a tag"),
        ("rte", "index|sentence1|label\n0|A.|entailment\n", "has no column 'sentence2' but index, sentence1, label"),
        ("rte", "index|sentence1|sentence2|label\n0|A.|B.|entailment\n1|A.\n", "line 3 has 2 columns, too few for"),
        ("stsb csv", "A.,B.,high\r\n", "line 1: the label 'high' is not a number"),
        ("mmlu", "Why?,a,b,c,d,E\n", "line 1: the answer 'E' is none of its 4 options"),
        ("mmlu", "Why?,a,b\n", "line 1 has 3 columns, too few for"),
        ("medmcqa", json.dumps(MEDMCQA) + '\n{"question', "dev.json, line 2 is damaged.*JSONDecodeError"),
        ("medmcqa", json.dumps(MEDMCQA | {"cop": 0}), "line 1: the answer 0 is none of its 4 options"),
        ("hoc", HOC.replace("1_1", "yes"), "test.tsv: 77 has labels that are not like 0_0,1_1"),
        ("pubmedqa", json.dumps({"1": {"QUESTION": "Why?"}}), "item 1 has no 'CONTEXTS'"),
        ("advglue", '{"mnli": [', "dev.json is damaged.*line 1 column 11"),
        ("medqa list", "[[1]]", "item 0 is .* not of this form"),
        ("rte", "\n", "RTE/train.tsv is empty: fetch it again"),
        ("mmlu", 'Why?,a,b,c,d,A\n"What?,a,b,c,d,A\nWho?,a,b,c,d,A\n', "line 2: unexpected end of data: is a quot"),
        ("mmlu", '"Why?,a' + 150_000 * "b", "line 1: unexpected end of data: is a quotation mark missing"),
    ],
)
def test_a_broken_file_is_one_line_with_its_place(tmp_path, case, changed, fault):
    task, file, *_ = CASES[case]
    with pytest.raises(ValueError, match=fault):
        read(tmp_path, task, {file: changed.replace("|", "\t") if changed[0] not in "{[" else changed})


@given(st.lists(st.tuples(st.text(st.characters(exclude_characters="\t\n", exclude_categories=("Cs",)), min_size=1),
                          st.sampled_from(["0", "1"])), min_size=1))  # fmt: skip
def test_every_row_of_a_tsv_is_an_example_whatever_its_letters(rows):
    rows = [(text, label) for text, label in rows if text.strip() == text]
    lines = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    options = {"columns": {"a": "text", "label": "label"}}
    found = list(FORMATS["tsv"]([Source("t.tsv", io.StringIO(lines, newline="\n"))], options, Counter()))
    assert [(each.a, each.label) for each in found] == rows


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["IL-2", "a", "-", "-DOC"]), st.sampled_from(["O", "B", "I"])), min_size=1)
    )
)
def test_sentences_of_tags_come_back_as_they_were_written(sentences):
    text = "\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)
    found = list(FORMATS["tags"]([Source("t.tsv", io.StringIO(text, newline="\n"))], {}, Counter()))
    assert [list(zip(each.words, each.tags, strict=True)) for each in found] == sentences


AGAIN = "texts that train has, too"
NOT_AT_HAND = {
    "qqp",
    "mnli-matched",
    "mnli-mismatched",
    "snli",
    "euadr",
    "wnli",
    "glue-diagnostic",
    "mednli",
    "citation-prediction",
}
SIZES = {  # as BLURB's authors and the corpora's have them; of tags, mentions or labelled tokens
    "bc5-chem": (5203, 5347, 5385), "bc5-disease": (4182, 4246, 4424), "ncbi-disease": (5134, 787, 960),
    "bc2gm": (15197, 3061, 6325), "jnlpba": (46750, 4551, 8662), "ebm-pico": (None, 87308, 16364),
    "chemprot": (18035, 11268, 15745), "ddi": (25296, 2496, 5716), "gad": (4261, 535, None), "biosses": (64, 16, 20),
    "hoc": (1295, 186, None), "pubmedqa": (450, 50, 500), "bioasq": (670, 75, 140), "cola": (8551, 1043, None),
    "sst2": (67349, 872, 1821), "stsb": (5749, 1500, 1379), "rte": (2490, 277, 3000),
    "sick-entailment": (4500, 500, 4927), "sick-relatedness": (4500, 500, 4927),
    "mrpc": (4076, None, 1725), "qnli": (None, 5463, 5463), "snli-hard": (None, None, 3261), "pan": (10000, None, 3000),
    "mnli-hard": (None, None, 4573), "mnli-hard-mismatched": (None, None, 4530), "medqa": (1030, None, None),
    "medqa-5": (None, 1272, None), "medmcqa": (None, 4183, None), "mmlu-professional-medicine": (None, 31, None),
}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name, task in tasks().items() if task.kind != "question"])
def test_real_data_has_the_published_counts(data, name):
    task, folder = find_task(name), data / "tasks"
    if name in NOT_AT_HAND:
        with pytest.raises(ValueError, match="get it from https://"):
            find_files(task, folder)
        return
    found = find_files(task, folder)
    splits = read_splits(task, folder)
    what = "entities" if task.kind == "tags" else "examples"
    counts = {split: splits.counts.get(f"{split}: {what}", 0) for split in ("train", "dev", "test")}
    if task.split and splits.notes and "of our own" in splits.notes[0]:
        made = splits.notes[0].partition(":")[0].split(" and ")
        counts[task.split["from"]] += sum(counts.pop(each) for each in made)
    for split, size in zip(("train", "dev", "test"), SIZES.get(name, ()), strict=False):
        assert counts.get(split) == size or (size is None and split not in found)
    odd = {
        what for what in splits.counts if what.split(": ")[1] not in ("examples", "entities", "without a label", AGAIN)
    }
    assert not odd


@pytest.mark.data
def test_no_text_of_real_data_stands_on_both_sides_of_a_split_of_our_own(data):
    for name in ("qnli", "mrpc", "pan"):
        splits = read_splits(find_task(name), data / "tasks")
        train, dev = ({text for each in part for text in (each.a, each.b)} for part in (splits.train, splits.dev))
        assert not train & dev


@pytest.mark.data
def test_a_fourteenth_of_gads_dev_set_stands_in_its_train_set(data):
    assert read_splits(find_task("gad"), data / "tasks").counts[f"dev: {AGAIN}"] == 39


@pytest.mark.data
@pytest.mark.parametrize(("name", "share"), [("pubmedqa", 55.2), ("bioasq", 67.1)])
def test_the_commonest_answer_is_as_common_as_it_is_known_to_be(data, name, share):
    test = read_splits(find_task(name), data / "tasks").test
    assert round(100 * Counter(each.label for each in test).most_common(1)[0][1] / len(test), 1) == share


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_rows_that_share_a_value_may_not_flood_the_memory(tmp_path, name):
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array(["a" * 1_000_000]))
    table, path = pa.table({"text": texts, "label": ["x", "y"] * 50}), tmp_path / name
    if name == "a.parquet":
        parquet.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30)
    else:
        with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
    with pytest.raises(ValueError, match=r"a\.\w+ is damaged .* bytes that should become more than 67,108,864"):
        own_task(path, "text", "label")
