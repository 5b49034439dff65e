"""Git's diffs, read without being applied: which files one changes, and the diff that takes it back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

LARGEST = 32 << 20
"""Characters; a longer patch is refused."""
TEST_FOLDERS = frozenset({"test", "tests", "testing", "e2e"})
"""As SWE-bench tells test files from others, but by whole names of folders."""
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
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


@dataclass(frozen=True, slots=True)
class FileChange:
    """What a diff does to one file."""

    old: str
    """The file's path before; "" for one that is made."""
    new: str
    """And after; "" for one that is removed."""
    header: tuple[str, ...] = ()
    """The lines before the first hunk."""
    hunks: tuple[str, ...] = ()
    """The lines from the first hunk on."""

    @property
    def path(self) -> str:
        """The path by which one speaks of the file."""
        return self.new or self.old

    @property
    def binary(self) -> bool:
        """There is no text to compare."""
        return any(line.startswith(("GIT binary patch", "Binary files ")) for line in self.header)


def changes(patch: str) -> tuple[FileChange, ...]:
    """The files that a diff changes, in its order. Raises `ValueError`, saying why, for what is no diff of git's."""
    if len(patch) > LARGEST:
        raise ValueError(f"it is longer than {LARGEST >> 20} MiB")
    if not patch.strip():
        raise ValueError("it is empty")
    found = [_change(block) for block in _blocks(patch.split("\n"))]
    if not found:
        raise ValueError("no line says which file it changes (diff --git, ---, +++)")
    return tuple(found)


def is_test(path: str) -> bool:
    """Whether a file belongs to a repository's tests: by the folder it lies in, or by its name."""
    parts = PurePosixPath(path).parts
    name = parts[-1] if parts else ""
    named = name == "conftest.py" or (name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py")))
    return named or bool(TEST_FOLDERS & set(parts[:-1]))


def reverse(patch: str) -> str:
    """The diff that takes a diff back. Raises `ValueError` for what `changes` refuses, binary files, and copies."""
    lines: list[str] = []
    for change in changes(patch):
        if change.binary or any(line.startswith("copy ") for line in change.header):
            raise ValueError(f"the change of {change.path} cannot be taken back without the file")
        lines += _reversed_header(change)
        lines += _reversed_hunks(change.hunks)
    return "\n".join(lines) + "\n"


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """The lines of each file's part. A line inside a hunk is never taken for the beginning of another part."""
    block: list[str] = []
    old = new = 0
    """Lines that the hunk still has, of each side."""
    hunks = False
    for line in lines:
        if (old > 0 or new > 0) and not line.startswith("diff --git "):
            old -= not line.startswith(("+", "\\"))
            new -= not line.startswith(("-", "\\"))
        elif match := _HUNK.match(line):
            old, new, hunks = _count(match[2]), _count(match[4]), True
        elif line.startswith("diff --git ") or (line.startswith("--- ") and (hunks or not _begun(block))):
            if _begun(block):
                yield block
            block, old, new, hunks = [], 0, 0, False
        block.append(line)
    if _begun(block):
        yield block


def _count(text: str | None) -> int:
    return 1 if text is None else int(text)


def _begun(block: Sequence[str]) -> bool:
    return any(line.startswith(("diff --git ", "--- ")) for line in block)


def _change(block: Sequence[str]) -> FileChange:
    start = next((index for index, line in enumerate(block) if _HUNK.match(line)), len(block))
    header, hunks = list(block[:start]), list(block[start:])
    while hunks and not hunks[-1]:
        hunks.pop()
    if not hunks:
        while header and not header[-1]:
            header.pop()
    old, new = _paths(header)
    return FileChange(old, new, tuple(header), tuple(hunks))


def _paths(header: Sequence[str]) -> tuple[str, str]:
    said = {
        key: line.removeprefix(key) for line in header for key in ("--- ", "+++ ", *_SWAPPED) if line.startswith(key)
    }
    old, new = _path(said.get("--- ", ""), "a/"), _path(said.get("+++ ", ""), "b/")
    if "--- " not in said:
        git = next((line for line in header if line.startswith("diff --git ")), "")
        middle = re.fullmatch(r'diff --git ("?)a/(.{1,4096})\1 ("?)b/(.{1,4096})\3', git)
        old, new = (_plain(middle[2], middle[1]), _plain(middle[4], middle[3])) if middle else ("", "")
        if "rename from " in said:
            old, new = _path(said["rename from "], ""), _path(said.get("rename to ", ""), "")
    if "new file mode " in said:
        old = ""
    if "deleted file mode " in said:
        new = ""
    if not old and not new:
        raise ValueError("a part of it names no file")
    return old, new


def _path(text: str, prefix: str) -> str:
    name = text.partition("\t")[0].rstrip("\r")
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = _unquoted(name[1:-1])
    return "" if name == "/dev/null" else name.removeprefix(prefix)


def _plain(name: str, quote: str) -> str:
    return _unquoted(name) if quote else name


def _unquoted(text: str) -> str:
    """A path as git quotes it: octal escapes of its bytes."""
    plain = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8) & 255), text)
    plain = re.sub(r"\\(.)", lambda match: {"t": "\t", "n": "\n", "r": "\r"}.get(match[1], match[1]), plain)
    return plain.encode("latin-1", "replace").decode("utf-8", "replace")


def _reversed_header(change: FileChange) -> Iterator[str]:
    swapped: list[str] = []
    for line in change.header:
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
    old, new = change.old or change.new, change.new or change.old
    yield f"diff --git {_quoted(f'a/{new}')} {_quoted(f'b/{old}')}"
    yield from swapped
    if change.hunks:
        yield f"--- {_ended(f'a/{change.new}')}" if change.new else "--- /dev/null"
        yield f"+++ {_ended(f'b/{change.old}')}" if change.old else "+++ /dev/null"


def _ended(path: str) -> str:
    """A path in a line of its own, where one with a blank is followed by a tab."""
    return f"{path}\t" if " " in path and _quoted(path) == path else _quoted(path)


def _quoted(path: str) -> str:
    """A path as git writes it: one with other than plain characters in quotes, its bytes in octal."""
    if path.isascii() and path.isprintable() and '"' not in path and "\\" not in path:
        return path
    plain = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
    shown = (plain.get(chr(byte), chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in path.encode())
    return '"' + "".join(shown) + '"'


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
