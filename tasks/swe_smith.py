"""SWE-smith's conversations in their XML form, on which SRL trained its software-engineering model.

A reply has one call such as ``<function=bash>\\n<parameter=command>ls</parameter>\\n</function>``, and the call is the
command. The same runs in other forms (tool calls, backticks) have no such calls and are refused.
"""

from __future__ import annotations

import re

from stepgym.errors import TaskError
from stepgym.tasks.chat import chat, first_asked
from stepgym.tasks.recorded import Round, Run, instance_id, outcome
from stepgym.tasks.rows import Row

OPENING, CLOSING = re.compile(r"<function=[^>\n]{1,64}>\n"), "</function>"
PREFIX = "OBSERVATION:\n"


def swe_smith(row: Row, /) -> Run:
    """The run in a row of a JSONL file or data set. Raises `TaskError`."""
    messages = chat(row, "messages")
    rounds = []
    for index, said in enumerate(messages):
        call = _call(said.text) if said.role == "assistant" else ""
        if call:
            heard = messages[index + 1].text if index + 1 < len(messages) else ""
            rounds.append(Round(call, heard.removeprefix(PREFIX)))
    if not rounds:
        raise TaskError(f"{row.where}: no reply has a <function=…> call; of SWE-smith's forms, the XML one is read")
    return Run(id=instance_id(row), issue=first_asked(messages), rounds=tuple(rounds), outcome=outcome(row))


def _call(text: str) -> str:
    """The first call in a reply, which is the one that was run; "" if there is none."""
    start = OPENING.search(text)
    end = text.find(CLOSING, start.end()) if start else -1
    return text[start.start() : end + len(CLOSING)] if start and end >= 0 else ""
