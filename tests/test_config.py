import copy
import dataclasses
import re
from pathlib import Path

import pytest

from linkbert.config import Config, FineTune, Part, describe, from_dict, make_config, presets, read_mix, to_dict


@pytest.mark.parametrize("preset", [None, *presets()])
def test_every_preset_survives_json(preset):
    config = make_config(preset)
    assert from_dict(to_dict(config)) == config


def test_presets_carry_the_paper_numbers():
    tiny, base, bio = make_config("tiny", ["recipe=paper"]), make_config("base"), make_config("bio-large")
    assert (tiny.layers, tiny.hidden, tiny.steps, tiny.batch_size, tiny.learning_rate) == (2, 128, 10_000, 2048, 5e-3)
    assert (base.layers, base.hidden, base.steps, base.learning_rate, base.warmup) == (12, 768, 40_000, 3e-4, 5000)
    assert (bio.layers, bio.batch_size, bio.learning_rate, bio.warmup) == (24, 8192, 4e-4, 0.2)
    assert {(c.beta1, c.beta2, c.weight_decay) for c in (tiny, base, bio)} == {(0.9, 0.98, 0.01)}


def test_words_override_the_preset_and_the_last_word_wins():
    config = make_config("tiny", ["steps=1e2", "shares=1/2,1/4,1/4", "masking=word", "steps=7"])
    assert (config.steps, config.shares, config.masking) == (7, (0.5, 0.25, 0.25), "word")


def test_baseline_bert_is_nsp_without_links():
    assert make_config("tiny", ["baseline=bert"]) == make_config("tiny", ["objective=nsp", "shares=1/2,1/2,0"])


def test_a_recipe_gives_a_preset_as_the_paper_has_it(monkeypatch):
    tables = {"tiny": {"steps": 7, "learning_rate": 1e-3, "paper": {"learning_rate": 5e-3}}}
    monkeypatch.setattr("linkbert.config.presets", lambda: copy.deepcopy(tables))
    assert make_config("tiny").learning_rate == 1e-3
    assert make_config("tiny", ["steps=9", "recipe=paper"]) == Config(steps=9, learning_rate=5e-3)
    assert make_config("tiny", ["learning_rate=2", "recipe=paper"]).learning_rate == 2


def test_words_of_an_earlier_version_are_understood():
    old = {"objective": "mlm", "whole_word": True, "steps": 9}
    assert from_dict(old) == Config(objective="none", masking="word", steps=9)
    assert from_dict({"whole_word": False}) == Config()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("steps", "settings are written key=value"),
        ("steps=many", "steps=many cannot be read"),
        ("steps=1.5", "steps=1.5 cannot be read"),
        ("steps=1e30", "it must be below 2^63"),
        ("spike=0.5", "it must be 0, or above 1"),
        ("steps=0", "must be 1 or more"),
        ("scope=paragraph", "one of segment, document"),
        ("shares=1,1,1", "sum to 1"),
        ("shares=1/0,0,0", "cannot be read"),
        ("recipe=paper", "beside a preset"),
        ("schedule=cosine", "one of linear, constant, wsd"),
        ("decay=1.5", "between 0 and 1"),
        ("baseline=gpt", "baseline=bert"),
        ("objective=nsp", "without a linked share"),
        ("heads=3", "a divisor of hidden"),
    ],
)
def test_a_wrong_word_says_what_and_how_to_mend_it(word, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make_config(None, [word])
    assert "\n" not in str(caught.value)


def test_a_mixture_is_read_with_the_settings_of_each_store():
    words = ["steps=9", "books.shares=1/2,1/2,0", "wiki.held_out=0", "./store.d", "learning_rate=0.5"]
    parts, rest = read_mix(["books=./b:1/5", "wiki=a/b:c:0.8"], words)
    assert rest == ["steps=9", "./store.d", "learning_rate=0.5"]
    assert parts == [
        Part("books", Path("b"), 0.2, {"shares": (0.5, 0.5, 0.0)}),
        Part("wiki", Path("a/b:c"), 0.8, {"held_out": 0.0}),
    ]
    assert parts[0].config(Config(steps=9)) == Config(steps=9, shares=(0.5, 0.5, 0.0))
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
        ("wiki=a:1/0", "", "a weight is a number above 0"),
        ("books=b", "", "names two stores 'books'"),
        ("wiki=a", "wike.alpha=1", "no store of --mix is called 'wike'; did you mean 'wiki'?"),
        (
            "wiki=a",
            "wiki.shraes=1",
            "unknown setting 'wiki.shraes', not one that a store can have; did you mean 'shares'?",
        ),
        ("wiki=a", "wiki.steps=1", "unknown setting 'wiki.steps', not one that a store can have"),
        ("wiki=a", "wiki.shares=x", "wiki.shares=x cannot be read"),
    ],
)
def test_a_wrong_mixture_says_what_and_how_to_mend_it(mix, word, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_mix(["books=b", mix], [word])
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        make_config("tinny")


@pytest.mark.parametrize("kind", [Config, FineTune])
def test_every_knob_has_a_meaning(kind):
    table = describe(kind)
    assert [name for name, _, _ in table] == [item.name for item in dataclasses.fields(kind)]
    assert all(meaning for _, _, meaning in table)


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("on", True), ("1", True), ("False", False), ("off", False), ("0", False)]
)
def test_a_switch_is_written_as_people_write_it(word, value):
    assert make_config(None, [f"keep_best={word}", f"recompute={word}"]) == Config(keep_best=value, recompute=value)


def test_a_switch_that_is_no_switch_is_refused():
    with pytest.raises(ValueError, match="keep_best=maybe cannot be read: keep_best takes a value such as true"):
        make_config(None, ["keep_best=maybe"])
