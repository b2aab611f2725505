"""A WordPiece vocabulary: from a file, a folder, a hub name, or trained on a store's text; ids, and a tokenizer, go out.

Whatever it came from, a vocabulary is a list of tokens and three switches of BERT's normaliser, saved as `vocab.txt` and
`tokenizer_config.json`: the two files that Hugging Face's BertTokenizerFast opens. The tokenizers made here read text
that happens to spell "[MASK]" or "[SEP]" as text: no special token can come out of a corpus.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from linkbert.files import read_json, replacing, write_json

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNK, CLS, SEP, MASK)
LONGEST_WORD = 100  # characters; BERT reads a longer word as [UNK]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens in the order of their ids, and how text is normalised before it is looked up.

    `strip_accents=None` is BERT's own rule: accents go where capitals go.
    """

    tokens: tuple[str, ...]
    lowercase: bool = True
    strip_accents: bool | None = None
    chinese_characters: bool = True

    def __post_init__(self) -> None:
        missing = [token for token in SPECIAL if token not in self.ids]
        if missing:
            raise ValueError(f"the vocabulary has no {', '.join(missing)}: a BERT vocabulary holds {' '.join(SPECIAL)}")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token."""
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def continues(self) -> np.ndarray:
        """Whether each token goes on with the word before it ("##ing"): bool (size,)."""
        return np.array([token.startswith("##") and len(token) > 2 for token in self.tokens])

    @property
    def sha256(self) -> str:
        """The hash of `vocab.txt` as `save` writes it; hexadecimal."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    @property
    def _text(self) -> str:
        return "".join(f"{token}\n" for token in self.tokens)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """A tokenizer of plain text: no [CLS] or [SEP] is added, and none is found in the text."""
        return _tokenizer(self.ids, self)

    def save(self, folder: Path) -> None:
        """Write the folder that `load_folder` and Hugging Face's BertTokenizerFast and AutoTokenizer open."""
        with replacing(folder) as part:
            part.mkdir()
            (part / "vocab.txt").write_bytes(self._text.encode())
            settings = {
                "tokenizer_class": "BertTokenizer",
                "do_lower_case": self.lowercase,
                "strip_accents": self.strip_accents,
                "tokenize_chinese_chars": self.chinese_characters,
                **{f"{token[1:-1].lower()}_token": token for token in SPECIAL},
            }
            write_json(part / "tokenizer_config.json", settings)


def _tokenizer(ids: dict[str, int], rules: Vocabulary | Any) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNK, max_input_chars_per_word=LONGEST_WORD))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=rules.chinese_characters,
        strip_accents=rules.strip_accents,
        lowercase=rules.lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def load_folder(folder: Path) -> Vocabulary:
    """Load a folder that holds `vocab.txt`, with the switches of its `tokenizer_config.json` where there is one."""
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    tokens = tuple(text.removesuffix("\n").split("\n"))
    settings = read_json(folder / "tokenizer_config.json")
    return Vocabulary(tokens, settings["do_lower_case"], settings["strip_accents"], settings["tokenize_chinese_chars"])
