"""Runs of mini-swe-agent (``trajectory_format`` mini-swe-agent-1): a chat in which each reply has one bash block.

The block's content is the command. A reply with no block or with several was rejected, and ran nothing.
"""

from __future__ import annotations

import re

from stepgym.tasks.chat import chat, first_asked, marked
from stepgym.tasks.recorded import Round, Run, instance_id, outcome
from stepgym.tasks.rows import Row

OPENING, CLOSING = re.compile(r"```bash[ \t]*\n"), "\n```"
"""As in mini-swe-agent's own ``parse_action``."""


def mini_swe_agent(row: Row, /) -> Run:
    """The run in a ``.traj.json`` file. Raises `TaskError`."""
    messages = chat(row, "messages")
    rounds = []
    for index, said in enumerate(messages):
        blocks = list(marked(said.text, OPENING, CLOSING)) if said.role == "assistant" else []
        if len(blocks) == 1:
            heard = messages[index + 1].text if index + 1 < len(messages) else ""
            rounds.append(Round(blocks[0].strip(), heard))
    return Run(id=instance_id(row), issue=first_asked(messages), rounds=tuple(rounds), outcome=outcome(row))
