"""txtar, the plainest of archives: text files after one another, each below a line ``-- name --``.

The format is that of Go's ``golang.org/x/tools/txtar``. A file ends where the next begins, and what stands before the
first is a comment.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from stepgym.errors import TaskError

_NAME = re.compile(r"-- ([^\n]{1,255}) --")


def read_txtar(path: Path) -> dict[str, str]:
    """The files by name. Raises `TaskError` for what is no text, and a name that leads out or stands there twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: cannot be read ({error})") from error
    files: dict[str, list[str]] = {}
    here: list[str] = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if match := _NAME.fullmatch(line):
            name = match[1].strip()
            if name in files or name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise TaskError(f"{path}:{number}: {name!r} stands there twice, or leads out of its folder")
            here = files[name] = []
        else:
            here.append(line)
    return {name: "".join(f"{line}\n" for line in lines) for name, lines in files.items()}
