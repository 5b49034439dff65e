"""Chats in rows of recorded runs. They are foreign data: whatever is read from them is read in linear time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stepgym.errors import TaskError
from stepgym.tasks.rows import Row


@dataclass(frozen=True, slots=True)
class Said:
    """One message."""

    role: str
    text: str
    demonstration: bool = False
    """Whether it shows another task, as an example."""


def chat(row: Row, column: str) -> tuple[Said, ...]:
    """The messages in a column, a list or JSON of one. Raises `TaskError` with the number of a message that is none."""
    value = row.values.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise TaskError(f"{row.where}: {column} is neither a list nor JSON ({error})") from error
    if not isinstance(value, list):
        raise TaskError(f"{row.where}: {column} must be a list of messages, not {type(value).__name__}")
    return tuple(_said(message, f"{row.where}: {column}[{index}]") for index, message in enumerate(value))


def first_asked(messages: tuple[Said, ...]) -> str:
    """What the agent was asked to do: the first message of the user that is no demonstration; "" if there is none."""
    return next((said.text for said in messages if said.role == "user" and not said.demonstration), "")


def marked(text: str, opening: re.Pattern[str], closing: str) -> Iterator[str]:
    """What stands between each `opening` and the next `closing`, in linear time whatever the text."""
    end = 0
    while (start := opening.search(text, end)) and (close := text.find(closing, start.end())) >= 0:
        yield text[start.end() : close]
        end = close + len(closing)


def _said(message: Any, where: str) -> Said:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise TaskError(f"{where} must be an object with a role")
    content = message.get("content")
    if isinstance(content, list):  # in parts, of which those of text count
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if content is not None and not isinstance(content, str):
        raise TaskError(f"{where}: content must be text, not {type(content).__name__}")
    return Said(message["role"], content or "", message.get("is_demo") is True)
