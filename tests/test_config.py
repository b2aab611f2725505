import copy
import re
from pathlib import Path

import pytest
from pydantic import create_model

from linkbert.config import OLD_NAMES, Config, Settings, choose_config, make_config, presets
from linkbert.instances.parts import Part, read_mix
from linkbert.tasks.settings import FineTuneConfig

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


@pytest.mark.parametrize("preset", [None, *presets()])
def test_every_preset_survives_json(preset):
    config = make_config(preset)
    assert Config(**config.model_dump(mode="json")) == config


def test_presets_carry_the_paper_numbers():
    tiny, base, bio = make_config("tiny", ["recipe=paper"]), make_config("base"), make_config("bio-large")
    assert (tiny.num_hidden_layers, tiny.hidden_size, tiny.max_steps, tiny.batch_size, tiny.learning_rate) == (
        2,
        128,
        10_000,
        2048,
        5e-3,
    )
    assert (base.num_hidden_layers, base.hidden_size, base.max_steps, base.learning_rate, base.warmup_steps) == (
        12,
        768,
        40_000,
        3e-4,
        5000,
    )
    assert (bio.num_hidden_layers, bio.batch_size, bio.learning_rate, bio.warmup_steps) == (24, 8192, 4e-4, 0.2)
    assert {(c.adam_beta1, c.adam_beta2, c.weight_decay) for c in (tiny, base, bio)} == {(0.9, 0.98, 0.01)}


def test_words_override_the_preset_and_the_last_word_wins():
    config = make_config("tiny", ["max_steps=1e2", "shares=1/2,1/4,1/4", "masking=word", "max_steps=7"])
    assert (config.max_steps, config.shares, config.masking) == (7, (0.5, 0.25, 0.25), "word")


def test_baseline_bert_is_nsp_without_links():
    assert make_config("tiny", ["baseline=bert"]) == make_config("tiny", ["objective=nsp", "shares=1/2,1/2,0"])


def test_a_recipe_gives_a_preset_as_the_paper_has_it(monkeypatch):
    tables = {"tiny": {"steps": 7, "learning_rate": 1e-3, "paper": {"learning_rate": 5e-3}}}
    monkeypatch.setattr("linkbert.config.presets", lambda: copy.deepcopy(tables))
    assert make_config("tiny").learning_rate == 1e-3
    assert make_config("tiny", ["max_steps=9", "recipe=paper"]) == Config(max_steps=9, learning_rate=5e-3)
    assert make_config("tiny", ["learning_rate=2", "recipe=paper"]).learning_rate == 2


def test_words_of_an_earlier_version_are_understood():
    old = {"objective": "mlm", "whole_word": True, "steps": 9}
    assert Config(**old) == Config(objective="none", masking="word", max_steps=9)
    assert Config(whole_word=False) == Config()


def test_an_option_of_a_plugin_may_have_the_old_name_of_a_setting():
    kind = create_model("Options", __base__=Settings, steps=(int, 3))
    assert kind.from_words(["steps=4"]).steps == 4
    assert kind(steps=5).replace(steps=6).steps == 6


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("steps", "settings are written key=value"),
        ("max_steps=many", "max_steps must be a valid integer, got many"),
        ("max_steps=1.5", "max_steps must be a valid integer, got 1.5"),
        ("max_steps=1e30", "max_steps must be an integer, got 1e+30"),
        ("spike=0.5", "spike must be 0, or above 1"),
        ("max_steps=0", "must be greater than or equal to 1, got 0"),
        ("scope=paragraph", "scope must be auto, segment or document, got paragraph"),
        ("shares=1,1,1", "sum to 1"),
        ("shares=5", "sum to 1"),
        ("shares=1/2,1/4,1/8,1/8", "shares must be at most 3 items"),
        ("shares=1/0,0,0", "shares must be a valid number, got 1/0"),
        ("recipe=paper", "together with --preset"),
        ("lr_scheduler_type=cosine", "must be linear, constant_with_warmup or warmup_stable_decay"),
        ("decay_ratio=1.5", "must be less than 1"),
        ("baseline=gpt", "baseline=bert"),
        ("objective=nsp", "without a linked share"),
        ("num_attention_heads=3", "a divisor of hidden"),
    ],
)
def test_a_wrong_word_says_what_and_how_to_mend_it(word, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make_config(None, [word])
    assert "\n" not in str(caught.value)


def test_shares_of_another_type_are_one_line():
    with pytest.raises(ValueError, match=r"^shares must be a valid tuple, got 5$"):
        Config(shares=5)


def test_a_mixture_is_read_with_the_settings_of_each_store():
    words = ["max_steps=9", "books.shares=1/2,1/2,0", "wiki.held_out=0", "./store.d", "learning_rate=0.5"]
    parts, rest = read_mix(["books=./b:1/5", "wiki=a/b:c:0.8"], words)
    assert rest == ["max_steps=9", "./store.d", "learning_rate=0.5"]
    assert parts == [
        Part("books", Path("b"), 0.2, {"shares": (0.5, 0.5, 0.0)}),
        Part("wiki", Path("a/b:c"), 0.8, {"held_out": 0.0}),
    ]
    assert parts[0].config(Config(max_steps=9)) == Config(steps=9, shares=(0.5, 0.5, 0.0))
    assert read_mix(["wiki=/x:y"], [])[0] == [Part("wiki", Path("/x:y"))], "a colon without a number is the path's"


def test_what_is_not_said_of_a_mixture_is_as_it_was():
    before = {"wiki": {"path": "/w", "weight": 0.8, "settings": {"alpha": 0.5, "shares": [0.5, 0.5, 0.0]}}}
    assert read_mix(["wiki=/new"], ["wiki.alpha=1"], before=before)[0] == [
        Part("wiki", Path("/new"), 0.8, {"alpha": 1.0, "shares": (0.5, 0.5, 0.0)})
    ]


@pytest.mark.parametrize(
    ("mix", "word", "message"),
    [
        ("wiki", "", "--mix wiki cannot be read: it takes NAME=STORE"),
        ("=store", "", "cannot be read"),
        ("a.b=store", "", "cannot be read"),
        ("wiki=", "", "cannot be read"),
        ("wiki=a:0", "", "a weight is a number above 0"),
        ("wiki=a:-1", "", "a weight is a number above 0"),
        ("books=b", "", "names two stores 'books'"),
        ("wiki=a", "wike.alpha=1", "no store of --mix is called 'wike'; did you mean 'wiki'?"),
        (
            "wiki=a",
            "wiki.shraes=1",
            "unknown setting 'wiki.shraes', not one of a single store; did you mean 'shares'?",
        ),
        ("wiki=a", "wiki.steps=1", "unknown setting 'wiki.steps', not one of a single store"),
        ("wiki=a", "wiki.shares=x", "wiki.shares must be a valid number, got x"),
    ],
)
def test_a_wrong_mixture_says_what_and_how_to_mend_it(mix, word, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_mix(["books=b", mix], [word])
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        make_config("tinny")


def settings_page():
    """Write docs/settings.md from the settings themselves."""
    old = {}
    for name, new in OLD_NAMES.items():
        old.setdefault(new, []).append(f"`{name}`")
    lines = [
        "# Settings",
        "",
        "Made from the code by `python tests/test_config.py`; a test compares. Values are those of no preset.",
        "",
    ]
    for command, kind in (("pretrain", Config), ("finetune, evaluate", FineTuneConfig)):
        lines += [f"## linkbert {command}", ""]
        for heading, rows in kind().describe().items():
            lines += [
                f"### {heading.removesuffix(' (key=value)')}",
                "",
                "| setting | meaning | also read as |",
                "|---|---|---|",
            ]
            for word, meaning in rows:
                also = ", ".join(old.get(word.partition("=")[0], []))
                lines.append(f"| `{word}` | {meaning.replace('|', ' / ')} | {also} |")
            lines.append("")
    return "\n".join(lines)


def test_the_page_of_settings_is_that_of_the_code():
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "run python tests/test_config.py"


@pytest.mark.parametrize("kind", [Config, FineTuneConfig])
def test_every_setting_has_a_meaning(kind):
    table = kind().describe()
    rows = [row for each in table.values() for row in each]
    assert sorted(word.partition("=")[0] for word, _ in rows) == sorted(kind.model_fields)
    assert all(len(meaning) > 9 for _, meaning in rows)
    assert len(next(iter(table.values()))) >= 7, "those that people change first"


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("on", True), ("1", True), ("False", False), ("off", False), ("0", False)]
)
def test_a_switch_is_written_as_people_write_it(word, value):
    assert make_config(None, [f"keep_best={word}", f"gradient_checkpointing={word}"]) == Config(
        keep_best=value, gradient_checkpointing=value
    )


def test_a_switch_that_is_no_switch_is_refused():
    with pytest.raises(ValueError, match="keep_best must be a valid boolean, got maybe"):
        make_config(None, ["keep_best=maybe"])


def test_a_recipe_of_the_preset_that_is_not_named_is_part_of_the_record():
    config, preset = choose_config(None, ["recipe=paper", "seed=3"], {})
    assert preset == "tiny recipe=paper"
    before = {"config": config.model_dump(), "preset": preset}
    for named, words in ((None, []), (None, ["recipe=paper"]), ("tiny", []), ("tiny", ["recipe=paper"])):
        assert choose_config(named, words, before) == (config, preset)
    assert choose_config(None, [], before | {"preset": ""}) == (config, ""), "a run of a whole Config has no preset"


def test_a_run_cannot_choose_the_code_that_is_imported():
    before = {"config": {"objective": "evil:OBJECTIVE"}}
    with pytest.raises(ValueError, match="give objective=evil:OBJECTIVE again"):
        choose_config(None, [], before)
    assert choose_config(None, ["objective=evil:OBJECTIVE"], before)[0].objective == "evil:OBJECTIVE"


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
