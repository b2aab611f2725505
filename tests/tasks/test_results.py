import json
import multiprocessing

import pytest

from linkbert.tasks.examples import ChoiceExample, Prediction, QuestionExample, TaggedExample, TextExample
from linkbert.tasks.results import add_result, read_results, run_key, write_predictions


def test_a_key_follows_from_what_decides_and_from_nothing_else():
    assert run_key({"a": 1, "b": [2]}) == run_key({"b": [2], "a": 1})
    assert run_key({"a": 1}) != run_key({"a": 2})
    assert len(run_key({})) == 16


def _write(folder, number):
    for i in range(20):
        add_result(folder, {"key": f"{number}-{i}", "task": "\u2028é" * 3000})


def test_several_processes_write_whole_lines(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, number)) for number in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert set(read_results(tmp_path)) == {f"{n}-{i}" for n in range(3) for i in range(20)}
    assert (tmp_path / "results.jsonl").read_bytes().count(b"\n") == 60


def test_a_line_that_was_cut_off_is_passed_over_and_goes_with_the_next(tmp_path):
    add_result(tmp_path, {"key": "a", "task": "rte"})
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"key": "b", "sco')
    assert list(read_results(tmp_path).values()) == [{"key": "a", "task": "rte"}]
    add_result(tmp_path, {"key": "c", "task": "rte"})
    lines = (tmp_path / "results.jsonl").read_text()
    assert lines == '{"key": "a", "task": "rte"}\n{"key": "c", "task": "rte"}\n'


@pytest.mark.parametrize("line", ["not json", "3", '{"key": "a"}', ""])
def test_a_line_that_is_no_result_is_named(tmp_path, line):
    (tmp_path / "results.jsonl").write_text(f'{{"key": "a", "task": "rte"}}\n{line}\n')
    with pytest.raises(ValueError, match=r"results.jsonl is damaged: line 2 is not linkbert's"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "change", [{"scores": {"test": [[1]]}}, {"scores": None}, {"predictions": {"test": 7}}, {"key": []}, {"seed": "x"}]
)
def test_a_line_that_was_edited_is_one_line_with_its_key(tmp_path, change):
    (tmp_path / "results.jsonl").write_text(f"{json.dumps({'key': 'a', 'task': 'rte'} | change)}\n")
    with pytest.raises(ValueError, match=rf"results\.jsonl: 0\.{next(iter(change))}.* is .*damaged: remove that line"):
        read_results(tmp_path)


def test_the_later_of_two_lines_of_a_run_counts(tmp_path):
    assert read_results(tmp_path) == {}
    for value in (1, 2):
        add_result(tmp_path, {"key": "a", "task": "rte", "value": value})
    assert list(read_results(tmp_path).values()) == [{"key": "a", "task": "rte", "value": 2}]


def test_predictions_stand_beside_gold_in_the_form_of_each_kind(tmp_path):
    examples = [
        TextExample("t", "one", "two", "yes"),
        TaggedExample("w", ("low", "dose"), ("O", "B")),
        ChoiceExample("c", "which", ("this", "that"), 1),
        QuestionExample("q", "who", "it was Ann", ("Ann",), ((7, 10),)),
    ]
    values = ("no", ("O", "O"), 1, "Ann")
    answers = [Prediction(e.id, v, {"scores": [0.5]}) for e, v in zip(examples, values, strict=True)]
    write_predictions(tmp_path / "p.jsonl", examples, answers, [0.0, 0.0, 1.0, None])
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [line.pop("options", None) for line in lines] == [None, None, ["this", "that"], None]
    assert [list(line.values())[:5] for line in lines] == [
        ["t", "one\ntwo", "yes", "no", 0.0],
        ["w", "low dose", ["O", "B"], ["O", "O"], 0.0],
        ["c", "which", 1, 1, 1.0],
        ["q", "who", ["Ann"], "Ann", None],
    ]
    assert {line["details"]["scores"][0] for line in lines} == {0.5}
