import functools
import json
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side, on tensors too small to share; torch is not loaded yet
    os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("helpers")
LINES = ["A quick fox, a fox: foxs (fox) and quick foxes; isn't it?\nCafé 東京 today."] * 9


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("LINKBERT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "corpora").is_dir():
        pytest.skip(f"real data is not at {folder} (set LINKBERT_DATA)")
    return folder


@pytest.fixture(scope="session")
def other_vocabulary():
    """Train a byte-level BPE with RoBERTa's special tokens ("bpe"), or Unigram pieces with DeBERTa's ("unigram")."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    from linkbert.instances.vocabulary import load_tokenizer

    @functools.cache
    def train(kind, words=()):
        lines = [*LINES, *(f"{word} {word}." for word in words for _ in range(9))]
        if kind == "bpe":
            tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
            special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
            letters = pre_tokenizers.ByteLevel.alphabet()
            trainer = trainers.BpeTrainer(
                vocab_size=600, special_tokens=special, initial_alphabet=letters, show_progress=False
            )
        else:
            tokenizer = Tokenizer(models.Unigram())
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
            tokenizer.decoder = decoders.Metaspace()
            special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
            trainer = trainers.UnigramTrainer(
                vocab_size=200, special_tokens=special, unk_token="[UNK]", show_progress=False
            )
        tokenizer.train_from_iterator(lines, trainer)
        return load_tokenizer(json.loads(tokenizer.to_str()))

    return train


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Start a stand-in for the Hugging Face hub on the loopback; give its folder of repositories, ORG/NAME."""
    from hub import stand_in_hub

    with stand_in_hub(tmp_path, monkeypatch) as root:
        yield root
