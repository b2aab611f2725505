"""Questions in their published forms, in files of our own writing; distractors and halves, as laws."""

import dataclasses
import gzip
import io
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.tasks.examples import QuestionExample
from linkbert.tasks.formats import Source, find_answers
from linkbert.tasks.splits import FORMATS, distracted, halve, read_splits
from linkbert.tasks.table import find_task, tasks

HEADER = {"header": {"dataset": "Ours", "split": "dev"}}


def mrqa_line(number, context, *asked):
    qas = [
        {
            "qid": f"{number}.{i}",
            "question": f" {question}",
            "answers": answers,
            "detected_answers": [{"text": context[a : b + 1], "char_spans": [[a, b]], "token_spans": [[0, 0]]}],
        }
        for i, (question, answers, (a, b)) in enumerate(asked)
    ]
    return {"id": "", "context": context, "qas": qas, "context_tokens": []}


def read(form, *texts, options=None):
    counts = Counter()
    sources = [Source(f"file {i}", io.StringIO(text, newline="\n")) for i, text in enumerate(texts)]
    return list(FORMATS[form](sources, options or {}, counts)), +counts


def as_lines(*items):
    return "".join(json.dumps(each) + "\n" for each in items)


def test_mrqa():
    # The end of a span is its last character; the marks are text.
    line = mrqa_line(
        0, "[DOC] [TLE] Rome [PAR] It fell.", ("What fell?", ["Rome", "Roma"], (12, 15)), ("?", ["x"], (90, 91))
    )
    (first, second), counts = read("mrqa", as_lines(HEADER, line))
    assert first == QuestionExample("0.0", "What fell?", line["context"], ("Rome", "Roma"), ((12, 16),), title="0")
    assert first.context[slice(*first.spans[0])] == "Rome"
    assert second.spans == ()
    assert counts == {"spans outside of their context": 1}


def test_squad():
    asked = [
        {
            "id": "a",
            "question": "Who?",
            "answers": [{"text": "Rome", "answer_start": 3}, {"text": "Roma", "answer_start": 0}],
        },
        {"id": "b", "question": "Why?", "answers": [], "is_impossible": True, "plausible_answers": []},
    ]
    article = {"title": "Rome", "paragraphs": [{"context": "In Rome.", "qas": asked}]}
    examples, counts = read("squad", json.dumps({"version": "v2.0", "data": [article]}))
    assert examples == [
        QuestionExample("a", "Who?", "In Rome.", ("Rome", "Roma"), ((3, 7),), title="Rome"),
        QuestionExample("b", "Why?", "In Rome.", title="Rome"),
    ]
    assert counts == {"spans that are not their answer": 1}


@pytest.mark.parametrize(
    ("answers", "spans", "counted"),
    [
        ([{"text": " Rome ", "answer_start": 20}], ((18, 22),), {"answers moved to where their text stands": 1}),
        ([{"text": "Rom", "answer_start": 0}], ((3, 6),), {"answers moved to where their text stands": 1}),
        ([{"text": "fell. ", "answer_start": 8}], ((8, 14),), {}),
        ([{"text": "Troy", "answer_start": 3}], (), {"spans that are not their answer": 1}),
        ([{"text": "Rome"}], ((3, 7), (18, 22)), {}),
        ([{"text": "Rome", "answer_start": -1}], ((3, 7), (18, 22)), {}),
        ({"text": ["Rome"]}, ((3, 7), (18, 22)), {}),
        (476, ((26, 29),), {}),
        ([476, "Troy"], ((26, 29),), {}),
        (None, (), {}),
    ],
)
def test_answers_are_searched_near_where_they_are_said_to_be(answers, spans, counted):
    row = {"id": "a", "question": "Who?", "context": "In Rome fell. The Rome in 476.", "answers": answers}
    ([example], counts) = read("squad-rows", as_lines(row))
    assert (example.spans, counts) == (spans, counted)


def test_paragraphs_are_joined_and_the_answer_searched_in_those_that_hold_it():
    context = [["Gaul", ["It fell", " to Rome."]], ["Rome", ["Rome fell."]], ["Pax", ["Not Rome."]]]
    hotpot = {
        "_id": "h",
        "question": "?",
        "answer": "Rome",
        "supporting_facts": [["Gaul", 0], ["Rome", 0]],
        "context": context,
    }
    paragraphs = [
        {"idx": i, "title": title, "paragraph_text": text}
        for i, (title, text) in enumerate([("A", "Rome fell."), ("B", "rome.")])
    ]
    steps = [{"paragraph_support_idx": 0}, {"paragraph_support_idx": 1}]
    musique = {
        "id": "2hop__1_2", "question": "?", "answer": "Rome", "answer_aliases": ["Roma"], "answerable": True,
        "question_decomposition": steps, "paragraphs": paragraphs,
    }  # fmt: skip
    (one,), _ = read("hotpot", json.dumps([hotpot]))
    assert one.context == "Gaul: It fell to Rome.\nRome: Rome fell.\nPax: Not Rome."
    assert one.spans == ((17, 21), (23, 27), (29, 33))
    assert one.group == "2 hops"
    (other,), _ = read("musique", json.dumps([musique]))
    assert (other.context, other.spans, other.answers) == ("A: Rome fell.\nB: rome.", ((17, 21),), ("Rome", "Roma"))
    musique["paragraphs"] = [{"idx": 2, "title": "C", "paragraph_text": "Rome."}, *paragraphs]
    options, both = {"gold": True}, (("hotpot", hotpot), ("musique", musique))
    gold = [read(kind, json.dumps([item]), options=options)[0] for kind, item in both]
    assert [each.context for (each,) in gold] == ["Gaul: It fell to Rome.\nRome: Rome fell.", other.context]


def test_one_gold_passage():
    line = {"question": "who fell", "answers": ["Rome"], "ctxs": [{"title": "Gaul", "text": "Romes; Rome."}]}
    (one,), _ = read("oracle", as_lines(line))
    assert one == QuestionExample("1", "who fell", "Romes; Rome.", ("Rome",), ((7, 11),), title="Gaul")


def test_annotators_of_one_review_are_one_question():
    rows = [
        'q,"Is it ""fine""?",books,1,"Very fine, can\'t say. ANSWERNOTFOUND","fine , ca n\'t","(5, 16)"',
        'q,"Is it ""fine""?",books,1,"Very fine, can\'t say. ANSWERNOTFOUND",ANSWERNOTFOUND,"(22, 36)"',
        'r,Long?,books,2,"No. ANSWERNOTFOUND",ANSWERNOTFOUND,"(4, 18)"',
    ]
    head = "q_review_id,question,domain,item_id,review,human_ans_spans,human_ans_indices"
    examples, counts = read("subjqa", "\n".join([head, *rows]))
    assert examples == [
        QuestionExample(
            "q", 'Is it "fine"?', "Very fine, can't say.", ("fine, can't", "fine , ca n't"), ((5, 16),), "books", "1"
        ),
        QuestionExample("r", "Long?", "No.", (), (), "books", "2"),
    ]
    assert counts == {"annotators disagree whether there is an answer": 1}


def test_traced_questions_are_asked_of_rows_and_the_passages_they_link_to():
    lead = "A list : of towns . \n\n".replace(" \n\n", "\n")
    rows = ["Town : Rome ; Year : 476", "Town : Troy ; Year : 1184"]
    text = lead + "\n".join(rows)
    links = [
        {"start": text.index(name), "end": text.index(name) + 4, "target": f"/wiki/{name}"} for name in ("Rome", "Troy")
    ]
    documents = [
        {"id": "Towns_0", "title": "Towns", "text": text, "links": links},
        {"id": "/wiki/Rome", "title": "Rome", "text": "Rome fell to Odoacer in 476 .", "links": []},
        {"id": "/wiki/Troy", "title": "Troy", "text": "Troy fell .", "links": []},
    ]

    def asked(id_, answer, *nodes, table="Towns_0"):
        return {"question_id": id_, "question": "?", "table_id": table, "answer-text": answer, "answer-node": nodes}

    examples, counts = read(
        "traced",
        json.dumps(
            [
                asked("p", "Odoacer", ["Rome", [0, 0], "/wiki/Rome", "passage"]),
                asked("t", "476", ["476", [0, 1], None, "table"]),
                asked("m", "x", ["x", [0, 0], None, "table"], table="Towns_1"),
                asked("n", "2"),
            ]
        ),
        as_lines(*documents),
    )
    joined = f"{rows[0]}\nRome fell to Odoacer in 476 ."
    assert examples == [
        QuestionExample("p", "?", joined, ("Odoacer",), ((38, 45),), "answer in a passage", "Towns_0"),
        QuestionExample("t", "?", joined, ("476",), ((21, 24),), "answer in the table", "Towns_0"),
    ]
    assert counts == {"tables that are not there": 1, "without a trace": 1}


WORDS = st.text("ab c", min_size=1, max_size=8)


@st.composite
def question_sets(draw):
    texts = draw(st.lists(st.tuples(st.sampled_from("XYZ"), WORDS), min_size=1, max_size=6))
    made = []
    for i, (title, text) in enumerate([*texts, ("V", "last"), ("W", "one"), ("W", "two")]):
        begin = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(begin + 1, len(text)))
        made.append(QuestionExample(str(i), "?", text, (text[begin:end],), ((begin, end),), title=title))
    return made


@settings(max_examples=60)
@given(question_sets(), st.integers(0, 99))
def test_distractors_are_of_other_documents_and_keep_the_answer(examples, seed):
    made = distracted(examples, 1, 2, seed=seed)
    assert made == distracted(examples, 1, 2, seed=seed)
    for before, after in zip(examples, made, strict=True):
        assert [after.context[a:b] for a, b in after.spans] == list(before.answers)
        first, count = after.context.partition(before.context)[0], after.context.count("\n") + 1
        assert 2 <= count <= 3
        assert after.context.startswith(before.context + "\n") or after.context.endswith("\n" + before.context), first
        other = {each.context for each in examples if each.title != before.title}
        added = after.context.split("\n")
        added.remove(before.context)
        assert set(added) <= other


def test_distractors_differ_and_are_refused_where_there_are_too_few():
    examples = [QuestionExample(str(i), "?", f"text {i}", title=str(i)) for i in range(200)]
    made = distracted(examples, 1, 2)
    untitled = [dataclasses.replace(each, title="") for each in examples]  # each question is its own document then
    assert [each.context for each in distracted(untitled, 1, 2)] == [each.context for each in made]
    counts = Counter((each.context.count("\n"), each.context.startswith(f"text {i}\n")) for i, each in enumerate(made))
    assert min(counts[n, side] for n in (1, 2) for side in (False, True)) > 30  # of 50 expected
    with pytest.raises(ValueError, match=r"distract=1..2: its split has \d contexts besides the document"):
        distracted(examples[:2], 1, 2)


@pytest.fixture
def squad(tmp_path):
    for split, size in (("train", 2), ("dev", 10)):
        lines = [
            mrqa_line(f"{split}{i}", f"Rome {split} {i}", ("Who?", ["Rome"], (0, 3)), ("?", ["Rome"], (0, 3)))
            for i in range(size)
        ]
        path = tmp_path / "mrqa" / split / "SQuAD.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(as_lines(HEADER, *lines).encode()))
    return tmp_path


def test_halves_are_disjoint_and_complete_and_part_no_context(squad, tmp_path):
    splits = read_splits(find_task("squad"), squad)
    assert len(splits.dev) + len(splits.test) == 20
    assert 8 <= len(splits.dev) <= 12
    assert not {each.title for each in splits.dev} & {each.title for each in splits.test}
    file = tmp_path / "halves.json"
    file.write_text(json.dumps({"dev": [9, 1, 2], "test": [0, *range(3, 9)]}))
    theirs = read_splits(find_task("squad"), squad, dev_split=file, distract="1..2", distract_in="eval")
    assert [each.id for each in theirs.dev] == ["dev1.0", "dev1.1", "dev2.0", "dev2.1", "dev9.0", "dev9.1"]
    assert all("\n" in each.context for each in theirs.dev)
    assert theirs.train == splits.train
    assert theirs.notes == (
        "dev and test: MRQA's dev set, parted by dev_split",
        "1..2 distracting documents before or after each context of dev and test",
    )


def test_a_file_of_halves_that_is_not_of_this_dataset(squad, tmp_path):
    file = tmp_path / "halves.json"
    for halves in ({"dev": [0], "test": [1]}, {"dev": list(range(10)), "test": [3]}):
        file.write_text(json.dumps(halves))
        with pytest.raises(ValueError, match=r"dev_split=.*: is it of this dataset"):
            read_splits(find_task("squad"), squad, dev_split=file)
    with pytest.raises(ValueError, match="dev_split is for MRQA's dev sets"):
        read_splits(find_task("squad1"), make_squad1(tmp_path), dev_split=file)
    with pytest.raises(ValueError, match=r"distract=two: give a number, or two such as 1\.\.2"):
        read_splits(find_task("squad"), squad, distract="two")
    with pytest.raises(ValueError, match=r"distract=2\.\.1: give"):
        read_splits(find_task("squad"), squad, distract="2..1")


def make_squad1(folder):
    (folder / "SQuAD").mkdir()
    for split in ("train", "dev"):
        asked = [{"id": split, "question": "?", "answers": [{"text": "Rome", "answer_start": 0}]}]
        article = {"title": "Rome", "paragraphs": [{"context": "Rome.", "qas": asked}]}
        (folder / "SQuAD" / f"{split}-v1.1.json").write_text(json.dumps({"data": [article] * 2}))
    return folder


def test_answers_are_whole_words():
    assert find_answers("Romans in Rome; rome", ["Rome"]) == ((10, 14),)
    assert find_answers("rome; (C++)", ["Rome"]) == ((0, 4),)
    assert find_answers("rome; (C++)", ["C++", " "]) == ((7, 10),)
    assert find_answers("rome", []) == ()


EXPECTED = {  # questions of all splits, and those whose answer is not in its context
    "squad1": (10570, 0), "squad2": (11873, 0), "xquad-en": (1190, 0), "nq-oracle": (2655, 1), "ottqa": (2214, 3),
    "hybridqa": (2399, 2), "hotpotqa-100": (100, 9), "musique-100": (100, 1), "subjqa": (8834, 140),
    "hotpotqa-100-gold": (100, 9), "musique-100-gold": (100, 1),
}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("name", EXPECTED)
def test_every_set_at_hand_is_read_and_its_answers_found(data, name):
    splits = read_splits(find_task(name), data / "tasks")
    examples = [*splits.train, *splits.dev, *splits.test]
    count, missing = EXPECTED[name]
    assert len(examples) == count
    assert sum(bool(each.answers) and not each.spans for each in examples) == missing
    for each in examples:
        assert all(0 <= a < b <= len(each.context) for a, b in each.spans)
    if name in ("ottqa", "hybridqa"):  # the rows that a trace numbers are found
        assert sum(" : " in each.context.split("\n")[0] for each in examples) > 0.99 * count


@pytest.mark.data
def test_the_authors_halves_number_every_context(data):
    sizes = {"hotpot": 5901, "naturalqa": 12836, "newsqa": 638, "searchqa": 16980, "squad": 2067, "triviaqa": 7785}
    for name, size in sizes.items():
        examples = [QuestionExample(str(i), "?", "", title=str(i)) for i in range(size)]
        halves = halve(examples, data / "tasks" / "qa" / "mrqa-dev-splits" / f"{name}.json")
        assert abs(len(halves["dev"]) - len(halves["test"])) <= 1


def test_mrqa_is_scored_by_f1_first():
    assert [task.name for task in tasks().values() if task.suite == "mrqa"] == [
        "hotpotqa", "triviaqa", "searchqa", "naturalquestions", "newsqa", "squad",
    ]  # fmt: skip
    first = {task.name: task.metrics[0] for task in tasks().values() if task.kind == "question"}
    own = dict.fromkeys(("hotpotqa-100", "hotpotqa-100-gold", "hotpotqa-distractor"), "hotpot_f1")  # by its own script
    assert first == dict.fromkeys(first, "answer_f1") | own
