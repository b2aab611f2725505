"""Runs of words are found by hashes as they are by comparing the words themselves."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert import cli
from linkbert.records import Document
from linkbert.tasks.examples import ChoiceExample, QuestionExample, TaggedExample, TextExample
from linkbert.tasks.overlap import find_overlap, overlap_lines

# Few words, so that runs repeat; letters of one to four bytes, of other cases, and some that grow when lower-cased.
words = st.sampled_from(["a", "B", "b", "É", "é", "İ", "Σ", "東", "𝔸", "x2", "_", "-", "—", "\n", "🙂", "a"])
texts = st.lists(words, max_size=30).map(" ".join) | st.text(max_size=20)


def naive(text, n):
    found = re.findall(r"[^\W_]+", "".join(c.lower()[0] if c.isalnum() else " " for c in text))
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]


@pytest.mark.slow
@given(st.lists(st.lists(texts, max_size=4), min_size=1, max_size=3), st.lists(texts, max_size=5), st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_hashes_find_what_sets_of_words_find(make_store, shards, contexts, n):
    store = make_store(
        [[Document(f"{i} {j}", "", text) for j, text in enumerate(each)] for i, each in enumerate(shards)]
    )
    corpus = {run for each in shards for text in each for run in naive(text, n)}
    contexts = list(dict.fromkeys(contexts))
    runs = [naive(context, n) for context in contexts]
    found = find_overlap(store, {str(i): context for i, context in enumerate(contexts)}, n=n)
    distinct = {run for each in runs for run in each}
    assert found["contexts"] == len(contexts)
    assert found["short"] == sum(not each for each in runs)
    assert found["with_overlap"] == sum(bool(corpus & set(each)) for each in runs)
    assert (found["runs"], found["runs_found"]) == (len(distinct), len(distinct & corpus))
    shares = {str(i): sum(run in corpus for run in each) / len(each) for i, each in enumerate(runs) if each}
    assert [each["share"] for each in found["worst"]] == sorted(filter(None, shares.values()), reverse=True)
    assert {each["id"]: each["share"] for each in found["worst"]} == {i: share for i, share in shares.items() if share}


def test_an_example_by_hand(make_store):
    river = "The river Leth rises in the hills of Arland and runs to the sea near Town Two."  # 17 words: 5 runs of 13
    text = f"Arland.\n{river.upper()} More of it."
    store = make_store([[Document("gone", "", river), Document("one", "", "A mill.")], [Document("two", "", text)]],
                       dropped=[(0, 0)])  # fmt: skip
    contexts = {"q1": river, "q2": river, "q3": "Once, " + " ".join(river.split()[:13]), "q4": "A mill."}
    found = find_overlap(store, contexts)
    assert (found["contexts"], found["short"], found["with_overlap"]) == (3, 1, 2)
    assert (found["runs"], found["runs_found"]) == (6, 5)  # "once ..." is no run of the corpus
    assert [(each["id"], each["share"], each["documents"]) for each in found["worst"]] == [
        ("q1", 1.0, [{"id": "two", "runs": 5}]),  # the document that does not count is not it
        ("q3", 0.5, [{"id": "two", "runs": 1}]),
    ]
    lines = list(overlap_lines("SQuAD", "test", found))
    assert lines[0] == "SQuAD, test: 3 contexts, 1 of them with fewer than 13 words"
    assert lines[1] == "  contexts with 13 words in a row that the corpus has: 2 of 2 (100.0 %)"
    assert "  100.0 % of 5 runs: q1 in two (5)" in lines


@pytest.mark.parametrize(
    ("example", "context"),
    [
        (QuestionExample("1", "Who?", "The context."), "The context."),
        (TextExample("1", "One text", "and another."), "One text and another."),
        (TextExample("1", "One text"), "One text"),
        (ChoiceExample("1", "Which?", ("a", "b")), "Which?"),
        (TaggedExample("1", ("Two", "words")), "Two words"),
    ],
)
def test_every_kind_of_example_has_a_context(example, context):
    assert example.passage == context


def test_the_command_reads_a_task_and_looks_for_its_contexts(make_store, tmp_path, capsys):
    (tmp_path / "RTE").mkdir()
    lines = [
        f"{i}\tThe river Leth rises in the hills of Arland, and runs to the sea.\tNumber {i}.\tentailment" for i in "12"
    ]
    for name in ("train", "dev"):
        (tmp_path / "RTE" / f"{name}.tsv").write_text("\n".join(["index\tsentence1\tsentence2\tlabel", *lines]) + "\n")
    store = make_store([[Document("leth", "", "The river Leth rises in the hills of Arland and runs to the sea.")]])
    words = ["overlap", str(store.path), "--task", "rte", "--data", str(tmp_path)]
    assert cli.main(words) == 0
    assert "contexts with 13 words in a row that the corpus has: 2 of 2 (100.0 %)" in capsys.readouterr().out
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["task"], found["split"], found["runs_found"]) == ("rte", "dev", 2)
