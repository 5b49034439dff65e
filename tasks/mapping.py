"""From a row of a foreign file or data set to a `Task`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

from stepgym.codec import decode
from stepgym.errors import ConfigError, TaskError
from stepgym.records import Task
from stepgym.tasks.fields import USUAL, Fields, column, value_at
from stepgym.tasks.gold import bare, gold_answer, whole_number
from stepgym.tasks.gsm8k import ANSWER, worked
from stepgym.tasks.numbered import numbered_steps
from stepgym.tasks.recorded import format_of, run_task
from stepgym.tasks.rows import Row
from stepgym.tasks.swe_rows import instance_task, is_instance

OWN_KEYS = frozenset(key.name for key in fields(Task))
ANSWERLESS = "answerless"
"""The key in `Task.meta` of a task that is meant to have no gold answer."""
LONGEST_SHORT = 40
"""Most characters of a solution that may pass for an answer."""
MOST_SHOWN = 12
"""Most columns that an error message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the rows of one source are read."""

    name: str
    """What ids begin with: the set's name, or the file's."""
    fields: Fields = field(default_factory=Fields)
    whole_numbers: bool = False
    short_solutions: bool = False
    answerless: bool = False


def to_task(row: Row, index: int, rules: Rules) -> Task:
    """The task of a row, which is the `index`-th of its source.

    A row that `Task.to_json` wrote comes back as it was, one that holds a recorded run as `recorded` reads it, and one
    of a software-engineering benchmark as `swe_rows` does.

    Raises `TaskError` with the row's place if it has no problem, no answer, or a field of the wrong kind.
    """
    if rules.fields == Fields() and _is_own(row.values):
        return _own(row)
    if rules.fields == Fields() and format_of(row.values):
        return run_task(row)
    if rules.fields == Fields() and is_instance(row.values):
        return instance_task(row)
    columns = {key: column(rules.fields, key, row) for key in USUAL}
    prompt = _prompt(row, columns)
    raw_answer = value_at(columns["answer"], row)
    solution = _text(value_at(columns["solution"], row))
    several = value_at(columns["several"], row) is True
    answer = gold_answer(raw_answer, solution, several=several)
    if not answer and rules.short_solutions:
        answer = _short(solution)
    if rules.whole_numbers:
        answer = whole_number(answer)
    _check_answer(answer, row, rules)
    lines = worked(_text(raw_answer) or solution, answer)
    meta = _meta(row, columns, prompt)
    return Task(
        id=_id(row, columns["id"], index, rules.name),
        prompt=prompt,
        answer=answer,
        steps=_texts(row, columns["steps"]) or lines.steps or numbered_steps(solution),
        hint=_text(value_at(columns["hint"], row)),
        subquestions=_texts(row, columns["subquestions"]) or lines.subquestions,
        meta=meta if answer else {**meta, ANSWERLESS: True},
    )


def _is_own(values: Mapping[str, Any]) -> bool:
    answer = values.get("answer", "")
    texts = isinstance(values.get("id"), str) and isinstance(values.get("prompt"), str) and isinstance(answer, str)
    return texts and values.keys() <= OWN_KEYS and not ANSWER.search(answer)


def _own(row: Row) -> Task:
    try:
        task = decode(Task, plain(row.values), where=f"{row.where}: task")
    except ConfigError as error:
        raise TaskError(str(error)) from error
    if not task.prompt.strip():
        raise TaskError(f"{row.where}: the problem is empty")
    if not task.answer and not task.meta.get(ANSWERLESS):
        raise TaskError(
            f"{row.where}: the task has no answer; if it is meant to have none, "
            f'give it "meta": {{"{ANSWERLESS}": true}}'
        )
    return task


def _prompt(row: Row, columns: Mapping[str, str]) -> str:
    name = columns["prompt"]
    if not name:
        raise TaskError(
            f"{row.where}: no problem; name its column (fields.prompt, as in `stepgym tasks export`), "
            f"one of: {_columns(row)}"
        )
    value = value_at(name, row)
    if isinstance(value, list):  # a chat: the problem is what the user said last
        said = [turn for turn in value if isinstance(turn, Mapping) and turn.get("role") == "user"]
        value = said[-1].get("content") if said else value
    if not isinstance(value, str):
        raise TaskError(f"{row.where}: {name} must be text, not {_kind(value)}")
    if not value.strip():
        raise TaskError(f"{row.where}: the problem ({name}) is empty")
    context = _text(value_at(columns["context"], row)).strip()
    return f"{context}\n\n{value.strip()}" if context else value.strip()


def _check_answer(answer: str, row: Row, rules: Rules) -> None:
    if answer or rules.answerless:
        return
    raise TaskError(
        f"{row.where}: no gold answer, neither in a column nor in a \\boxed{{}} of a solution; "
        f"name its column, one of: {_columns(row)}; "
        "`stepgym tasks export FILE OUT.jsonl --fields.answer COLUMN` makes a file that needs no naming"
    )


def _columns(row: Row) -> str:
    shown = ", ".join(list(row.values)[:MOST_SHOWN])
    return f"{shown}, ..." if len(row.values) > MOST_SHOWN else shown


def _id(row: Row, name: str, index: int, source: str) -> str:
    value = value_at(name, row) if name else index
    if not isinstance(value, str | int) or value == "":
        raise TaskError(f"{row.where}: {name} must be text or a whole number to serve as an id, not {_kind(value)}")
    return f"{source}/{value}"


def _kind(value: Any) -> str:
    return "empty" if value in (None, "") else type(value).__name__


def _short(solution: str) -> str:
    """A solution that is nothing but an answer: one short line, not two words in a row, not a chain of equations."""
    line = bare(re.sub(r"^Answer:\s*", "", solution.strip()))
    long = "\n" in line or len(line) > LONGEST_SHORT or line.count("=") > 1
    return "" if long or re.search(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}", line) else line


def _text(value: Any) -> str:
    """Text, or a list of texts as paragraphs; anything else is no text."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n\n".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


def _texts(row: Row, name: str) -> tuple[str, ...]:
    value = value_at(name, row) if name else None
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TaskError(f"{row.where}: {name} must be a list of texts")
    return tuple(value)


def _meta(row: Row, columns: Mapping[str, str], prompt: str) -> dict[str, Any]:
    """What the task does not hold otherwise; the solution is kept whole, for it may be more than its steps."""
    used = {name for key, name in columns.items() if key not in ("solution", "several")}
    rest = {key: plain(value) for key, value in row.values.items() if key not in used}
    own = rest.pop("meta", None)
    kept = {key: value for key, value in rest.items() if value is not None and value not in ("", prompt)}
    return {**kept, **own} if isinstance(own, dict) else kept


def plain(value: Any) -> Any:
    """`value` with nothing in it but what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Decimal | float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
