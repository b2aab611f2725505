import pytest

from linkbert.pretraining.journal import Journal, read_journal, read_record, resume_words


def test_what_is_written_is_read(tmp_path):
    entries = [{"step": 1, "mlm_loss": 0.1 + 0.2}, {"step": 2, "evaluation": {"a": {"value": 1}, "few": ["x"]}}]
    with Journal(tmp_path) as journal:
        for entry in entries:
            journal.write(entry)
    assert read_journal(tmp_path / "journal.jsonl") == entries


def test_later_lines_and_torn_lines_are_cut(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 2, "evaluation": {}}\n{"step": 3}\n{"ste')
    for step, kept in ((2, '{"step": 1}\n{"step": 2}\n{"step": 2, "evaluation": {}}\n'), (0, "")):
        with Journal(tmp_path, step=step):
            assert path.read_text() == kept


@pytest.mark.parametrize("line", ["{oops", "5", "{}"])
def test_a_line_that_is_no_record_is_refused(tmp_path, line):
    (tmp_path / "journal.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"journal\.jsonl is damaged"):
        read_journal(tmp_path / "journal.jsonl")


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 1}', '{"format": 1, "config": null, "store": {}}'])
def test_a_run_json_that_no_run_wrote_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is not of format 1; it is damaged"):
        read_record(tmp_path)


def test_tensorboard_reads_what_the_journal_says(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Journal(tmp_path) as journal:
        for step in (1, 2, 3):
            journal.write({"step": step, "mlm_loss": step / 2, "relation_losses": {"linked": 1}})
            journal.write({"step": step, "evaluation": {"mlm_accuracy": {"value": 1, "low": 0}, "pairs": 9}})
    with Journal(tmp_path, step=2) as journal:
        journal.write({"step": 3, "mlm_loss": 0.25})
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("train/mlm_loss")] == [(1, 0.5), (2, 1.0), (3, 0.25)]
    assert [event.step for event in board.Scalars("eval/mlm_accuracy")] == [1, 2]
    assert sorted(board.Tags()["scalars"]) == ["eval/mlm_accuracy", "train/mlm_loss"], "a few curves, in groups"


def test_code_of_ones_own_is_named_again_when_a_run_is_resumed():
    assert [resume_words(name) for name in ("drp", "m:OBJ")] == ["--resume", "--resume objective=m:OBJ"]
