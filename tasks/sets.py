"""The benchmarks known by name. One entry a set; whatever an entry does not say is found out from the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSet:
    """Where a benchmark lives, and what is special about its answers."""

    about: str
    """One line for a list."""
    file: str
    """The name of its file without the suffix, under ``$STEPGYM_DATA`` or ``$STEPGYM_DATA/math``."""
    hub: str
    """Its data set on the HuggingFace hub, as `stepgym.tasks.hub.read_hub` takes it."""
    whole_numbers: bool = False
    """Answers such as ``025`` and ``27.0`` are whole numbers, and are written so."""
    short_solutions: bool = False
    """A solution that is one short line without prose is itself the answer."""
    answerless: bool = False
    """Tasks without a gold answer (proofs) belong to it; their ``meta`` says ``answerless``."""


SETS: Mapping[str, NamedSet] = {
    "aime24": NamedSet(
        about="AIME 2024 I and II, 30 problems",
        file="aime24",
        hub="HuggingFaceH4/aime_2024?split=train",
        whole_numbers=True,
    ),
    "aime25": NamedSet(
        about="AIME 2025 I and II, 30 problems",
        file="aime25",
        hub="math-ai/aime25?split=test",
        whole_numbers=True,
    ),
    "amc23": NamedSet(
        about="AMC 12 2023, 40 problems", file="amc23", hub="math-ai/amc23?split=test", whole_numbers=True
    ),
    "gsm8k": NamedSet(
        about="GSM8K test, 1,319 grade-school problems with worked steps",
        file="gsm8k_test",
        hub="openai/gsm8k?config=main&split=test",
    ),
    "gsm8k_socratic": NamedSet(
        about="GSM8K test with a sub-question for every step",
        file="gsm8k_test_socratic",
        hub="openai/gsm8k?config=socratic&split=test",
    ),
    "gsm8k_train": NamedSet(
        about="GSM8K train, 7,473 grade-school problems with worked steps",
        file="gsm8k_train",
        hub="openai/gsm8k?config=main&split=train",
    ),
    "math500": NamedSet(
        about="MATH-500, competition problems in seven subjects",
        file="math500",
        hub="HuggingFaceH4/MATH-500?split=test",
    ),
    "minerva_math": NamedSet(
        about="Minerva, 272 university problems with physical quantities",
        file="minerva_math",
        hub="math-ai/minervamath?split=test",
    ),
    "olympiadbench": NamedSet(
        about="OlympiadBench, 675 open-ended English text-only problems",
        file="olympiadbench",
        hub="math-ai/olympiadbench?split=test",
    ),
    "s1k": NamedSet(
        about="s1K, 1,000 problems with reference solutions, proofs among them",
        file="s1k_question_solution",
        hub="simplescaling/s1K?split=train",
        whole_numbers=True,
        short_solutions=True,
        answerless=True,
    ),
}


def set_of_file(stem: str) -> str:
    """The name of the set whose file is named so, wherever the file lies; "" if none is."""
    return next((name for name, known in SETS.items() if known.file == stem), "")
