"""The diff that takes a diff back, made of its text alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stepgym.tasks.swe_patch import Change, FilePatch
from stepgym.tasks.swe_patch_names import quoted_name
from stepgym.tasks.swe_patch_reading import changes

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ORDER = (
    "old mode ",
    "new mode ",
    "deleted file mode ",
    "new file mode ",
    "similarity ",
    "dissimilarity ",
    "rename from ",
    "rename to ",
)
"""In which order git writes the lines of a header, before ``index``."""
_SWAPPED = {
    "new file mode ": "deleted file mode ",
    "deleted file mode ": "new file mode ",
    "old mode ": "new mode ",
    "new mode ": "old mode ",
    "rename from ": "rename to ",
    "rename to ": "rename from ",
}


def reverse(patch: str) -> str:
    """The diff that takes a diff back. Raises `ValueError` for what `changes` refuses, binary files, and copies."""
    lines: list[str] = []
    for file in changes(patch):
        if file.binary or file.change is Change.COPIED:
            raise ValueError(f"the change of {file.path} cannot be taken back without the file")
        lines += _reversed_header(file)
        lines += _reversed_hunks(file.hunks)
    return "\n".join(lines) + "\n"


def _reversed_header(file: FilePatch) -> Iterator[str]:
    swapped: list[str] = []
    for line in file.header:
        key = next((key for key in _SWAPPED if line.startswith(key)), "")
        index = re.fullmatch(r"index ([0-9a-f]+)\.\.([0-9a-f]+)(.*)", line)
        if key:
            swapped.append(_SWAPPED[key] + line.removeprefix(key))
        elif index:
            swapped.append(f"index {index[2]}..{index[1]}{index[3]}")
        elif not line.startswith(("diff --git ", "--- ", "+++ ")):
            swapped.append(line)
    rank = {key: number for number, key in enumerate(_ORDER)}
    swapped.sort(key=lambda line: next((rank[key] for key in _ORDER if line.startswith(key)), len(rank)))
    old, new = file.before or file.after, file.after or file.before
    yield f"diff --git {quoted_name(f'a/{new}')} {quoted_name(f'b/{old}')}"
    yield from swapped
    if file.hunks:
        yield f"--- {_ended(f'a/{file.after}')}" if file.after else "--- /dev/null"
        yield f"+++ {_ended(f'b/{file.before}')}" if file.before else "+++ /dev/null"


def _ended(path: str) -> str:
    """A path in a line of its own, where one with a blank is followed by a tab."""
    return f"{path}\t" if " " in path and quoted_name(path) == path else quoted_name(path)


def _reversed_hunks(lines: Sequence[str]) -> Iterator[str]:
    """Removed lines stand before added ones, so each run of changes is turned round."""
    added: list[str] = []
    removed: list[str] = []
    last = removed
    for line in lines:
        if line.startswith("-"):
            last = added
            added.append("+" + line[1:])
        elif line.startswith("+"):
            last = removed
            removed.append("-" + line[1:])
        elif line.startswith("\\") and (added or removed):
            last.append(line)
        else:
            yield from [*removed, *added]
            added, removed = [], []
            match = _HUNK.match(line)
            yield (
                f"@@ -{_span(match[3], match[4])} +{_span(match[1], match[2])} @@{line[match.end() :]}"
                if match
                else line
            )
    yield from [*removed, *added]


def _span(start: str, count: str | None) -> str:
    return start if count is None else f"{start},{count}"
