"""Probes: small questions to an encoder that show what it takes across links before any fine-tuning could.

In: the folder of a model, a store, and settings. Out: means, and one value per example with the document it belongs to.
Which examples are asked follows from the store and the settings alone, so that two models are compared on the same
ones, paired. Give the settings that a model was trained with (held_out, held_out_links, graph), or documents that it
has seen count as held out. On a graph of random links what is called an *effect* below is 0 within its interval.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, hstack
from scipy.special import log_softmax

from linkbert import registry
from linkbert.config import Config, Count, Length, setting
from linkbert.corpora.store import Store
from linkbert.instances.batches import Batches
from linkbert.instances.mixture import open_parts
from linkbert.instances.parts import Part
from linkbert.instances.sampler import NoUsableAnchorError, Sampler, hash_links, held_out
from linkbert.instances.tokens import TokenStore
from linkbert.instances.vocabulary import CLS, MASK, SEP, UNK, ask
from linkbert.model.device import send_batch
from linkbert.model.fill import Line, embed, guess_lines
from linkbert.model.heads import Inputs, PretrainingModel, refuse_nan
from linkbert.model.step import rows_at_once
from linkbert.pretraining.checkpoint import find_model
from linkbert.pretraining.distributed import gather
from linkbert.pretraining.evaluation import gain_batches, masked_losses, score_model, scoring
from linkbert.pretraining.scores import run_of, warn_of_seen
from linkbert.records import CONTIGUOUS, LINKED, RANDOM
from linkbert.tasks.results import read_predictions
from linkbert.tasks.settings import FineTuneConfig
from linkbert.tasks.suite import finetune

Answer = dict[str, dict[str, Any]]
Rows = dict[str, tuple[np.ndarray, np.ndarray]]  # by name: the value of each example, and its document
TOP = 10  # documents that are retrieved
FITTED = 4  # training pairs of a regression for each pair that is asked
STRENGTHS = (0.1, 1.0, 10.0)  # of a regression: scikit-learn's C
K1, B = 1.2, 0.75  # of BM25, as Lucene has them
NAME = re.compile(r"(?<=[\w,;] )[A-Z]\w[\w'’-]*(?:[ -][A-Z]\w[\w'’-]*)*")  # after a word or a comma: within a sentence
LONGEST = 4  # tokens of a name that is masked
SEARCHED = 10  # documents that are searched for a question
TRIES = 64  # documents drawn before a text without the name is given up
SEEN, UNSEEN, NEW = KINDS = ("seen", "unseen", "new")
NEXT_TO = ("absent", "random", "named", "linked")


class ProbeConfig(Config):
    """The settings of a probe: those of a run that decide what is drawn, and how much is asked."""

    sequence_length: Length = setting(128, "tokens of an instance")
    examples: Count = setting(1_000, "pairs, anchors, or questions of each kind, that are asked at most")
    candidates: Count = setting(20_000, "documents that are searched, drawn by the seed where there are more")


# Settings of the probe `reading` that are not those of fine-tuning, and the tasks that it reads.
READING = {"data", "to", "tasks", "seeds"} | (ProbeConfig.model_fields.keys() - FineTuneConfig.model_fields.keys())
READ = ["ottqa", "hybridqa", "hotpotqa-100-gold", "musique-100-gold"]


def _settings(model_folder: str | Path, store: str | Path, settings: Mapping[str, Any]) -> ProbeConfig:
    """Make the settings of a probe, and say where more is held out by them than was in training."""
    config = ProbeConfig(**settings)
    if run := run_of(Path(model_folder)):
        warn_of_seen(run, [Part("", Path(store))], config)
    return config


def link_gain(model_folder: str | Path, store: str | Path, settings: Mapping[str, Any]) -> Answer:
    """By how much a masked token of a held-out A is likelier next to a linked text than next to a random one, nats.

    To use a text across a link is what linked pairs are to teach (paper, section 4.1). The same A and masks, three Bs;
    `context_gain` is that of the text that follows A. By class of the token: `in_b` stands in the linked (following)
    text or in the random one, not in both, and nowhere unmasked in A; `entities` are capitalised words within a
    sentence; `numbers` hold a digit; `others` are none of these. An example is a token.

    Effects: `link_gain`, `link_gain_*`. `copying` is none: of tokens `in_b`, the gain next to the text that holds them,
    linked or random. A model that loses 1 nat where B holds the token, else 3: "its capital [MASK]" next to "paris"
    (linked) and "oslo" (random) gains +2 where paris is masked, -2 where oslo is; the copying is +2 in both.
    """
    config = _settings(model_folder, store, settings)
    config = config.replace(batch_size=3 * config.examples)
    with scoring(find_model(model_folder), [Part("", Path(store))], config) as (model, (opened,), processes):
        own = opened.config.replace(micro_batch_size=rows_at_once(model, config))
        sampler = Sampler(opened.tokens, opened.graph, own, split="held-out", anchors="usable")
        told = partial(gather, processes)
        tables = [masked_losses(model, each, processes).cpu().numpy() for each in gain_batches(sampler, told)]
    if not tables:
        raise NoUsableAnchorError(f"{store} links almost everything with everything: there is no link gain")
    numbers, places, documents = tables[LINKED][:3].astype(np.int64)
    tokens, pairs = opened.tokens, sampler.draw(np.arange(numbers[-1] + 1))[0]
    at = pairs[numbers, 1] + places - 1  # among the tokens of the store
    shown, entity = np.zeros(len(at), bool), np.zeros(len(at), bool)
    for mine in np.split(np.arange(len(at)), np.flatnonzero(np.diff(numbers)) + 1):
        start, stop = pairs[numbers[mine[0]], 1:3]
        shown[mine] = np.isin(tokens.tokens[at[mine]], np.delete(tokens.tokens[start:stop], at[mine] - start))
    for document in np.unique(documents).tolist():
        for name in find_names(Store.open(store).document(document).text, tokens, document):
            entity |= (at >= tokens.documents[document] + name.first) & (at < tokens.documents[document] + name.stop)
    digits = np.array([any(map(str.isdigit, token)) for token in tokens.vocabulary.spelled])
    rows: Rows = {}
    for label, relation in (("context_gain", CONTIGUOUS), ("link_gain", LINKED)):
        holds, random = tables[relation][3] > 0, tables[RANDOM][3] > 0
        classes = {"in_b": (holds != random) & ~shown, "entities": entity, "numbers": digits[tokens.tokens[at]]}
        classes["others"] = ~np.any([*classes.values()], axis=0)
        gain = tables[RANDOM][4] - tables[relation][4]
        rows[label] = gain, documents
        rows |= {f"{label}_{kind}": (gain[of], documents[of]) for kind, of in classes.items()}
    in_b = classes["in_b"]  # of the linked text
    return answer(rows | {"copying": (np.where(holds, gain, -gain)[in_b], documents[in_b])})


def relation_transfer(model_folder: str | Path, store: str | Path, settings: Mapping[str, Any]) -> Answer:
    """How often the relation of a held-out pair is told: contiguous, random or linked, a third of the pairs each.

    Document relation prediction (paper, section 4.2) on documents that were not trained on. `head` is the relation head
    of a model that learnt three relations; `states`, a logistic regression on the state of [CLS], asks any encoder.
    Both read masked pairs, as in training; `words_a`, `words_b` and `words`, regressions on the words of one segment,
    and on both and what they share, read all. Regressions are fitted on FITTED times as many training pairs. An
    example is a pair.

    Effects: `linked_*`, of the pairs that are random or linked, how often linked is scored above random where it should
    be, less one half. Of two pairs of each relation, a head that calls linked ones random has head 4/6, linked_head 0.
    """
    config = _settings(model_folder, store, settings)
    parts: dict[str, Any] = {}
    with scoring(find_model(model_folder), [Part("", Path(store))], config, head="") as (model, (opened,), _):
        for split, count in (("train", FITTED * config.examples), ("held-out", config.examples)):
            sampler = Sampler(opened.tokens, opened.graph, opened.config, split=split, anchors="usable")
            batches = Batches(sampler, batch_size=count, micro_batch_size=rows_at_once(model, config))
            parts[split] = *sampler.draw(np.arange(count))[:2], *read_pairs(model, batches)
    (fitted, fit_relations, fit_states, _), (pairs, relations, states, logits) = parts.values()
    if LINKED not in fit_relations or RANDOM not in fit_relations:
        raise NoUsableAnchorError(f"{store} has no linked or no random pairs to tell apart: see the setting shares")
    tokens, size = opened.tokens.tokens, len(opened.tokens.vocabulary)
    bags = [[weigh([tokens[a:b] for a, b in each[:, at : at + 2]], size) for at in (1, 4)] for each in (fitted, pairs)]
    features = {f"words_{name}": [each[side] for each in bags] for side, name in enumerate("ab")}
    common = [a.multiply(b) for a, b in bags]
    features["words"] = [hstack([*each, both, both.sum(1)], "csr") for each, both in zip(bags, common, strict=True)]
    spread = fit_states.std(0) + 1e-6
    features["states"] = [(each - fit_states.mean(0)) / spread for each in (fit_states, states)]
    scores = {"head": logits} if model.objective.relations == 3 else {}
    scores |= {name: regress(fit, fit_relations, asked) for name, (fit, asked) in features.items()}
    rows: Rows = {name: (each.argmax(1) == relations, pairs[:, 0]) for name, each in scores.items()}
    of, linked = relations != CONTIGUOUS, relations == LINKED
    for name, each in scores.items():
        rows[f"linked_{name}"] = ((each[:, LINKED] > each[:, RANDOM]) == linked)[of] - 0.5, pairs[of, 0]
    return answer(rows)


def linked_retrieval(model_folder: str | Path, store: str | Path, settings: Mapping[str, Any]) -> Answer:
    """How often the document that a held-out A links to is among the TOP of all, by embeddings, without training.

    Which texts belong together (paper, section 1), as an encoder has it. `mean`: the mean of the last layer's states;
    `cls`: the state of [CLS]; both less the candidates' mean, by cosine. `bm25`: of the same tokens. A document is its
    first tokens, as many as an instance has; left out are A's own and the others that it links to. An example is an A.

    Effects: each above `chance`, TOP of the candidates. Where three linked documents rank 1st, 10th and 11th: 2/3.
    """
    config = _settings(model_folder, store, settings)
    with scoring(find_model(model_folder), [Part("", Path(store))], config, head="") as (model, (opened,), _):
        tokens, graph, most = opened.tokens, opened.graph, config.sequence_length - 2
        sampler = Sampler(tokens, graph, opened.config, split="held-out", anchors="usable").forced(LINKED)
        pairs = sampler.draw(np.arange(min(config.examples, len(sampler))))[0]
        whole = np.random.default_rng(config.seed).permutation(np.flatnonzero(np.diff(tokens.documents)))
        documents = np.union1d(whole[: config.candidates], pairs[:, 3])
        texts = [tokens.ids(document)[:most] for document in documents.tolist()]
        asked = [tokens.tokens[start:stop] for start, stop in pairs[:, 1:3]]
        cls, sep = (tokens.vocabulary.special_ids[name] for name in (CLS, SEP))
        found = embed(model, [Line([cls, *text, sep], len(text) + 2) for text in [*texts, *asked]])
    found -= found[:, : len(texts)].mean(1, keepdims=True)
    found /= np.maximum(np.linalg.norm(found, axis=2, keepdims=True), 1e-9)
    alike = {name: each[len(texts) :] @ each[: len(texts)].T for name, each in zip(("mean", "cls"), found, strict=True)}
    alike["bm25"] = bm25(asked, texts, len(tokens.vocabulary))
    hits = {name: np.zeros(len(pairs)) for name in alike}
    for row, (a, b) in enumerate(pairs[:, [0, 3]].tolist()):
        rivals = ~np.isin(documents, [a, b, *graph.edges_out(a)])  # type: ignore[union-attr]
        for name, scores in alike.items():
            others, own = scores[row, rivals], scores[row, np.searchsorted(documents, b)]
            hits[name][row] = (others > own).sum() + (others == own).sum() / 2 < TOP
    return answer({name: (each, pairs[:, 0]) for name, each in hits.items()}, chance=min(TOP / len(documents), 1.0))


def two_hop_cloze(model_folder: str | Path, store: str | Path, settings: Mapping[str, Any]) -> Answer:
    """How well a name in A is guessed that the linked document names, too, and A nowhere else.

    Next to A stands nothing (`absent`), a text without the name (`random`), one with it from a document that is not
    linked (`named`, where there is one), or the linked document's (`linked`). Kinds: links of documents that training
    held out (`new`), and between training documents those it could follow (`seen`) or could not (`unseen`: needs
    held_out_links, in training and here). That links bring what B says into the weights (paper, section 1) would show
    as seen above unseen where B is absent. `*_right`: all tokens of the name are guessed; `*_logp`: the log-probability
    of the name, nats. The link's own anchor is never masked. An example is a name, one of a document and kind at most.

    Effects: `*_gain`, linked above named in logp; `internalised_gain`, seen above unseen in absent_logp, of documents
    that have a name of both. A model that gives a one-token name 1/2 next to a text that holds it, else 1/8: linked and
    named -0.69, random -2.08, gain 0.
    """
    config, rows = _settings(model_folder, store, settings), dict[str, Any]()
    with scoring(find_model(model_folder), [Part("", Path(store))], config) as (model, (opened,), _):
        if not (every := cloze_questions(Path(store), config)):
            raise NoUsableAnchorError(f"{store} has no name that a linked text holds, too: there is nothing to ask")
        for kind in KINDS:
            questions = [each for each in every if each.kind == kind]
            documents, logp = np.array([each.document for each in questions]), np.full((4, len(questions)), np.nan)
            for number, name in enumerate(NEXT_TO):
                some = np.flatnonzero([each.b[number] is not None for each in questions])
                lines = [questions[i].line(number, opened.tokens.vocabulary.special_ids) for i in some]
                logp[number, some], right = guess_lines(model, lines)
                rows[f"{kind}_{name}_logp"] = logp[number, some], documents[some]
                rows[f"{kind}_{name}_right"] = right, documents[some]
            there = ~np.isnan(logp[2])
            rows[f"{kind}_gain"] = (logp[3] - logp[2])[there], documents[there]
    (seen, ours), (unseen, theirs) = (rows[f"{kind}_absent_logp"] for kind in KINDS[:2])
    both, mine, others = np.intersect1d(ours, theirs, return_indices=True)
    return answer(rows | {"internalised_gain": (seen[mine] - unseen[others], both)})


def reading(model_folder: str | Path, _store: str | Path, settings: Mapping[str, Any]) -> Answer:
    """F1 of answers that stand in linked passages, after fine-tuning on few questions (paper, tables 2 and 4).

    Passages are given: those that the traced rows link to, or the gold ones. OTT-QA and HybridQA are trained on by a
    `fraction`; samples of HotpotQA and MuSiQue are scored with the model of SQuAD. Settings: `data`, the folder of the
    datasets; `to`, where results are kept, else nowhere; `tasks`; `seeds` of fine-tuning, whose mean is an example's
    value; and those of `linkbert finetune`. An example is a question.

    No effect: a store's links are not asked; models are compared. Where one of two questions is answered: 0.5.
    """
    asked = {"fraction": 0.25, **{key: value for key, value in settings.items() if key not in READING}}
    data, seeds, names = settings.get("data"), settings.get("seeds", 1), settings.get("tasks") or READ
    if data is None:
        raise ValueError("the probe `reading` needs the folder of its datasets: give data = FOLDER")
    found = dict[str, Any]()
    with TemporaryDirectory() as scratch:
        to = Path(settings.get("to", scratch))
        for run in finetune(model_folder, names, data=data, to=to, settings=asked, seeds=seeds):
            lines = read_predictions(run, to, "test" if run["scores"].get("test") else "dev", "score")
            found.setdefault(run["task"], []).append([line["score"] for line in lines])
    values = {task: np.mean(scores, axis=0) for task, scores in found.items()}
    return answer({task: (each, np.arange(len(each))) for task, each in values.items()})


def score(model_folder: str | Path, store: str | Path, settings: Mapping[str, Any]) -> Answer:
    """Score a model on a store's held-out documents as `linkbert score` does; the questions are those of all arms."""
    scores = score_model(Path(model_folder), [Part("", Path(store))], Config(**settings))
    names = ("mlm_accuracy", "link_gain", "shared_gain", "context_gain", "relation_accuracy")
    found = {name: each.value for name in names if (each := getattr(scores, name))}
    if len(scores.relations) == 2:  # BERT's: they are not to be compared with three
        found["next_sentence_accuracy"] = found.pop("relation_accuracy")
    return answer({}, mlm_loss=scores.mlm_loss, **found)


PROBES = {name: registry.find("probes", name) for name in registry.BUILT_IN["probes"]}


def answer(rows: Rows, **more: float) -> Answer:
    """Give what a probe returns: `measures`, the means of rows and what else there is, `rows` and `groups`."""
    kept = {name: (np.asarray(values, np.float64), documents) for name, (values, documents) in rows.items()}
    return {
        "measures": {name: float(values.mean()) for name, (values, _) in kept.items() if len(values)} | more,
        "rows": {name: values for name, (values, _) in kept.items() if len(values)},
        "groups": {name: documents for name, (values, documents) in kept.items() if len(values)},
    }


@torch.no_grad()
def read_pairs(model: PretrainingModel, batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """Encode the pairs of step 0: the states of their [CLS] (P, H) and the scores of their relations, by number."""
    found = []
    for made in batches.one_by_one(0):
        first = refuse_nan(model.encode(Inputs.of(send_batch(made, next(model.parameters()).device)))[1].float())
        found.append((made.numbers, first.cpu(), model.relation_logits(first).float().cpu()))
    numbers, states, scores = (torch.cat(each) for each in zip(*found, strict=True))
    order = numbers.argsort()
    return states[order].numpy(), scores[order].numpy()


class Name(NamedTuple):
    """A name in a document: its tokens there, [first, stop), and its characters, [start, end)."""

    first: int
    stop: int
    start: int
    end: int


def find_names(text: str, tokens: TokenStore, document: int) -> list[Name]:
    """Find capitalised words in a document's text, those side by side as one name, that stand within a sentence.

    "He saw New York. Paris was far." -> "New York". None where the text's tokens are not the store's (odd characters).
    """
    tokenizer = tokens.vocabulary.tokenizer
    [encoded] = ask(f"the tokenizer of {tokens.path}", tokenizer.encode_batch, [text], add_special_tokens=False)
    if not np.array_equal(encoded.ids, tokens.ids(document)):
        return []
    starts, ends = np.array(encoded.offsets, np.int64).reshape(-1, 2).T
    found = [match.span() for match in NAME.finditer(text)]
    places = np.searchsorted(ends, [a for a, _ in found], side="right"), np.searchsorted(starts, [b for _, b in found])
    return [Name(int(a), int(b), *span) for a, b, span in zip(*places, found, strict=True) if a < b]


class Question(NamedTuple):
    """A name to be guessed in a run A of a document, and what may stand next to it."""

    document: int
    kind: str  # of KINDS
    a: np.ndarray  # tokens
    name: slice  # in A
    b: tuple[Any, ...]  # tokens, by NEXT_TO; None where no such text was found

    def line(self, number: int, special: Mapping[str, int]) -> Line:
        """Write [CLS] A [SEP] B [SEP], or [CLS] A [SEP], with the name masked."""
        ids = [special[CLS], *self.a.tolist(), special[SEP], *self.b[number]]
        ids += [special[SEP]] * (len(self.b[number]) > 0)
        places = range(1 + self.name.start, 1 + self.name.stop)
        labels = [ids[place] for place in places]
        ids[places.start : places.stop] = [special[MASK]] * len(labels)
        return Line(ids, 2 + len(self.a), places, labels)


def find(needle: np.ndarray, tokens: np.ndarray, continues: np.ndarray) -> np.ndarray:
    """Return where whole words stand in tokens: int64, ascending."""
    at = np.flatnonzero(tokens[: max(0, len(tokens) - len(needle) + 1)] == needle[0])
    for i, token in enumerate(needle):
        at = at[tokens[at + i] == token]
    return at[~continues[np.append(tokens, needle[:1])[at + len(needle)]]]


def cut_around(tokens: TokenStore, document: int, first: int, stop: int, room: int) -> slice:
    """Cut whole sentences of a document from that of its tokens [first, stop) on; of a longer one, what holds them."""
    own = slice(*tokens.document_sentences[document : document + 2])
    bounds = np.append(tokens.sentences[own], tokens.documents[document + 1]) - tokens.documents[document]
    start = max(int(bounds[bounds <= first][-1]), stop - room)
    ends = bounds[(bounds >= stop) & (bounds <= start + room)]
    return slice(start, int(ends[-1]) if len(ends) else start + room)


@lru_cache(maxsize=2)  # several models are asked one after the other
def cloze_questions(store: Path, config: ProbeConfig) -> list[Question]:
    """Make the questions of a store, `examples` of each kind where it has so many."""
    (opened,) = open_parts([Part("", store)], config)
    tokens, graph, texts, half = opened.tokens, opened.graph, Store.open(store), (config.sequence_length - 3) // 2
    if graph is None or not len(graph.targets):
        raise NoUsableAnchorError(f"{store} has no links in a graph {config.graph!r}: there is nothing to follow")
    rng, continues = np.random.default_rng(config.seed), tokens.vocabulary.continues
    out, sizes = held_out(tokens.hashes, config.held_out), np.diff(tokens.documents)
    pool = rng.permutation(np.flatnonzero(sizes))[: config.candidates]
    pooled, ends = np.concatenate([tokens.ids(each) for each in pool.tolist()]), np.cumsum(sizes[pool])
    found: dict[str, list[Question]] = {kind: [] for kind in KINDS}

    def elsewhere(needle: np.ndarray, others: np.ndarray, room: int) -> tuple[Any, Any]:
        """Find a text without the name, and one with it, of documents that are none of those."""
        without, named, at = None, None, find(needle, pooled, continues)
        owner = np.searchsorted(ends, at, side="right")
        taken = np.union1d(others, pool[owner])
        if (random := next((each for each in rng.choice(pool, TRIES).tolist() if each not in taken), None)) is not None:
            first = int(rng.integers(sizes[random]))
            without = tokens.ids(random)[cut_around(tokens, random, first, first + 1, room)]
        if len(here := np.flatnonzero((at + len(needle) <= ends[owner]) & ~np.isin(pool[owner], others))):
            owners, places = np.unique(owner[here], return_index=True)  # as the linked: a document, its first place
            chosen = owners[drawn := rng.integers(len(owners))]
            document, first = int(pool[chosen]), int(at[here[places[drawn]]] - ends[chosen] + sizes[pool[chosen]])
            named = tokens.ids(document)[cut_around(tokens, document, first, first + len(needle), room)]
        return without, named

    for document in rng.permutation(np.flatnonzero(np.diff(graph.offsets)))[: SEARCHED * config.examples].tolist():
        wanted = [kind for kind in ([NEW] if out[document] else [SEEN, UNSEEN]) if len(found[kind]) < config.examples]
        edges = slice(*graph.offsets[document : document + 2])
        targets, links = graph.targets[edges], graph.links[edges]
        hidden = held_out(hash_links(tokens.hashes, np.full(len(targets), document), targets), config.held_out_links)
        kinds = np.array(KINDS)[np.where(out[document], 2, hidden)]
        usable = (sizes[targets] > 0) & (out[document] | ~out[targets]) & np.isin(kinds, wanted)
        if not usable.any():
            continue
        text, ids, places = texts.document(document), tokens.ids(document), np.full(len(links), -1)
        places[links >= 0] = tokens.links[links[links >= 0]]
        spans = np.array([*((each.start, each.end) for each in text.links), (-1, -1)])
        anchors = spans[np.where(links < 0, -1, links - tokens.document_links[document])]
        names = find_names(text.text, tokens, document)
        for name in map(names.__getitem__, rng.permutation(len(names)).tolist()):
            needle, cut = ids[name.first : name.stop], cut_around(tokens, document, name.first, name.stop, half)
            known = tokens.vocabulary.special_ids[UNK] not in needle and len(needle) <= LONGEST
            if not known or len(find(needle, ids[cut], continues)) != 1:
                continue
            own = targets[(anchors[:, 0] < name.end) & (anchors[:, 1] > name.start)]  # an anchor of theirs is masked
            free = usable & ~np.isin(targets, own)
            if opened.config.scope == "segment":
                free &= (places >= cut.start) & (places < cut.stop)
            for edge in rng.permutation(np.flatnonzero(free)).tolist():
                target = tokens.ids(targets[edge])
                if not len(at := find(needle, target, continues)):
                    continue
                room = config.sequence_length - 3 - (cut.stop - cut.start)
                linked = target[cut_around(tokens, targets[edge], at[0], at[0] + len(needle), room)]
                others = elsewhere(needle, np.append(targets, document), room)
                place = slice(name.first - cut.start, name.stop - cut.start)
                found[kinds[edge]].append(Question(document, str(kinds[edge]), ids[cut], place, ((), *others, linked)))
                usable &= kinds != kinds[edge]  # one of a document and kind
                break
    return [question for kind in KINDS for question in found[kind]]


def count_words(texts: Sequence[np.ndarray], size: int) -> csr_matrix:
    """Count the tokens of texts, of a vocabulary of so many: float64 (texts, size)."""
    ends = np.cumsum([0, *map(len, texts)])
    found = csr_matrix((np.ones(ends[-1]), np.concatenate(texts).astype(np.int32), ends), (len(texts), size))
    found.sum_duplicates()
    return found


def weigh(texts: Sequence[np.ndarray], size: int) -> csr_matrix:
    """Give each text 1 + log(count) of its tokens, scaled to length 1: float64 (texts, size)."""
    found = count_words(texts, size)
    found.data = 1 + np.log(found.data)
    sums = np.asarray(found.multiply(found).sum(1))[:, 0]
    found.data /= np.repeat(np.sqrt(np.where(sums > 0, sums, 1)), np.diff(found.indptr))
    return found


def bm25(asked: Sequence[np.ndarray], texts: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Score texts for what is asked by BM25, a token that is asked twice counting once: (asked, texts)."""
    counts, lengths = count_words(texts, size), np.array([len(text) for text in texts])
    times = np.bincount(counts.indices, minlength=size)
    rarity = np.log(1 + (len(texts) - times + 0.5) / (times + 0.5))
    norms = np.repeat(K1 * (1 - B + B * lengths / lengths.mean()), np.diff(counts.indptr))
    counts.data = rarity[counts.indices] * counts.data / (counts.data + norms)
    words = count_words(asked, size)
    words.data[:] = 1
    return np.asarray((words @ counts.T).todense())


def regress(fit: Any, labels: np.ndarray, asked: Any) -> np.ndarray:
    """Fit a logistic regression, its strength chosen on a tenth of what it is fitted on; score what is asked (n, C)."""
    at = len(labels) * 9 // 10
    tried = [(logistic(fit[:at], labels[:at], each)(fit[at:]).argmax(1) == labels[at:]).mean() for each in STRENGTHS]
    return logistic(fit, labels, STRENGTHS[int(np.argmax(tried))])(asked)


def logistic(x: Any, labels: np.ndarray, strength: float) -> Callable[[Any], np.ndarray]:
    """Fit a multinomial logistic regression, as scikit-learn does with C = `strength`; return what scores rows."""
    shape, true = (x.shape[1] + 1, int(labels.max()) + 1), np.eye(int(labels.max()) + 1)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        chances = log_softmax(x @ weights[:-1] + weights[-1], axis=1)
        wrong = strength * (np.exp(chances) - true)
        gradient = np.vstack([x.T @ wrong + weights[:-1], wrong.sum(0)])
        return -strength * (chances * true).sum() + (weights[:-1] ** 2).sum() / 2, gradient.ravel()

    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"ftol": 1e-7})
    weights = found.x.reshape(shape)
    return lambda rows: rows @ weights[:-1] + weights[-1]
