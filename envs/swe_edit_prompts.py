"""What a model is shown in ``stepgym/SWEEdit-v0``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stepgym.tasks.chat import marked

MOST_LISTED = 4_000
"""Files of a repository whose names are shown."""
MOST_FILES = 6
"""Files that an answer may locate."""
EDIT = """\
{prompt}

These files of the repository are what has to be changed:

{files}

First think about where the cause lies and what resolves the issue. Then write the change as edits. Each edit begins
with the path of the file, and gives whole lines as they stand in it, and the lines to put in their place:

### path/of/file.py
<<<<<<< SEARCH
    return 1
=======
    return 2
>>>>>>> REPLACE

Indentation counts. Lines that stand in several places are replaced in all of them; an empty SEARCH makes a file that is
not there. End your thoughts with </think> if you write any."""
LOCATE = """\
{prompt}

These are the files of the repository:

{files}

Which of them have to be changed to resolve the issue? First think, and end your thoughts with </think> if you write
any. Then write at most {most} paths between ``` and ```, a line each, the most important first."""
_FENCE = re.compile(r"```[^\n]{0,40}\n")


def edit_prompt(prompt: str, files: Mapping[str, str]) -> str:
    """The issue with the contents of the files."""
    shown = "\n\n".join(f"### {path}\n```\n{text.removesuffix(chr(10))}\n```" for path, text in files.items())
    return _filled(EDIT, prompt=prompt, files=shown)


def locate_prompt(prompt: str, paths: Iterable[str]) -> str:
    """The issue with the names of all files."""
    listed = list(paths)
    names = "\n".join(listed[:MOST_LISTED])
    if len(listed) > MOST_LISTED:
        names += f"\n[and {len(listed) - MOST_LISTED} more]"
    return _filled(LOCATE, prompt=prompt, files=names, most=str(MOST_FILES))


def located(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """The paths in the last fenced block of an answer that are `known`, each once; ``./`` is no matter."""
    *_, block = ("", *marked(text.rpartition("</think>")[2], _FENCE, "\n```"))
    wanted = (line.strip().strip("`").removeprefix("./") for line in block.split("\n"))
    there = set(known)
    return tuple(dict.fromkeys(path for path in wanted if path in there))[:MOST_FILES]


def _filled(template: str, **values: str) -> str:
    """The template with its fields filled in at once: issues and files have braces of their own."""
    return re.sub(r"\{(\w+)\}", lambda field: values[field[1]], template)
