"""Two models' answers, by hand; the tests against references."""

import json

import numpy as np
import pytest

from linkbert import cli
from linkbert.tasks.compare import compare, comparison_lines, rows_of, two_sided
from linkbert.tasks.metrics import bootstrap, interval_of
from linkbert.tasks.results import scores_of

QUESTION = "Which river passes the market of Town Two?"


def write(folder, model, runs, task="rte", given="A text.", gold="1", options=None, epochs=3.0):
    """Write results: `runs` has for each seed the answers and scores of the examples x0, x1, ..."""
    folder.mkdir(exist_ok=True)
    for seed, answers in enumerate(runs):
        lines = [
            {
                "id": f"x{i}",
                "input": given,
                "gold": gold,
                "prediction": answer,
                "score": score,
                "details": {},
                **({"options": options} if options else {}),
            }
            for i, (answer, score) in enumerate(answers)
        ]
        name = f"{model}-{seed}.jsonl"
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        result = {
            "key": f"{model}-{seed}", "task": task,
            "model": model, "model_hash": model, "seed": seed, "settings": {"epochs": epochs}, "hashes": {},
            "notes": [], "scores": {"dev": {"accuracy": 0.5}}, "predictions": {"dev": name},
        }  # fmt: skip
        with (folder / "results.jsonl").open("a") as file:
            file.write(json.dumps(result) + "\n")
    return folder


def pair(folder):
    return [next(iter(scores_of(f"{folder}:{model}").values())) for model in "ab"]


def test_counts_examples_and_mcnemar_by_hand(tmp_path):
    a = [("1", 1), ("1", 1), ("1", 1), ("1", 1), ("0", 0), ("0", 0)]
    b = [("1", 1), ("0", 0), ("0", 0), ("0", 0), ("1", 1), ("0", 0)]
    write(write(tmp_path, "a", [a]), "b", [b])
    found = compare(*pair(tmp_path))
    counts = [found[key] for key in ("both_right", "only_a", "only_b", "neither", "other_words")]
    assert counts == [1, 3, 1, 1, 4]
    assert (found["test"], found["p"]) == ("McNemar, exact", 0.625)  # 2 (1 + 4) / 2^4
    assert found["difference"] == pytest.approx(2 / 6)
    assert [(each["id"], each["a"], each["b"]) for each in found["examples"]][:1] == [("x1", "1", "0")]
    assert [each["id"] for each in found["examples"]] == ["x1", "x2", "x3", "x4"]


def test_models_scored_on_different_sets_are_one_line(tmp_path):
    for model, split in (("a", "test"), ("b", "dev")):
        path = write(tmp_path / model, model, [[("1", 1)]]) / "results.jsonl"
        path.write_text(path.read_text().replace('"dev"', f'"{split}"'))
    a, b = (next(iter(scores_of(str(tmp_path / model)).values())) for model in "ab")
    with pytest.raises(ValueError, match="b has no scores on the test set of rte: run both on the same data"):
        compare(a, b)


def test_a_file_of_predictions_that_was_cut_is_named(tmp_path):
    whole = [("1", 1), ("0", 0), ("1", 1)]
    write(write(tmp_path, "a", [whole]), "b", [whole])
    results, answers = tmp_path / "results.jsonl", tmp_path / "b-0.jsonl"
    counted = [json.loads(line) | {"counts": {"dev: examples": 3}} for line in results.read_text().splitlines()]
    results.write_text("".join(json.dumps(each) + "\n" for each in counted))
    assert compare(*pair(tmp_path))["count"] == 3
    answers.write_text(answers.read_text()[:-10])
    with pytest.raises(ValueError, match=r"b-0\.jsonl holds 2 of 3 answers: remove its line in results\.jsonl"):
        compare(*pair(tmp_path))


def test_answers_to_other_examples_of_the_same_number_are_left_out_and_differences_named(tmp_path):
    write(tmp_path, "a", [[("1", 1), ("1", 1)]])
    write(tmp_path, "b", [[("0", 0), ("0", 0)]], epochs=5.0)
    path = tmp_path / "b-0.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(first.replace("A text.", "Another.") + "\n" + second + "\n")
    found = compare(*pair(tmp_path))
    assert (found["count"], found["left_out"], found["only_a"]) == (1, 2, 1)
    lines = list(comparison_lines(found, 0))
    assert "  2 answers are left out: to examples that only one of the two has" in lines
    assert "  they differ in epochs 3.0 (a), 5.0 (b)" in lines


def test_seeds_vote(tmp_path):
    runs = [[("1", 1), ("0", 0)], [("1", 1), ("0", 0)], [("0", 0), ("1", 1)]]  # gold is 1
    write(write(tmp_path, "a", runs), "b", [[("0", 0), ("1", 1)]])
    found = compare(*pair(tmp_path))
    assert found["runs"] == [3, 1]
    assert [(each["a"], each["scores"][0]) for each in found["examples"]] == [("1", 2 / 3), ("0", 1 / 3)]
    assert (found["only_a"], found["only_b"]) == (1, 1)
    assert found["test"] == "paired bootstrap"  # the mean of three runs is no vote
    assert found["means"] == pytest.approx([1 / 2, 1 / 2])  # runs of 1/2, 1/2, 1/2 against one of 1/2


def test_the_difference_is_that_of_the_metric_in_the_report_and_has_its_sign(tmp_path):
    """Of 8 sentences 6 have no entity: A finds one there twice, B never; of the two entities A has both, B has one."""
    gold = ["O", "O"]
    found = {"a": [["B", "O"]] * 2 + [gold] * 4, "b": [gold] * 6}
    for model, answers in found.items():
        write(tmp_path, model, [[(each, float(each == gold)) for each in answers]], "bc2gm", gold=gold)
        path = tmp_path / f"{model}-0.jsonl"
        for i, mine in enumerate([["B", "I"], ["B", "I"]] if model == "a" else [["B", "I"], ["O", "O"]]):
            line = {
                "id": f"y{i}",
                "input": "A text.",
                "gold": ["B", "I"],
                "prediction": mine,
                "score": 1.0 * (mine[0] == "B"),
            }
            path.write_text(path.read_text() + json.dumps(line) + "\n")
    a, b = pair(tmp_path)
    found = compare(a, b)
    assert found["means"] == pytest.approx([2 * 2 / (4 + 2), 2 * 1 / (1 + 2)])  # 2 TP / (found + gold), by hand
    assert found["difference"] == pytest.approx(0)  # where the mean over sentences would say -1/8
    assert (found["metric"], found["test"]) == ("entity_f1", "paired bootstrap")
    assert found["interval"][0] < 0 < found["interval"][1]


def test_sentences_of_one_document_are_drawn_together(tmp_path):
    for model, answer in (("a", ("1", 1)), ("b", ("0", 0))):
        write(tmp_path, model, [[answer, answer, ("1", 1), ("1", 1)]])
        path = tmp_path / f"{model}-0.jsonl"
        lines = [
            json.loads(line) | {"group": "one" if i < 2 else "other"}
            for i, line in enumerate(path.read_text().splitlines())
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    a, b = pair(tmp_path)
    assert compare(a, b)["interval"] == [0, 1]  # two documents: drawn are both, or one of them twice


def test_a_metric_of_one_s_own_is_the_mean_of_its_scores(tmp_path):
    rows, value = rows_of("closeness", [{"score": 0.75}, {"score": 0.25}])
    assert value(rows.sum(0)) == 0.5


def test_of_glue_the_mean_of_a_task_s_metrics_is_compared(tmp_path):
    for model, said in (("a", ["1", "1", "0"]), ("b", ["0", "0", "0"])):
        write(tmp_path, model, [[(each, float(each == "1")) for each in said]], "mrpc")
    found = compare(*pair(tmp_path))
    assert found["metric"] == "accuracy and f1"
    assert found["means"] == pytest.approx([(2 / 3 + 4 / 5) / 2, 0])


def test_the_bootstrap_agrees_with_the_normal_interval():
    gap = np.random.default_rng(1).normal(0.1, 1, 400)
    means = bootstrap(gap[:, None], lambda sums: sums[..., 0] / 400, samples=10_000)
    low, high = interval_of(means)
    error = gap.std() / 20
    assert (low, high) == pytest.approx((gap.mean() - 1.96 * error, gap.mean() + 1.96 * error), abs=0.01)
    from scipy.stats import ttest_1samp

    assert two_sided(means) == pytest.approx(ttest_1samp(gap, 0).pvalue, abs=0.02)


def test_the_command_prints_examples(tmp_path, capsys):
    write(write(tmp_path, "a", [[("Leth", 1.0)]], "squad", QUESTION, ["the Leth"]),
          "b", [[("Arl", 0.0)]], "squad", QUESTION, ["the Leth"])  # fmt: skip
    words = ["compare", f"{tmp_path}:a", f"{tmp_path}:b"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "squad, dev: 1 examples; A: a (1 runs), B: b (1 runs)" in out
    assert "\n\nx0: Which river passes the market of Town Two?\n" in out  # an empty line, which no screen escapes
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["only_a"] == 1
    assert cli.main(["compare", str(tmp_path), f"{tmp_path}:b"]) == 1
    assert f"name one model of {tmp_path} as {tmp_path}:MODEL, of a, b" in capsys.readouterr().err
    assert cli.main(["compare", str(tmp_path / "no"), f"{tmp_path}:b"]) == 1
    assert "has no results" in capsys.readouterr().err


def test_lines_show_options_as_texts_and_numbers_as_distances(tmp_path):
    for model, answer in (("a", (1, 1)), ("b", (0, 0))):
        write(tmp_path, model, [[answer]], "medqa", "Which?", 1, options=["the Arl", "the Leth"])
    lines = list(comparison_lines(compare(*pair(tmp_path)), 1))
    assert lines[-5:] == ["", "x0: Which?", "  gold: 1 the Leth", "  A, 100: 1 the Leth", "  B, 0: 0 the Arl"]
    for model, said in (("a", [1.0, 2.0, 3.5]), ("b", [3.0, 2.0, 1.5])):
        write(tmp_path / "numbers", model, [[(each, -0.5) for each in said]], "biosses")
        path = tmp_path / "numbers" / f"{model}-0.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line, gold in zip(lines, [1.0, 2.0, 3.0], strict=True):
            line |= {"gold": gold, "score": -abs(line["prediction"] - gold)}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = list(comparison_lines(compare(*pair(tmp_path / "numbers")), 1))
    assert lines[1].startswith("  pearson, in %: A 99.34, B -98.20")
    assert lines[2].startswith("  A - B: +197.54 (")
    assert lines[-2:] == ["  A, 0.00 from gold: 1.0", "  B, 2.00 from gold: 3.0"]
