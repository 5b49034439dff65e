"""The editor of a repository: views, creates and changes files of a sandbox, and shows what came of it."""

from __future__ import annotations

import shlex

from stepgym.envs.swe_actions import Edit
from stepgym.sandboxes import EditError, ExecResult, Sandbox

LARGEST = 4 << 20
"""Bytes of a file that is viewed or changed."""
AROUND = 4
"""Lines that are shown before and after a change."""
SECONDS = 20.0
"""What listing a folder may take."""


def run_edit(sandbox: Sandbox, edit: Edit) -> ExecResult:
    """What the editor says, as if it were a command: exit code 1 where the call cannot be done.

    Raises `SandboxError` where the sandbox itself failed.
    """
    try:
        said = _run(sandbox, edit)
    except (EditError, OSError) as error:
        return ExecResult(output=f"{_reason(error, edit)}\n", exit_code=1)
    return ExecResult(output=said if said.endswith("\n") else f"{said}\n", exit_code=0)


def _run(sandbox: Sandbox, edit: Edit) -> str:
    match edit.command:
        case "create":
            sandbox.write(edit.path, edit.text)
            return f"{edit.path} is written."
        case "str_replace":
            before = _text(sandbox, edit.path)
            sandbox.edit(edit.path, edit.old, edit.text)
            first = before.partition(edit.old)[0].count("\n")
            after = before.replace(edit.old, edit.text, 1)
            return f"{edit.path} is changed:\n{_around(after, first, edit.text.count(chr(10)))}"
        case "insert":
            lines = _text(sandbox, edit.path).splitlines(keepends=True)
            if not 0 <= edit.line <= len(lines):
                raise EditError(f"{edit.path} has {len(lines)} lines; nothing can be put after line {edit.line}")
            if edit.line and not lines[edit.line - 1].endswith("\n"):
                lines[edit.line - 1] += "\n"
            lines.insert(edit.line, edit.text if edit.text.endswith("\n") else f"{edit.text}\n")
            sandbox.write(edit.path, "".join(lines))
            return f"{edit.path} is changed:\n{_around(''.join(lines), edit.line, edit.text.count(chr(10)))}"
        case _:
            return _view(sandbox, edit)


def _view(sandbox: Sandbox, edit: Edit) -> str:
    try:
        text = _text(sandbox, edit.path)
    except IsADirectoryError:
        listed = f"find {shlex.quote(edit.path)} -maxdepth 2 -not -path '*/.*' | sort | head -n 1000"
        return sandbox.exec(listed, timeout=SECONDS).output
    count = len(text.splitlines())
    first, last = edit.lines or (1, -1)
    last = count if last == -1 else last
    if edit.lines and not 1 <= first <= min(last, count):
        raise EditError(f"{edit.path} has {count} lines; {list(edit.lines)} is not a range of them")
    return _numbered(text, first, last)


def _text(sandbox: Sandbox, path: str) -> str:
    return sandbox.read(path, limit=LARGEST).decode("utf-8", "surrogateescape")


def _around(text: str, first: int, more: int) -> str:
    return _numbered(text, max(1, first + 1 - AROUND), first + 1 + more + AROUND)


def _numbered(text: str, first: int, last: int) -> str:
    """Lines with their numbers, as ``cat -n`` shows them."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    shown = (f"{number:6}\t{line}" for number, line in enumerate(lines[first - 1 : last], start=first))
    return "\n".join(shown).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _reason(error: Exception, edit: Edit) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{edit.path}: {error.strerror}"
    return str(error)
