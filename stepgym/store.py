"""Append-only JSON lines that survive a kill at any moment.

A line is written with a single ``write`` and synced before it counts, and one process at a time may write. A line torn
by a crash is the last one and has no newline: the reader drops it, and the next writer cuts it off.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepgym.codec import encode
from stepgym.errors import StoreError


class JsonLines:
    """A file of JSON lines, open for appending by this process alone. Use as a context manager.

    Raises `StoreError` if another process has it open for writing, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed by close()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StoreError(
                f"{path} is being written by another process; wait for it, or choose another folder"
            ) from error
        self._cut_torn_line()

    def append(self, record: Any) -> None:
        """Write one record durably. `record` is anything `stepgym.codec.encode` takes."""
        line = json.dumps(encode(record), ensure_ascii=False, allow_nan=False)
        with writing(self.path):
            left = memoryview(line.encode("utf-8", "surrogatepass") + b"\n")
            while left:  # the last block of a disk takes a part
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cut_torn_line(self) -> None:
        size = end = self._file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            self._file.seek(start)
            newline = self._file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)


def read_lines(path: Path) -> Iterator[Any]:
    """The JSON values of a file that `JsonLines` wrote, a torn last line left out; nothing if there is no such file.

    Raises `StoreError` with file and line for a complete line that is not JSON: that is damage, not a crash.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line.decode("utf-8", "surrogatepass"))
            except ValueError as error:
                raise StoreError(f"{path}:{number}: not JSON ({error}); move the file away to start again") from error


def write_whole(path: Path, text: str) -> None:
    """Replace a file's content in one step: readers see the old text or the new, never a part. Raises `StoreError`."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another name to write a file under, which becomes `path` at the end, and is gone if that is not reached.

    Raises `StoreError` for whatever the system does not allow.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system does not allow (a full disk, a folder that is read-only) becomes a `StoreError` naming `path`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror or error})") from error
