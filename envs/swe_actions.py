"""What an agent in a repository may write: a shell command, a call of a tool, or its submission.

The forms are those that agents are trained on: a bare command; one block of bash between backticks (mini-swe-agent,
SWE-agent); a call as ``<function=…>`` (SWE-smith, OpenHands), as ``<tool_call>{…}</tool_call>`` (Hermes, Qwen), or as
the JSON of OpenAI's tool calls. Whatever it is, there is one of it in an action; anything else is `Malformed`.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TypeAlias

from stepgym.tasks.chat import marked

SUBMIT = "submit"
END_OF_THOUGHT = "</think>"
EXPECTED = (
    "Expected exactly one action: a shell command in one block that begins with ```bash and ends with ```; or one call "
    'of a tool, such as <tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>; or the command '
    "`submit`, in a block as well, when you are done."
)
_BLOCK = re.compile(r"```(?:bash|sh|shell|mswea_bash_command)[ \t]*\n")
_PLAIN_BLOCK = re.compile(r"```[ \t]*\n")
_CALL = re.compile(r"<tool_call>|<function=[^>\n]{1,64}>")
EDITOR = "str_replace_editor"
"""The tool with the commands of `Edit`; it is a word of the shell as well, as it is in SWE-agent."""
EDITORS = frozenset({EDITOR, "str_replace_based_edit_tool", "file_editor"})


@dataclass(frozen=True, slots=True)
class Shell:
    """A command for bash."""

    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A call of the editor."""

    command: str
    """``view``, ``create``, ``str_replace`` or ``insert``."""
    path: str
    text: str = ""
    """What is created or inserted, or comes in the place of `old`."""
    old: str = ""
    line: int = 0
    """After which line is inserted; 0 is before the first."""
    lines: tuple[int, ...] = ()
    """The first and the last line that are viewed, counted from 1; -1 is the last there is. Empty: all."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The agent says it is done."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """No action can be taken from it."""

    why: str


Action: TypeAlias = Shell | Edit | Submission | Malformed


def parse_action(text: str, *, bare: bool = True) -> Action:
    """The one action in what an agent wrote; what precedes ``</think>`` is not looked at.

    Where there is neither a block nor a call, the whole text is a command if `bare`, else malformed.
    """
    said = text.rpartition(END_OF_THOUGHT)[2].strip()
    block, call = _BLOCK.search(said), _CALL.search(said)
    if call and (not block or call.start() < block.start()):
        return _called(said)
    if block:
        return _only(list(marked(said, _BLOCK, "\n```")), "block")
    if said.startswith(("{", "[{")) and (calls := _json(said)) is not None:
        from stepgym.envs.swe_calls import json_calls

        return _one(json_calls(calls))
    if _PLAIN_BLOCK.search(said):
        return _only(list(marked(said, _PLAIN_BLOCK, "\n```")), "block")
    if not said:
        return Malformed("the action is empty")
    return command(said) if bare else Malformed("there is no block of bash and no call of a tool in it")


def command(text: str) -> Action:
    """The action of a line for the shell, among whose words are ``submit`` and ``str_replace_editor`` (SWE-agent)."""
    text = text.strip()
    if text == SUBMIT:
        return Submission()
    if not text:
        return Malformed("the command is empty")
    if not text.startswith(f"{EDITOR} "):
        return Shell(text)
    from stepgym.envs.swe_calls import editor_line

    try:
        return editor_line(shlex.split(text)[1:])
    except ValueError as error:
        return Malformed(f"{EDITOR}: {error}")


def as_call(taken: str | Edit) -> str:
    """A text from which `parse_action` takes this command, whatever it holds, or this call of the editor."""
    if isinstance(taken, str):
        return _tool_call("bash", {"command": taken})
    arguments: dict[str, dict[str, object]] = {
        "create": {"file_text": taken.text},
        "str_replace": {"old_str": taken.old, "new_str": taken.text},
        "insert": {"insert_line": taken.line, "new_str": taken.text},
        "view": {"view_range": list(taken.lines)} if taken.lines else {},
    }
    return _tool_call(EDITOR, {"command": taken.command, "path": taken.path, **arguments[taken.command]})


def _tool_call(name: str, arguments: dict[str, object]) -> str:
    # A closing tag within a text would end the call: JSON can say "<" otherwise.
    said = json.dumps({"name": name, "arguments": arguments}).replace("<", "\\u003c")
    return f"<tool_call>{said}</tool_call>"


def _only(commands: list[str], what: str) -> Action:
    if len(commands) != 1:
        return Malformed(f"there are {len(commands)} complete {what}s in it, not one")
    return command(commands[0])


def _called(said: str) -> Action:
    from stepgym.envs.swe_calls import json_calls, xml_call

    actions: list[Action] = []
    at = 0
    while start := _CALL.search(said, at):
        closing = "</tool_call>" if start[0] == "<tool_call>" else "</function>"
        end = said.find(closing, start.end())
        if end < 0:
            actions.append(Malformed(f"a call lacks its {closing}"))
            break
        at = end + len(closing)
        inside = said[start.end() : end].strip()
        if start[0] != "<tool_call>":
            actions.append(xml_call(start[0][len("<function=") : -1], inside))
        elif inside.startswith("<function="):  # Qwen3-Coder wraps the one form in the other
            actions.append(_called(inside))
        elif (value := _json(inside)) is None:
            actions.append(Malformed("the call is not JSON"))
        else:
            actions += json_calls(value)
    return _one(actions)


def _one(actions: list[Action]) -> Action:
    if len(actions) != 1:
        return Malformed(f"there are {len(actions)} calls in it, not one")
    return actions[0]


def _json(text: str) -> object | None:
    try:
        found: object = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return found
