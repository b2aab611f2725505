import hashlib
import json
import os

import pytest

from linkbert.config import Config
from linkbert.files import model_files, write_json
from linkbert.pretraining.card import push_model
from linkbert.pretraining.checkpoint import (
    best_checkpoint,
    checkpoint_folder,
    checkpoints,
    read_state,
    save_final_model,  # fmt: skip
)
from linkbert.pretraining.journal import Journal, check_same_run, read_journal, read_record, resume_words


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


def test_a_mixture_of_an_earlier_version_that_had_fewer_settings_goes_on(tmp_path):
    stores = {name: {"path": name, "fingerprint": "1", "weight": 0.5, "settings": {}} for name in "ab"}
    now = {"config": Config().model_dump(mode="json"), "stores": stores}
    before = {
        "config": {key: value for key, value in now["config"].items() if key != "held_out_links"},
        "stores": stores,
    }
    check_same_run(tmp_path, before, now)
    with pytest.raises(ValueError, match=r"started with alpha=1"):
        check_same_run(tmp_path, before, {**now, "config": now["config"] | {"alpha": 0}})


@pytest.mark.parametrize("line", ["{oops", "5", "{}"])
def test_a_line_that_is_no_record_is_refused(tmp_path, line):
    (tmp_path / "journal.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"journal\.jsonl is damaged"):
        read_journal(tmp_path / "journal.jsonl")


@pytest.mark.parametrize("line", ['{"step": null}', '{"step": "1"}', '{"step": [1]}', "[" * 100_000])
def test_a_line_whose_step_is_no_number_is_refused(tmp_path, line):
    (tmp_path / "journal.jsonl").write_text('{"step": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"journal\.jsonl(: step of line 2 is | is damaged: line 2 )"):
        read_journal(tmp_path / "journal.jsonl")


CONFIG = {"hidden_size": 8, "max_steps": 1, "seed": 1}
RECORD = {"format": 1, "created": "2026-01-01", "config": CONFIG, "store": {"path": "s"}, "resumed": []}


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 1}', '{"format": 1, "config": null, "store": {}}'])
def test_a_run_json_that_no_run_wrote_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is not of format 1; it is damaged"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": None}, "config is None. Input should be a valid dictionary"),
        ({"config": CONFIG | {"hidden_size": -1}}, "hidden_size must be greater than or equal to 1, got -1"),
        ({"config": CONFIG | {"shares": [None]}}, "shares must"),
        ({"config": CONFIG | {"seed": {}}}, "seed must"),
        ({"config": {}}, "config has no hidden_size"),
        ({"resumed": 3}, "resumed is 3. Input should be a valid list"),
        ({"created": None}, "created is None"),
        ({"store": "s"}, "store is 's'"),
        ({"store": {"path": ["s"]}}, r"store\.path is \['s'\]"),
        ({"store": {"fingerprint": "s"}}, r"store\.path is .*Field required"),
        ({"stores": {"a": {"path": "s", "weight": "much"}}}, r"stores\.a\.weight is 'much'"),
        ({"stores": [1]}, r"stores is \[1\]"),
    ],
)
def test_a_run_json_that_says_nonsense_is_one_line_with_file_and_key(tmp_path, change, message):
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    assert read_record(tmp_path) == RECORD
    (tmp_path / "run.json").write_text(json.dumps(RECORD | change))
    with pytest.raises(ValueError, match=r"run\.json: " + message) as refusal:
        read_record(tmp_path)
    assert "\n" not in str(refusal.value)


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


@pytest.mark.parametrize(
    "change", [{"step": -1}, {"step": 10**30}, {"step": None}, {"window": {}}, {"evaluation": [1]}]
)
def test_a_state_that_says_nonsense_is_one_line_with_its_file(tmp_path, change):
    (folder := tmp_path / "step-0000002" / "training").mkdir(parents=True)
    content = {"format": 1, "step": 2, "files": {}}
    (folder / "state.json").write_text(json.dumps(content))
    assert read_state(folder.parent).step == 2
    (folder / "state.json").write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=r"state\.json"):
        read_state(folder.parent)


@pytest.mark.parametrize("name", ["/dev/zero", "../../outside", "link", "device", "training"])
def test_a_state_hashes_nothing_outside_its_folder_and_no_device(tmp_path, name):
    (tmp_path / "outside").write_text("x")
    (folder := tmp_path / "run" / "step-0000002" / "training").mkdir(parents=True)
    (folder.parent / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(folder.parent / "device")
    size = (folder.parent / name).stat().st_size
    content = {"format": 1, "step": 2, "files": {name: {"bytes": size, "sha256": hashlib.sha256(b"x").hexdigest()}}}
    (folder / "state.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"leaves the folder|is not as it was written"):
        read_state(folder.parent)


def test_only_a_models_own_files_are_copied_and_uploaded(tmp_path, hub, caplog):
    (tmp_path / "id_rsa").write_text("secret")
    folder = tmp_path / "run" / "checkpoints" / "step-0000002"
    folder.mkdir(parents=True)
    for name in ("config.json", "notes.txt"):
        (folder / name).write_text("{}")
    for name in ("vocab.txt", "README.md", "model.safetensors"):
        (folder / name).symlink_to(tmp_path / "id_rsa")
    save_final_model(tmp_path / "run", 2)
    assert [path.name for path in (tmp_path / "run" / "model").iterdir()] == ["config.json"]
    assert "4 files are left out" in caplog.text
    with pytest.raises(ValueError, match="has no weights"):
        push_model(folder, "org/mine", {})
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"x")
    push_model(folder, "org/mine", {})
    names = {path.name for path in (hub / "org" / "mine").iterdir()}
    assert names == {"config.json", "README.md", "model.safetensors"}
    assert "secret" not in (hub / "org" / "mine" / "README.md").read_text()
    snapshot = tmp_path / "cache" / "snapshots" / "0a"
    snapshot.mkdir(parents=True)
    (tmp_path / "cache" / "blobs").mkdir()
    (tmp_path / "cache" / "blobs" / "1").write_text("words")
    (snapshot / "vocab.txt").symlink_to("../../blobs/1")
    (snapshot / "config.json").symlink_to(tmp_path / "id_rsa")
    assert [path.name for path in model_files(snapshot)] == ["vocab.txt"]


DAMAGED = [{"step": 2, "mlm_loss": value} for value in ("low", None, float("nan"), float("-inf"), -(10**400), [0.1])]
DAMAGED += [{"step": value, "mlm_loss": 0.1} for value in ("2", 10**400, None)] + [None, [], {}, 7, {"step": 2}]


@pytest.mark.parametrize("evaluation", DAMAGED)
def test_the_best_checkpoint_is_one_whose_numbers_are_numbers(tmp_path, evaluation):
    """A damaged one would be kept for ever, or end the run."""
    for step, own in ((1, {"step": 1, "mlm_loss": 0.5}), (2, evaluation), (3, {"step": 3, "mlm_loss": 0.7})):
        state = {"format": 1, "step": step, "files": {}, "evaluation": own}
        write_json(checkpoint_folder(tmp_path, step) / "training" / "state.json", state)
    assert best_checkpoint(checkpoints(tmp_path)) == checkpoint_folder(tmp_path, 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("step", value) for value in (-1, True)),
        ("planned", 10**30),
        ("elapsed", float("nan")),
        *(("trained", value) for value in (float("inf"), -1.0)),
        *(("relations", value) for value in ([1, 2], [1, 2, "x"])),
        ("norms", [float("nan")]),
        ("scale", 0),
        ("window", [10**400]),
    ],
)
def test_a_state_whose_numbers_are_none_is_one_line_with_its_key(tmp_path, key, value):
    state = {"format": 1, "step": 1, "files": {}} | {key: value}
    write_json(checkpoint_folder(tmp_path, 1) / "training" / "state.json", state)
    with pytest.raises(ValueError, match=rf"state\.json: {key}"):
        read_state(checkpoint_folder(tmp_path, 1))
