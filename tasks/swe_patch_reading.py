"""Reads unified diffs safely, as ``git apply`` does: what is not understood of a text is not part of the diff."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stepgym.tasks.swe_patch import Change, Diff, FilePatch
from stepgym.tasks.swe_patch_names import git_name, stripped_name, unquoted_name

LARGEST = 20_000_000
"""Characters of a diff that is read."""
MOST_FILES = 10_000
MOST_LOST = 3
"""Blank lines that may be missing at the very end, where they were stripped: GNU patch adds them, and git does not."""

_HUNK = re.compile(r"@@ -\d+(?:,(\d{1,9}))? \+\d+(?:,(\d{1,9}))? @@")
_HEADER = re.compile(
    r"(old mode|new mode|deleted file mode|new file mode|copy from|copy to|rename from|rename to|similarity index"
    r"|dissimilarity index|index) (.*)"
)


def parse_diff(text: str) -> Diff:
    """Read a diff. It raises for nothing: what is wrong stands in `Diff.flaws`."""
    if len(text) > LARGEST:
        return Diff(flaw=f"the diff has {len(text):,} characters, more than {LARGEST:,}")
    reader = _Reader(text)
    files = []
    for file in reader.read():
        files.append(file)
        if len(files) > MOST_FILES:
            return Diff(flaw=f"the diff touches more than {MOST_FILES:,} files")
    nothing = "" if files or not text.strip() else "it is not a diff: it names no file"
    return Diff(tuple(files), reader.flaw or nothing, ended=text.endswith("\n") or not reader.to_the_end)


def changes(text: str) -> tuple[FilePatch, ...]:
    """The files that a diff changes, in its order. Raises `ValueError`, saying why, for what cannot be applied."""
    diff = parse_diff(text)
    if diff.flaws:
        raise ValueError(diff.flaws[0])
    if not diff.files:
        raise ValueError("it is empty")
    return diff.files


class _Reader:
    """A cursor over the lines of a diff."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        if self._lines[-1] == "":
            self._lines.pop()
        self._at = 0
        self.flaw = ""
        self.to_the_end = False
        """Whether the last file's part reaches to the end of the text."""

    def _line(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._lines[at] if at < len(self._lines) else ""

    def read(self) -> Iterator[FilePatch]:
        while self._at < len(self._lines):
            if self._line().startswith("diff --git ") or self._names_follow():
                yield self._file()
            else:
                if self._line().startswith("@@ -") and not self.flaw:
                    self.flaw = f"line {self._at + 1}: a hunk that belongs to no file"
                self._at += 1

    def _names_follow(self) -> bool:
        return self._line().startswith("--- ") and self._line(1).startswith("+++ ")

    def _file(self) -> FilePatch:
        start = self._at
        names = _Names()
        if self._line().startswith("diff --git "):
            names.git = git_name(self._line()[len("diff --git ") :])
            self._at += 1
            while (header := _HEADER.fullmatch(self._line())) is not None:
                names.header(header[1], header[2])
                self._at += 1
        binary = self._binary()
        flaw = ""
        if not binary and self._names_follow():
            names.old, names.new = self._line()[4:], self._line(1)[4:]
            self._at += 2
            flaw = self._hunks()
        text = "\n".join(self._lines[start : self._at]) + "\n"
        self.to_the_end = self._at >= len(self._lines)
        return names.patch(text, binary, flaw)

    def _binary(self) -> bool:
        if self._line().startswith("Binary files ") and self._line().endswith(" differ"):
            self._at += 1
            return True
        if self._line() != "GIT binary patch":
            return False
        self._at += 1
        while self._at < len(self._lines) and not self._line().startswith(("diff --git ", "--- ", "@@ ")):
            self._at += 1
        return True

    def _hunks(self) -> str:
        """Read on to the end of the hunks; returns what is wrong with them."""
        if not self._line().startswith("@@ -"):
            return "no hunk follows its names"
        count = 0
        while self._line().startswith("@@ -"):
            count += 1
            if (header := _HUNK.match(self._line())) is None:
                return f"hunk {count} has a header that cannot be read"
            self._at += 1
            if not self._hunk(int(header[1] or 1), int(header[2] or 1)):
                return f"hunk {count} has other lines than its header counts"
        return ""

    def _hunk(self, old: int, new: int) -> bool:
        while old > 0 or new > 0:
            if self._at >= len(self._lines):
                return old == new <= MOST_LOST
            sign = self._line()[:1]
            if sign not in ("", " ", "-", "+", "\\"):
                return False
            old -= sign in ("", " ", "-")
            new -= sign in ("", " ", "+")
            self._at += 1
        if self._line().startswith("\\"):
            self._at += 1
        return old == 0 and new == 0


class _Names:
    """What the header of a file says, until it is put together."""

    def __init__(self) -> None:
        self.git = ""
        self.old = ""
        self.new = ""
        self._said: dict[str, str] = {}

    def header(self, key: str, value: str) -> None:
        self._said[key] = value

    def patch(self, text: str, binary: bool, flaw: str) -> FilePatch:
        moved = next((word for word in ("rename", "copy") if f"{word} to" in self._said), "")
        before = after = self.git
        if moved:
            before, after = (unquoted_name(self._said.get(f"{moved} {end}", "")) for end in ("from", "to"))
        if self.old or self.new:
            old, new = stripped_name(self.old), stripped_name(self.new)
            named = {name for name in (old, new) if name is not None}
            agree = (old, new) == (before, after) if moved else len(named) == 1 and self.git in ("", *named)
            flaw = flaw or ("" if agree else "its headers name different files")
            before, after = old or "", new or ""
        change = Change.RENAMED if moved == "rename" else Change.COPIED if moved else Change.MODIFIED
        if "new file mode" in self._said or self._null(self.old):
            change, before = Change.ADDED, ""
        elif "deleted file mode" in self._said or self._null(self.new):
            change, after = Change.DELETED, before
        return FilePatch(
            path=after,
            before=before,
            change=change,
            text=text,
            binary=binary,
            modes=self._modes(),
            flaw=flaw if before or after else flaw or "its header names no file",
        )

    @staticmethod
    def _null(name: str) -> bool:
        return name.split("\t", 1)[0].rstrip() == "/dev/null"

    def _modes(self) -> tuple[str, ...]:
        said = [value.split()[-1] for key, value in self._said.items() if key.endswith("mode") and value.split()]
        return tuple(said + self._said.get("index", "").split()[1:2])
