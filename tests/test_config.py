import dataclasses
import re

import pytest

from linkbert.config import Config, describe, from_dict, make_config, presets, to_dict


@pytest.mark.parametrize("preset", [None, *presets()])
def test_every_preset_survives_json(preset):
    config = make_config(preset)
    assert from_dict(to_dict(config)) == config


def test_presets_carry_the_paper_numbers():
    tiny, base, bio = make_config("tiny"), make_config("base"), make_config("bio-large")
    assert (tiny.layers, tiny.hidden, tiny.steps, tiny.batch_size, tiny.learning_rate) == (2, 128, 10_000, 2048, 5e-3)
    assert (base.layers, base.hidden, base.steps, base.learning_rate, base.warmup) == (12, 768, 40_000, 3e-4, 5000)
    assert (bio.layers, bio.batch_size, bio.learning_rate, bio.warmup) == (24, 8192, 4e-4, 0.2)
    assert {(c.beta1, c.beta2, c.weight_decay) for c in (tiny, base, bio)} == {(0.9, 0.98, 0.01)}


def test_words_override_the_preset_and_the_last_word_wins():
    config = make_config("tiny", ["steps=1e2", "shares=1/2,1/4,1/4", "whole_word=yes", "steps=7"])
    assert (config.steps, config.shares, config.whole_word) == (7, (0.5, 0.25, 0.25), True)


def test_baseline_bert_is_nsp_without_links():
    assert make_config("tiny", ["baseline=bert"]) == make_config("tiny", ["objective=nsp", "shares=1/2,1/2,0"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("steps", "settings are written key=value"),
        ("steps=many", "steps=many cannot be read"),
        ("steps=1.5", "steps=1.5 cannot be read"),
        ("steps=0", "must be 1 or more"),
        ("scope=paragraph", "one of segment, document"),
        ("shares=1,1,1", "sum to 1"),
        ("shares=1/0,0,0", "cannot be read"),
        ("baseline=gpt", "baseline=bert"),
        ("objective=nsp", "without a linked share"),
        ("heads=3", "a divisor of hidden"),
    ],
)
def test_a_wrong_word_says_what_and_how_to_mend_it(word, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make_config(None, [word])
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        make_config("tinny")


def test_every_knob_has_a_meaning():
    table = describe()
    assert [name for name, _, _ in table] == [item.name for item in dataclasses.fields(Config)]
    assert all(meaning for _, _, meaning in table)
