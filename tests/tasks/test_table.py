"""The tables of tasks.toml: each can be read, and says what it must."""

import pytest

from linkbert.tasks.table import find_task, suite, tasks


def test_every_table_says_where_its_files_are_and_how_it_is_scored():
    for task in tasks().values():
        assert task.title, task.name
        assert task.metrics, task.name
        assert task.files, task.name


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'rte'"):
        find_task("rtee")
    with pytest.raises(ValueError, match="did you mean 'glue'"):
        suite("gleu")
