"""The tables of tasks.toml: each can be read, says what it must, and stands in docs/tasks.md as it is.

`python tests/tasks/test_table.py` writes the tables of docs/tasks.md anew.
"""

from pathlib import Path

import pytest

from linkbert.tasks.examples import TextExample
from linkbert.tasks.kinds import kind_of
from linkbert.tasks.splits import FORMATS, find_files
from linkbert.tasks.table import find_task, find_tasks, make_task, models_of, suite, tasks

DOCS = Path(__file__).parents[2] / "docs" / "tasks.md"
START = "<!-- from tasks.toml, by tests/tasks/test_table.py -->\n"
SUITES = {"mrqa": "MRQA", "glue": "GLUE", "blurb": "BLURB", "medqa": "MedQA", "mmlu": "MMLU", "further": "Further sets"}


def written_out():
    """Write every table of tasks.toml as rows of Markdown, by suite."""
    parts = [START]
    for key, title in SUITES.items():
        parts.append(
            f"\n## {title}\n\n| task | files | form | scored by | where, licence | |\n|---|---|---|---|---|---|\n"
        )
        for task in (task for task in tasks().values() if task.suite == key):
            sets = [
                f"{split}: {' or '.join(each if isinstance(each, str) else ' + '.join(each) for each in found)}"
                for split, found in task.files.items()
            ]
            shares = ", ".join(
                f"{split} {share:.0%}" for split, share in task.split.items() if not isinstance(share, str)
            )
            notes = [task.note] if task.note else []
            if shares:
                notes.append(f"if missing: {shares} of {task.split['from']}, by {task.split.get('by', 'id')}")
            if task.model_of:
                notes.append("model of " + " or ".join(f"`{name}`" for name in task.model_of))
            cells = (
                f"{task.title} `{task.name}`",
                "; ".join(sets),
                f"{task.kind}, {task.format}",
                ", ".join(task.metrics),
                f"{task.where}{f' or `{task.hub}`' * bool(task.hub)}; {task.licence}",
                "; ".join(notes),
            )
            parts.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n")
    return "".join(parts)


def test_every_table_says_where_its_files_are_and_how_it_is_scored():
    for task in tasks().values():
        assert task.title, task.name
        assert task.metrics, task.name
        assert task.files, task.name
        assert task.where, task.name
        assert task.licence, task.name
        assert {task.format, *(form.get("format", task.format) for form in task.options.get("forms", {}).values())} <= {
            *FORMATS,
        }
        assert all(find_task(name).files.get("train") or find_task(name).split for name in task.model_of)


def test_the_documentation_has_every_table_as_it_is():
    assert DOCS.read_text(encoding="utf-8").endswith(written_out()), "run python tests/tasks/test_table.py"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'rte'"):
        find_task("rtee")
    with pytest.raises(ValueError, match="did you mean 'glue'"):
        suite("gleu")


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": {"train": "x.tsv"}}, {"files": {"train": 3}}, {"files": 3}, {"split": 3}, {"metrics": "accuracy"},
        {"options": {"columns": 3}}, {"options": 3}, {"kind": 1}, {"kind": {"a": {}}}, {"suite": []}, {"settings": 1},
        {"authors": "x", "kind": "a:b"},
    ],
)  # fmt: skip
def test_values_of_a_wrong_type_are_one_line(wrong):
    table = {"kind": "text", "format": "tsv", "metrics": ["accuracy"], "files": {"train": ["x.tsv"]}} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))) as error:
        make_task("own", table, "own.toml: [own]")
    assert str(error.value).startswith("own.toml: [own]")
    assert "\n" not in str(error.value)


def test_tables_of_ones_own_name_each_others_models_and_lack_nothing_in_silence(tmp_path):
    table = '[%s]\nkind = "text"\nformat = "tsv"\nmetrics = ["pearson"]\nfiles = { %s = ["a.tsv"] }\n'
    table += 'options.columns = { a = "t", label = "c" }\n'
    (tmp_path / "own.toml").write_text(table % ("first", "train") + table % ("second", "test") + 'model_of = ["first"]')
    first, second = find_tasks(f"{tmp_path}/own.toml")
    assert models_of(second) == [first]
    (tmp_path / "a.tsv").write_text("t\tc\na\tred\nb\tblue\n")
    with pytest.raises(ValueError, match=r'first: its table names no dev set: give it files = \{ dev = \["FILE"\] \}'):
        find_files(first, tmp_path)
    with pytest.raises(ValueError, match=r"a.tsv is no FILE.toml with tables of datasets"):
        find_tasks(f"{tmp_path}/a.tsv:first")
    examples = [TextExample("1", "a", label="red"), TextExample("2", "b", label="blue")]
    with pytest.raises(ValueError, match="first: pearson cannot score the label 'red' of example 1"):
        kind_of(first).check_labels(examples, ("blue", "red"))


if __name__ == "__main__":
    head = DOCS.read_text(encoding="utf-8").partition(START)[0]
    DOCS.write_text(head + written_out(), encoding="utf-8")
