"""Forms in which questions with a context are published: files -> QuestionExamples.

As in formats.py, a format is a function (sources, options, counts) -> examples.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from linkbert.tasks.examples import QuestionExample


def read_squad(sources: Sequence[Any], options: Mapping[str, Any], counts: Counter[str]) -> Iterator[QuestionExample]:
    """Read SQuAD's JSON, 1.1 or 2.0: articles, their paragraphs, questions and the places of answers."""
    for source in sources:
        for article in json.load(source.stream)["data"]:
            for paragraph in article["paragraphs"]:
                context = paragraph["context"]
                for asked in paragraph["qas"]:
                    answers = tuple(each["text"] for each in asked["answers"])
                    places = ((each["answer_start"], each["text"]) for each in asked["answers"])
                    spans = tuple((at, at + len(text)) for at, text in places if context.startswith(text, at))
                    yield QuestionExample(
                        asked["id"], asked["question"].strip(), context, answers, spans, title=article.get("title", "")
                    )
