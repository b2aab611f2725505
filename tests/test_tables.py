"""Results written by hand, in the paper's tables; and the paper's own numbers."""

import json
import re

import pytest

from linkbert import cli
from linkbert.tasks.results import choose_scores, model_names, summary, variation
from linkbert.tasks.table import find_task, suite
from linkbert.views.page import Section, text_lines, write_report
from linkbert.views.tables import layouts, results_sections


def result(task, value, *, model="models/ours", seed=0, dev=None, **more):
    metrics = find_task(task).metrics
    scores = {"dev": dict.fromkeys(metrics, value if dev is None else dev), "test": dict.fromkeys(metrics, value)}
    line = {
        "key": f"{task} {model} {seed}", "task": task,
        "model": model, "model_hash": model, "seed": seed, "settings": {"epochs": 3}, "scores": scores,
        "groups": {}, "intervals": {each: {m: [value - 0.1, value + 0.1] for m in metrics} for each in scores},
        "baselines": {each: {"majority": dict.fromkeys(metrics, 0.5), "chance": dict.fromkeys(metrics, 0.25)}
                      for each in scores},
        "counts": {}, "hashes": {"train.tsv": "ab"}, "notes": [], "predictions": {},
    }  # fmt: skip
    return line | more


def rows(section):
    return {row[0]: list(row[1:]) for row in section.table}


def test_the_paper_s_averages_follow_from_its_scores():
    found = {layout.title.split(".")[0]: layout for layout in layouts()}
    assert list(found) == [f"Table {number}" for number in range(1, 10)]
    averages = {model: round(row[-1], 2) for model, row in found["Table 7"].paper.items()}
    assert averages == {"PubMedBERT-base": 81.10, "BioLinkBERT-base": 83.39, "BioLinkBERT-large": 84.30}
    mrqa = {"BERT-tiny": 50.0, "LinkBERT-tiny": 54.1, "BERT-base": 75.2, "LinkBERT-base": 77.8, "BERT-large": 78.5,
            "LinkBERT-large": 81.0}  # fmt: skip
    assert {model: float(f"{row[-1]:.1f}") for model, row in found["Table 1"].paper.items()} == mrqa
    assert found["Table 2"].paper["LinkBERT-large"][-1] == 81.1
    assert found["Table 8"].paper["BioLinkBERT-large"] == [44.6]
    for layout in found.values():
        assert all(len(row) == len(layout.columns) + layout.averaged for row in layout.paper.values()), layout.title


def test_the_paper_s_tables_agree_where_they_repeat_each_other():
    """A score of SQuAD stands in the tables 1, 3 and 6 alike; the rows of an ablation start from table 1."""
    one, _, three, _, five, six, *_ = layouts()
    for model, table in (
        ("LinkBERT-tiny", five),
        ("LinkBERT-base", six),
        ("LinkBERT-base", three),
        ("BERT-base", three),
    ):
        for column, value in zip(table.columns, table.paper[model], strict=True):
            if not column.variation:
                assert value == one.paper[model][one.columns.index(column)], (table.title, column.title)


def test_a_whole_suite_has_an_average_and_seeds_a_spread():
    results = [result(task.name, 0.6, seed=seed) for task in suite("glue") for seed in (0, 1)]
    results += [result("rte", 0.8, seed=2), result("rte", 0.9, model="b")]
    section = next(results_sections(results))
    found, head = rows(section), list(section.table[0])
    assert found["ours"][head.index("RTE") - 1] == "66.7 ± 11.5"  # by hand: 60, 60, 80
    assert head[:3] == ["model", "average", "runs"]  # in sight on a phone, too
    assert found["ours"][:2] == ["60.8", "3"]  # seven tasks of 60 and one of 66.7; RTE has other seeds, so no spread
    assert found["ours"][head.index("CoLA") - 1] == "60.0 ± 0.0 (2)"  # fewer runs than the row says
    assert found["b"][0] == "-"
    assert found["b"][head.index("CoLA") - 1] == "-"
    assert found["majority"][head.index("RTE") - 1] == "50.0"
    assert found["LinkBERT-base (paper)"][:2] == ["79.6", "-"]
    assert "on dev, the paper names no set" in section.lines[0]
    assert sum(name.endswith("(paper)") for name in found) == 6
    same = next(results_sections([each for each in results if each["seed"] < 2]))
    assert rows(same)["ours"][0] == "60.0 ± 0.0"


def test_settings_are_chosen_on_dev_and_never_on_test():
    results = [
        result("rte", 0.9, dev=0.5, settings={"epochs": 1}),
        result("rte", 0.6, dev=0.7, settings={"epochs": 2}),
        result("rte", 0.1, dev=0.99, model="b", settings={"epochs": 1}),  # one lucky seed
        *(result("rte", 0.5, dev=0.6, model="b", settings={"epochs": 3}, seed=seed) for seed in (0, 1)),
    ]
    ours, b = choose_scores(results)
    assert (ours.runs[0]["settings"], ours.others) == ({"epochs": 2}, 1)
    assert (b.runs[0]["settings"], len(b.runs)) == ({"epochs": 3}, 2)
    lines = next(results_sections(results)).lines
    assert "RTE: epochs 2 (ours), 3 (b)" in lines


def test_fine_tuning_prints_the_set_that_the_report_shows():
    lines = [result("stsb", 0.5, dev=0.7), result("medqa", 0.5, dev=0.7)]
    assert [line for line in summary(lines) if "run of" in line] == [
        "STS-B, dev, 1 run of models/ours", "MedQA-USMLE, test, 1 run of models/ours"
    ]  # fmt: skip
    assert [score.split for score in choose_scores(lines)] == ["dev", "test"]


def test_what_keeps_rows_from_being_compared_is_said():
    results = [
        result("chemprot", 0.6, notes=["dev: a split of our own"], scores={"dev": {"relation_f1": 0.6}}),
        result("chemprot", 0.7, model="b", hashes={"train.tsv": "cd"}),
    ]
    section = next(results_sections(results))
    assert set(section.lines) == {
        "ChemProt: dev: a split of our own", "ChemProt: scored on dev", "ChemProt: the file train.tsv ab (ours), cd (b)"
    }  # fmt: skip


def test_variations_and_sets_outside_the_paper_stand_apart():
    results = [
        result("rte", 0.6),
        result("rte", 0.5, settings={"epochs": 3, "fraction": 0.1}),
        result("sick-entailment", 0.7),
    ]
    glue, further, every = results_sections(results)
    assert rows(glue)["ours"][list(glue.table[0]).index("RTE") - 1] == "60.0"
    assert rows(further)["RTE fraction=0.1"] == ["50.0", "50.0", "25.0"]  # ours, majority, chance
    assert [row[0] for row in further.table] == ["model", "runs", "RTE fraction=0.1", "SICK entailment"]
    assert [row[5:7] for row in every.table if row[0] == "RTE"] == [["1", "50.0 to 70.0"]]
    assert variation({"fraction": 1.0, "distract": "", "epochs": 2}) == ""


def test_a_drop_is_by_seed_and_the_paper_s_stands_below_it():
    scores = [(0.9, 0.8, 0), (0.8, 0.76, 1)]
    results = [each for plain, distracted, seed in scores for each in (
        result("squad", plain, seed=seed),
        result("squad", distracted, seed=seed, settings={"distract": "1..2"}))]  # fmt: skip
    table = next(each for each in results_sections(results) if each.title.startswith("Table 3"))
    assert table.table[0] == ["model", "runs", "SQuAD", "SQuAD distract=1..2", "drop"]
    assert rows(table)["ours"][-1] == "-7.0 ± 4.2"  # of -10 and -4
    assert rows(table)["BERT-base (paper)"][-1] == "-2.8"


def test_a_base_sized_encoder_does_not_stand_under_tiny():
    results = [result("hotpotqa", 0.5, model=name, size=size) for name, size in
               (("a", "tiny"), ("b", "base"), ("my-tiny", ""), ("unknown", ""))]  # fmt: skip
    found = {each.title[:8]: each for each in results_sections(results)}
    assert [name for name in rows(found["Table 5."]) if "paper" not in name][1:4] == ["a", "my-tiny", "unknown"]
    assert [name for name in rows(found["Table 6."]) if "paper" not in name][1:3] == ["b", "unknown"]
    assert found["Table 6."].lines == ["unknown: of a size that its results do not have; these are base"]
    assert {"a", "b", "my-tiny", "unknown"} <= rows(found["Table 1."]).keys()


def test_gains_stand_beside_a_table_with_paired_intervals(tmp_path):
    """A base and a model that is better in 4 of 10 examples of the same ids, and worse in none."""
    results = []
    for model, right in (("base", 4), ("ours", 8)):
        lines = [{"id": str(i), "input": "?", "gold": "1", "prediction": "01"[i < right], "score": i < right}
                 for i in range(10)]  # fmt: skip
        (tmp_path / f"{model}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        results += [result(task.name, right / 10, model=model, folder=tmp_path, predictions={"dev": f"{model}.jsonl"})
                    for task in suite("glue") if task.metrics == ("accuracy",)]  # fmt: skip
    results += [result("rte", 0.5, seed=1, model="base", folder=tmp_path, predictions={"dev": "base.jsonl"})]
    results += [result("rte", 0.5, model="gone", folder=tmp_path, predictions={"dev": "gone.jsonl"})]
    _, gains, *_ = results_sections(results)
    assert gains.title == "Table 2: gains"
    assert gains.table[0] == ["gain over base, 2 runs", "ours, 1 run", "gone, 1 run"]
    cell = rows(gains)["RTE"][0]
    assert cell.startswith("+40.0 (+10.0 to +70.0)")
    assert rows(gains)["RTE"][1] == "-"
    assert gains.lines[0].endswith("as predictions are not there or of other examples: RTE of gone")
    assert cell.found["value"] == pytest.approx(40)
    assert "average" not in rows(gains)  # of a whole suite only


def test_types_few_shot_and_learning_curves_are_shown():
    kinds = {"test": {"": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "gold": 4, "found": 2}}}
    epochs = [{"rows": 8, "loss": 2.0, "dev": 0.1}, {"rows": 8, "loss": 1.0, "dev": 0.3}]
    results = [
        result("bc2gm", 0.3, types=kinds, epochs=epochs),
        result("bc2gm", 0.3, seed=1, types=kinds, epochs=[*epochs, {"rows": 8, "loss": 0.5}]),
        result("bc2gm", 0.2, settings={"fraction": 0.1}),
    ]
    *_, every = results_sections(results)
    assert ["BC2GM, entity", "ours", "test", "F1 (precision, recall)", "33.3 ± 0.0 (50.0 ± 0.0, 25.0 ± 0.0)",
            "2", "-", "-", "-"] in every.table  # fmt: skip
    plots = {plot.title: plot.lines["ours"] for plot in every.plots}
    assert plots["BC2GM: few-shot score, %"] == ([10, 100], [20, 30])
    assert [list(each) for each in plots["BC2GM: training loss"]] == [[1, 2, 3], [2.0, 1.0, 0.5]]
    assert list(plots["BC2GM: score on dev, %"][1]) == [10, 30]


def test_a_run_without_scores_is_named():
    (section,) = results_sections([result("rte", 0.6, scores={})])
    assert section == Section("Not scored", ["RTE: not scored, the labels of its only set are not public"])


def test_groups_are_listed_apart():
    groups = {"dev": {"2 hops": {"accuracy": 0.5}}}
    *_, every = results_sections([result("rte", 0.6, groups=groups), result("rte", 0.7, seed=1)])
    assert [[row[0], *row[4:6]] for row in every.table[1:]] == [
        ["RTE", "65.0 ± 7.1", "2"],
        ["RTE, 2 hops", "50.0", "1"],
    ]


def test_models_have_the_shortest_names_that_tell_them_apart():
    paths = ["runs/a/", "other/a", "b/model", "c", "c"]
    names = model_names({"model": path, "model_hash": f"{i}234567"} for i, path in enumerate(paths))
    assert list(names.values()) == ["runs/a", "other/a", "b", "c 323456", "c 423456"]


def test_three_forms_say_the_same(tmp_path, capsys):
    folder = tmp_path / "results"
    folder.mkdir()
    lines = [result("rte", 0.612), result("rte", 0.62, seed=1), result("medqa", 0.3)]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.main(["report", str(folder)]) == 0
    text = capsys.readouterr().out
    for name in ("page.html", "page.md"):
        assert cli.main(["report", str(folder), "--to", str(tmp_path / name)]) == 0
    page, markdown = ((tmp_path / name).read_text() for name in ("page.html", "page.md"))
    for form in (text, page, markdown):
        for words in ("Table 2. GLUE", "Table 8. MedQA-USMLE: accuracy", "61.6 ± 0.6", "LinkBERT-base (paper)", "44.6"):
            assert words in form
    assert "://" not in page
    assert len(set(map(len, re.findall(r"^(?:model|ours) .*", text, re.MULTILINE)[:2]))) == 1  # columns are aligned


def test_cells_are_escaped(tmp_path):
    section = Section("<T>", ["a < b"], table=[["model", "x|y"], ["<b>", "*1*"], ["other", "2"]])
    write_report([section], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert re.search("<th[^>]*>&lt;b&gt;</th>\n<td[^>]*>\\*1\\*</td>", page)
    assert "<h2>&lt;T&gt;</h2>" in page
    write_report([section], tmp_path / "page.md")
    page = re.sub(" +", " ", (tmp_path / "page.md").read_text())
    assert "| model | x\\|y |\n|:--------|-------:|\n| \\<b> | \\*1\\* |" in page
    assert list(text_lines(section)) == ["", "<T>", "model      x|y", "<b>        *1*", "other        2", "a < b"]
