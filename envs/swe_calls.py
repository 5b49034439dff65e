"""Calls of tools in their several spellings, as actions in a repository.

Agents' harnesses agree on what tools do and on little else: each has names of its own for tools and for arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stepgym.envs.swe_actions import EDITORS, Action, Edit, Malformed, Submission, command

SHELLS = frozenset({"bash", "execute_bash", "shell", "run_command", "execute_command", "terminal"})
SUBMITS = frozenset({"submit", "finish"})
SINGLE = {
    **dict.fromkeys(("view_file", "read_file", "open_file", "view"), "view"),
    **dict.fromkeys(("create_file", "write_file", "create"), "create"),
    **dict.fromkeys(("edit_file", "str_replace", "replace_in_file"), "str_replace"),
    **dict.fromkeys(("insert", "insert_lines"), "insert"),
}
"""Tools that do one thing of the editor's."""
COMMANDS = ("view", "create", "str_replace", "insert")
_NAMES = {
    "command": ("command", "cmd"),
    "path": ("path", "file_path", "filename", "file"),
    "file_text": ("file_text", "content", "contents", "text"),
    "old_str": ("old_str", "old_string", "old", "search"),
    "new_str": ("new_str", "new_string", "new", "replace"),
    "insert_line": ("insert_line", "line"),
    "view_range": ("view_range", "lines"),
}
_PARAMETER = re.compile(r"<parameter=([^>\n]{1,64})>")
_MOST_NESTED = 4
"""Wrappers around a call that are looked through."""


def json_calls(value: object, depth: int = 0) -> list[Action]:
    """The actions in JSON: a call, a list of calls, or a message with ``tool_calls``."""
    if isinstance(value, list) and depth < _MOST_NESTED:
        return [action for item in value[:64] for action in json_calls(item, depth + 1)]
    if not isinstance(value, dict):
        return [Malformed("a call is a JSON object with a name and arguments")]
    for wrapper in ("tool_calls", "function"):
        if isinstance(value.get(wrapper), dict | list) and depth < _MOST_NESTED:
            return json_calls(value[wrapper], depth + 1)
    name = value.get("name")
    arguments = value.get("arguments", value.get("parameters", value.get("input", {})))
    if isinstance(arguments, str):  # OpenAI's arguments are JSON within JSON
        try:
            arguments = json.loads(arguments or "{}", strict=False)
        except (ValueError, RecursionError):
            return [Malformed("the arguments of the call are not JSON")]
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return [Malformed("a call is a JSON object with a name and arguments")]
    return [call(name, arguments)]


def xml_call(name: str, body: str) -> Action:
    """The action of ``<function=name>`` with one ``<parameter=…>…</parameter>`` for each argument."""
    arguments: dict[str, str] = {}
    at = 0
    while start := _PARAMETER.search(body, at):
        end = body.find("</parameter>", start.end())
        if end < 0:
            return Malformed(f"the parameter {start[1]!r} lacks its </parameter>")
        value = body[start.end() : end]
        if value.startswith("\n"):  # values of several lines stand on lines of their own
            value = value[1:].removesuffix("\n")
        arguments[start[1]] = value
        at = end + len("</parameter>")
    return call(name.strip(), arguments)


def call(name: str, arguments: Mapping[str, Any]) -> Action:
    """The action of a call, whatever its harness calls the tool and its arguments."""
    if name in SUBMITS:
        return Submission()
    if name in SHELLS:
        line = _argument(arguments, "command")
        return command(line) if isinstance(line, str) else Malformed(f"{name} needs a command")
    if name in EDITORS:
        return _edit(arguments, _argument(arguments, "command"))
    if name in SINGLE:
        return _edit(arguments, SINGLE[name])
    return Malformed(f"there is no tool {name!r:.60}; there are bash, str_replace_editor and submit")


def editor_line(words: Sequence[str]) -> Action:
    """The action of ``str_replace_editor COMMAND PATH --option value …``. Raises `ValueError`."""
    if len(words) < 2 or words[0].startswith("-") or words[1].startswith("-"):
        raise ValueError("it is followed by a command and a path")
    arguments: dict[str, Any] = {"command": words[0], "path": words[1]}
    rest = list(words[2:])
    while rest:
        option = rest.pop(0)
        count = 2 if option == "--view_range" else 1
        if not option.startswith("--") or len(rest) < count:
            raise ValueError(f"{option!r:.60} is no option with a value")
        values, rest = rest[:count], rest[count:]
        arguments[option[2:]] = values if count == 2 else values[0]
    return _edit(arguments, arguments["command"])


def _edit(arguments: Mapping[str, Any], asked: object) -> Action:
    if asked not in COMMANDS:
        return Malformed(f"the editor has the commands {', '.join(COMMANDS)}, not {asked!r:.60}")
    path = _argument(arguments, "path")
    if not isinstance(path, str) or not path:
        return Malformed(f"the editor's {asked} needs a path")
    needed = {"create": ("file_text",), "str_replace": ("old_str",), "insert": ("insert_line", "new_str")}
    for name in needed.get(str(asked), ()):
        if _argument(arguments, name) is None:
            return Malformed(f"the editor's {asked} needs {name}")
    text = _argument(arguments, "file_text" if asked == "create" else "new_str") or ""
    old = _argument(arguments, "old_str") or ""
    if not isinstance(text, str) or not isinstance(old, str):
        return Malformed(f"the editor's {asked} takes texts")
    try:
        line = int(_argument(arguments, "insert_line") or 0)
        lines = _range(_argument(arguments, "view_range"))
    except (TypeError, ValueError, RecursionError):
        return Malformed("insert_line is a number, and view_range two of them: [1, 40]")
    return Edit(command=str(asked), path=path, text=text, old=old, line=line, lines=lines)


def _range(value: object) -> tuple[int, ...]:
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    if value is None or value == []:
        return ()
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("two numbers")
    return tuple(int(number) for number in value)


def _argument(arguments: Mapping[str, Any], name: str) -> Any:
    return next((arguments[spelling] for spelling in _NAMES[name] if arguments.get(spelling) is not None), None)
