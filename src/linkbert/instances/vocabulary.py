"""A vocabulary: from a file, a folder, a hub name, or trained on a store's text; a tokenizer goes out.

WordPieces are a list of tokens and three switches of BERT's normaliser, saved as `vocab.txt` and
`tokenizer_config.json`. Any other vocabulary (byte-level BPE, Unigram pieces) is its `tokenizer.json`, kept as it is.
The tokenizers made here read "[MASK]" or "</s>" in a text as text: no special token can come out of a corpus.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from linkbert.config import check_content
from linkbert.files import below, fetch_from_hub, one_line, read_json, read_small, refuse_pointer, replacing, write_json

if TYPE_CHECKING:
    from linkbert.corpora.store import Store

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNK, CLS, SEP, MASK)
ROBERTA = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")  # the same, as RoBERTa names them
SMALLEST, LARGEST = 100, 10_000_000  # tokens of a trained vocabulary
TRAINED_ON = 1 << 29  # compressed bytes of documents, some 1.5 GB of text
PATIENCE, PACE = 60, 10_000  # seconds for a call of a tokenizer of others, and one more for so many characters
LONGEST_WORD = 100  # characters; BERT reads a longer word as [UNK]
GROWTH = 1_000  # how many times longer a normalizer may make a text
KNOWN = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "added_tokens.json")
SWITCHES = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}  # as the tokenizers library names them
SWITCHES |= {"tokenize_chinese_chars": "handle_chinese_chars"}

log = logging.getLogger(__name__)
say_once = cache(log.warning)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens in the order of their ids, and how text is normalised before it is looked up.

    `strip_accents=None`: where capitals go. `definition` is the tokenizer.json of one that is not BERT's.
    """

    tokens: tuple[str, ...]
    lowercase: bool = True
    strip_accents: bool | None = None
    chinese_characters: bool = True
    special: tuple[str, ...] = SPECIAL
    definition: str = ""

    def __post_init__(self) -> None:
        if missing := [token for token in self.special if token not in self.ids]:
            known = f"{' '.join(SPECIAL)}, or as RoBERTa ({' '.join(ROBERTA)}) or tokenizer_config.json names them"
            raise ValueError(f"the vocabulary has no {', '.join(missing)}: it must hold {known}")
        if len(self.tokens) == len(SPECIAL):
            raise ValueError("the vocabulary has no token but the special ones: no text could be written with it")
        if len(self.ids) < len(self.tokens):
            [(twice, _)] = Counter(self.tokens).most_common(1)
            raise ValueError(f"the vocabulary has {twice!r} twice, so its number is ambiguous")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token."""
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """The ids of [PAD], [UNK], [CLS], [SEP] and [MASK], under these names whatever their own are."""
        return {name: self.ids[token] for name, token in zip(SPECIAL, self.special, strict=True)}

    @cached_property
    def reserved(self) -> np.ndarray:
        """The ids that never stand for text, ascending: the special ones, and others a tokenizer.json marks as such."""
        added = json.loads(self.definition)["added_tokens"] if self.definition else []
        return np.array(sorted({*self.special_ids.values(), *(each["id"] for each in added if each["special"])}))

    @cached_property
    def continues(self) -> np.ndarray:
        """Whether each token continues the word before it ("##ing"): bool (size,)."""
        return np.array([token.startswith("##") and len(token) > 2 for token in self.spelled])

    @cached_property
    def spelled(self) -> tuple[str, ...]:
        """Each token in wordpiece form: 'ing' of a byte-level BPE is '##ing', 'Ġthe' is 'the', ',' is ','."""
        rules = json.loads(self.definition or '{"model": {"type": "WordPiece"}}')
        if rules["model"]["type"] == "WordPiece":
            return self.tokens
        names = dict(zip(self.special, SPECIAL, strict=True))
        if "ByteLevel" in json.dumps([rules["pre_tokenizer"], rules["decoder"]]):
            bytes_to_text = decoders.ByteLevel()
            texts = [bytes_to_text.decode([token]) for token in self.tokens]
        else:
            texts = [token.replace("▁", " ") for token in self.tokens]
        spelled = []
        for token, text in zip(self.tokens, texts, strict=True):
            continues = text[:1].isalnum() or text[:1] == "\ufffd"  # no space first; \ufffd is a part of a character
            spelled.append(names.get(token) or "##" * continues + ("".join(text.split()) or "␣"))
        return tuple(spelled)

    @cached_property
    def growth(self) -> int:
        """How many times longer its normalizer may make a text."""
        return _growth(json.loads(self.definition or "{}").get("normalizer"))

    @property
    def sha256(self) -> str:
        """The hash of `vocab.txt`, or of `tokenizer.json`, as `save` writes it; hexadecimal."""
        return hashlib.sha256((self.definition or "\n".join((*self.tokens, ""))).encode()).hexdigest()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """A tokenizer of plain text: it adds no [CLS] or [SEP], and finds none in the text."""
        if self.definition:
            rules = json.loads(self.definition) | {"post_processor": None}  # which would trim the places of tokens
            if rules["model"]["type"] == "Unigram":
                # Its special tokens are pieces with a score like others: no text spells one that has a space in it.
                special = {self.tokens[number] for number in self.reserved.tolist()} - {self.special[1]}
                rules["model"]["vocab"] = [
                    [f" {piece}" if piece in special else piece, score] for piece, score in rules["model"]["vocab"]
                ]
            tokenizer = Tokenizer.from_str(json.dumps(rules))
            tokenizer.encode_special_tokens = True
            return tokenizer
        model = models.WordPiece(self.ids, unk_token=UNK, max_input_chars_per_word=LONGEST_WORD)
        return self._with_rules(Tokenizer(model))

    def _with_rules(self, tokenizer: Tokenizer) -> Tokenizer:
        chinese, accents, lowercase = self.chinese_characters, self.strip_accents, self.lowercase
        tokenizer.normalizer = normalizers.BertNormalizer(True, chinese, accents, lowercase)
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(prefix="##")
        return tokenizer

    def save(self, folder: Path, *, trained: dict[str, Any] | None = None) -> None:
        """Write the folder that `load_vocabulary` and AutoTokenizer open; `trained` is how the vocabulary was trained.

        A TF-IDF graph reads vocab.txt, or else pieces.txt: the tokens as they are spelled.
        """
        names = {f"{name[1:-1].lower()}_token": token for name, token in zip(SPECIAL, self.special, strict=True)}
        with replacing(folder, folder=True) as part:
            if self.definition:
                (part / "tokenizer.json").write_bytes(self.definition.encode())
                (part / "pieces.txt").write_bytes("\n".join((*self.spelled, "")).encode())
                settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
            else:
                (part / "vocab.txt").write_bytes("\n".join((*self.tokens, "")).encode())
                settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": self.lowercase}
                settings |= {"strip_accents": self.strip_accents, "tokenize_chinese_chars": self.chinese_characters}
            write_json(part / "tokenizer_config.json", settings | names)
            if trained:
                write_json(part / "trained.json", trained)


def make_vocabulary(source: str | Path, store: Store, *, lowercase: bool | None = None) -> Vocabulary:
    """Return the vocabulary that --vocab names: `train:SIZE`, a file, a folder or a hub name.

    `lowercase` is for train:SIZE and a plain vocab.txt. One that was trained on this store is not trained again.
    """
    if not (size := trained_size(source)):
        return load_vocabulary(source, lowercase)
    folder, lower = store.path / "vocabulary", lowercase is not False
    asked = {"size": size, "lowercase": lower}
    if (folder / "trained.json").is_file():
        before = load_vocabulary(folder)
        if read_json(folder / "trained.json") == asked | {"sha256": before.sha256}:
            return before
    from linkbert.corpora.store import shard_files  # not above: an encoder needs none of it

    stored = sum(file.stat().st_size for file in shard_files(store.path, "documents"))
    shards = range(0, store.shards, max(1, round(stored / TRAINED_ON)))  # all, or every k-th
    vocabulary = train_vocabulary(
        lambda: (document.text for shard in shards for document in store.documents(shard)), size, lowercase=lower
    )
    if not (store.path / "tokens" / "tokens.json").is_file():
        vocabulary.save(folder, trained=asked | {"sha256": vocabulary.sha256})
    return vocabulary


def trained_size(source: str | Path) -> int:
    """Return SIZE of train:SIZE, 0 for any other source."""
    if (wanted := re.fullmatch(r"(\d+)(k?)", str(source).lower())) and not Path(source).exists():
        raise ValueError(f"{source} is no vocabulary: write train:{wanted[1]}{'000' * bool(wanted[2])}")
    if not str(source).startswith("train:"):
        return 0
    size = str(source).removeprefix("train:").replace("_", "")
    if not size.isdecimal() or not SMALLEST <= int(size) <= LARGEST:
        raise ValueError(f"train:SIZE must be from {SMALLEST} to {LARGEST}, such as train:30522, got {source}")
    return int(size)


def load_vocabulary(source: str | Path, lowercase: bool | None = None) -> Vocabulary:
    """Load a vocabulary from a file, a folder (also a RUN or a STORE), or a hub name; every command does it here.

    A folder's `tokenizer.json` counts first, then `vocab.txt`. What becomes of capitals says the tokenizer_config.json
    next to it, else the tokenizer.json; of a vocab.txt alone `lowercase` does, or else its own letters: capitals are
    kept if one token in a hundred has any, and a line says so.
    """
    path = Path(source).expanduser()
    if whole := path.is_dir():
        last = sorted(path.glob("checkpoints/step-*[0-9]"), reverse=True)
        places = [path, path / "model", path / "vocabulary", *last]
        there = [place / name for place in places for name in KNOWN[:2] if (place / name).is_file()]
        if not there:
            form = " where sentencepiece is installed" * bool(parts := [*path.glob("*.model")])
            made = f"AutoTokenizer.from_pretrained({str(path)!r}).save_pretrained({str(path)!r}) makes one{form}"
            parts += [path / name for name in ("vocab.json", "merges.txt") if (path / name).is_file()]
            remedy = made if parts else "copy the encoder's own there"
            remedy = next(filter(None, (below(path, name) for name in KNOWN[:2])), remedy)
            raise ValueError(f"{path} holds no vocabulary: a tokenizer.json or a vocab.txt is needed; {remedy}")
        path = there[0]
    elif not path.is_file():
        if path.suffix in (".txt", ".json") or not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", str(source)):
            raise ValueError(f"{source} is not there: give a vocab.txt, a tokenizer folder, a hub name or train:SIZE")
        folder = fetch_from_hub(str(source), KNOWN, str(source), "give a vocab.txt or a folder")
        return load_vocabulary(folder, lowercase)
    config = path.with_name(KNOWN[2])
    try:
        said = check_content(dict[str, Any], read_json(config), config) if config.is_file() else {}
        rules = {ours: said[name] for name, ours in SWITCHES.items() if said.get(name) is not None}
        if wrong := [name for name, ours in SWITCHES.items() if not isinstance(rules.get(ours, True), bool)]:
            raise ValueError(f"{config}: {wrong[0]} must be true or false, got {said[wrong[0]]!r:.60}")
        if free := lowercase is not None and path.suffix != ".json" and not (whole and "lowercase" in rules):
            rules["lowercase"] = lowercase
        if path.suffix == ".json":
            found = load_tokenizer(read_json(path), rules, said)
        else:
            found = _read_tokens(path, said, rules)
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:  # others may write any form
        raise ValueError(f"{path} is not a vocabulary: {one_line(error)}") from None
    if lowercase is not None and not free and (found.definition or found.lowercase != lowercase):
        name = (config if "lowercase" in rules else path).name
        raise ValueError(f"{source} says by its {name} what becomes of capitals: leave out --cased (lowercase)")
    return found


def check_same_vocabulary(encoder: Vocabulary, store: Vocabulary, folder: Path, *, of: str = "the store") -> None:
    """Refuse to train on a store (called `of`) of another vocabulary than that of `folder`, where `encoder` is from."""
    remedy = f"rebuild {of} with its vocabulary: linkbert build SOURCE --to STORE --vocab {folder}"
    if encoder.tokens != store.tokens:
        places = (i for i, (a, b) in enumerate(zip(encoder.tokens, store.tokens, strict=False)) if a != b)
        first = next(places, min(len(encoder), len(store)))
        sizes = f"{len(store)} tokens against {len(encoder)}, the first difference at number {first}"
        raise ValueError(f"{of}'s vocabulary is not that of {folder} ({sizes}); {remedy}")
    for what, rule in (
        ("lower-case", lambda v: v.lowercase),
        ("strip accents", lambda v: v.lowercase if v.strip_accents is None else v.strip_accents),
        ("set Chinese characters apart", lambda v: v.chinese_characters),
        ("cut text into tokens (tokenizer.json)", _text_rules),
    ):
        if rule(encoder) != rule(store):
            raise ValueError(f"{folder} and {of} do not {what} alike; {remedy}")


def _text_rules(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what a tokenizer.json says of text, and not of what is put around it."""
    rules = json.loads(vocabulary.definition or "{}")
    return {key: value for key, value in rules.items() if key not in ("version", "post_processor")}


def _read_tokens(path: Path, said: dict[str, Any], rules: dict[str, Any]) -> Vocabulary:
    refuse_pointer(path)
    text = read_small(path).decode("utf-8-sig").rstrip("\r\n")
    if (kind := str(said.get("tokenizer_class"))).startswith(("BertJapanese", "Bertweet")):
        raise ValueError(f"it belongs to a {kind}, which cuts words in another way than BERT's tokenizer")
    tokens = tuple(line.removesuffix("\r") for line in text.split("\n"))  # not splitlines: U+2028 may be a token
    if "lowercase" not in rules:
        capitals = sum(token != token.lower() for token in tokens if not token.startswith("["))
        rules["lowercase"] = capitals < len(tokens) / 100
        kept = "lowered" if rules["lowercase"] else "kept"
        say_once(f"{path} does not say what becomes of capitals: they are {kept}, as {capitals:,} tokens have any")
    found = Vocabulary(tokens, rules["lowercase"], rules.get("strip_accents"), rules.get("handle_chinese_chars", True))
    beside = path.with_name(KNOWN[3])
    added = {each["content"]: int(number) for number, each in (said.get("added_tokens_decoder") or {}).items()}
    added |= read_json(beside) if beside.is_file() else {}
    more = sorted((number, token) for token, number in added.items() if token not in found.ids)
    if [number for number, _ in more] != list(range(len(tokens), len(tokens) + len(more))):
        raise ValueError(f"added tokens must have the numbers from {len(tokens)} on, got {more[:9]}")
    whole = found._with_rules(Tokenizer(models.WordPiece(found.ids, unk_token=UNK)))
    whole.add_tokens([token for _, token in more])
    return load_tokenizer(json.loads(whole.to_str())) if more else found


@contextmanager
def no_panic(source: str | Path) -> Iterator[None]:
    """Make a panic of the tokenizers library, which is no Exception, a ValueError; usable as a decorator."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the tokenizers library breaks off over {source} ({one_line(error)[:200]})") from None


def ask(source: str, call: Callable[..., Any], texts: Any, **options: Any) -> Any:
    """Call a tokenizer that others made, in a thread that is left alone in the end: its patterns may take for ever.

    The library lets other threads run where it is given a batch. What it raises is a ValueError that names the source.
    """
    future = Future[Any]()

    def work() -> None:
        try:
            future.set_result(call(texts, **options))
        except BaseException as error:  # a panic is no Exception
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return future.result(seconds := PATIENCE + sum(map(len, texts)) // PACE)
    except TimeoutError:
        raise ValueError(
            f"{source} takes more than {seconds} seconds for a text: take another tokenizer.json"
        ) from None
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        cause = one_line(error)[:200]
        raise ValueError(f"{source} breaks off over a text ({cause}): take another tokenizer.json") from None


def _growth(rules: Any) -> int:
    """Return how many times longer a normalizer of a tokenizer.json may make a text."""
    if not isinstance(rules, dict):
        return 1
    longest = len(rules.get("content") or rules.get("prepend") or "")
    if "Regex" in (rules.get("pattern") or ()) and longest:
        longest += 1  # it may stand between all characters
    if rules.get("type") == "Precompiled":  # as sentencepiece has it: the size of a tree, the tree, texts
        data = base64.b64decode(rules["precompiled_charsmap"])
        longest = max(map(len, data[4 + int.from_bytes(data[:4], "little") :].decode(errors="replace").split("\0")))
    return math.prod([max(longest, 1), *map(_growth, rules.get("normalizers") or ())])


@no_panic("it")
def load_tokenizer(
    content: dict[str, Any], said: dict[str, Any] | None = None, config: dict[str, Any] | None = None
) -> Vocabulary:
    """Read the content of a tokenizer.json; one other than BERT's is kept as the installed library writes it.

    `said` are switches of BERT's normaliser that a tokenizer_config.json gives, `config` is that file's content, which
    may name the special tokens. Tokens that were added to WordPieces are kept: each is one token, as in transformers.
    """
    try:
        model, rules = content["model"], content.get("normalizer") or {}
        if rules.get("type") == "BertNormalizer":
            rules |= said or {}
        tokenizer = Tokenizer.from_str(json.dumps(content | {"truncation": None, "padding": None}))
    except Exception as error:  # the library raises a bare Exception
        raise ValueError(f"the tokenizers library cannot open it ({one_line(error)})") from None
    kinds = (model.get("type"), rules.get("type"), (content.get("pre_tokenizer") or {}).get("type"))
    bert = kinds == ("WordPiece", "BertNormalizer", "BertPreTokenizer") and model["continuing_subword_prefix"] == "##"
    if (times := _growth(rules)) > GROWTH or (more := tokenizer.num_special_tokens_to_add(True)) > LONGEST_WORD:
        how = f"{times} times longer" if times > GROWTH else f"longer by {more} special tokens"
        raise ValueError(f"it may make a text {how}: take another tokenizer.json")
    ids = tokenizer.get_vocab()
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"its token ids are not 0 to {len(ids) - 1}")
    tokens = tuple(sorted(ids, key=ids.__getitem__))
    if bert and {each["content"] for each in content.get("added_tokens") or ()} <= {*SPECIAL}:
        return Vocabulary(tokens, rules["lowercase"], rules.get("strip_accents"), rules["handle_chinese_chars"])
    named = [(config or {}).get(f"{name[1:-1].lower()}_token") for name in SPECIAL]
    named = [each.get("content") if isinstance(each, dict) else each for each in named]
    special = tuple(
        next((token for token in names if token in ids), names[1])
        for names in zip(named, SPECIAL, ROBERTA, strict=True)
    )
    _, _, cls, sep, _ = special
    if tokenizer.post_processor is None and {cls, sep} <= ids.keys():
        tokenizer.post_processor = processors.BertProcessing((sep, ids[sep]), (cls, ids[cls]))
    definition = tokenizer.to_str()
    if not bert and not re.search("ByteLevel|▁", definition):
        known = "WordPieces (##), byte-level BPE (Ġ) and sentencepiece (▁)"
        raise ValueError(f"it does not mark where words begin (it is {model.get('type')}); known are {known}")
    return Vocabulary(tokens, lowercase=False, special=special, definition=definition)


def train_vocabulary(texts: Callable[[], Iterable[str]], size: int, *, lowercase: bool = True) -> Vocabulary:
    """Train WordPieces on texts: at most `size` tokens, fewer where the texts do not hold so many.

    `texts` is called twice, for two passes. The same texts give the same vocabulary, whatever the number of threads:
    the trainer numbers the characters within words in the order of a randomly seeded hash table, and breaks ties by
    these numbers, so they are numbered here. At most a quarter of the vocabulary, and 1,000, are single characters, the
    most frequent ones; others come out as [UNK], as in BERT.
    """
    rules = Vocabulary((*SPECIAL, "a"), lowercase=lowercase)  # for its rules; a vocabulary must hold some token
    tokenizer = rules._with_rules(Tokenizer(models.WordPiece(unk_token=UNK)))
    counts = np.zeros(0x110000, np.int64)
    for text in texts():
        np.add.at(counts, *np.unique(np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32), return_counts=True))
    normal = {chr(i): tokenizer.normalizer.normalize_str(chr(i)).strip() for i in np.flatnonzero(counts).tolist()}
    frequency: Counter[str] = Counter()
    for raw, characters in normal.items():
        for character in characters:
            frequency[character] += int(counts[ord(raw)])
    if not frequency:
        raise ValueError("no document has any text: there is nothing to train a vocabulary on")
    alphabet = set(sorted(frequency, key=lambda c: (-frequency[c], c))[: min(1000, size // 4)])
    within_word = [c for c in sorted(alphabet) if len(tokenizer.pre_tokenizer.pre_tokenize_str(f"a{c}a")) == 1]
    known = "".join(raw for raw, characters in normal.items() if alphabet.issuperset(characters))
    # Long words, other than Chinese, that BERT reads as [UNK] whatever the vocabulary; training is quadratic in them.
    foreign = re.compile(rf"[^{re.escape(known)}]|[^\W\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]{{{LONGEST_WORD + 1},}}")
    special = [*SPECIAL, *(f"##{c}" for c in within_word)]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator((foreign.sub(" ", text) for text in texts()), trainer)
    ids = tokenizer.get_vocab()
    return Vocabulary(tuple(sorted(ids, key=ids.__getitem__)), lowercase=lowercase)
