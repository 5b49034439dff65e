"""A folder as a tar file, made piece by piece while it is sent."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 18


def archive(folder: Path) -> Iterator[bytes]:
    """A tar file of a folder's files, folders and links, piece by piece, all of them root's.

    What is neither (pipes, sockets, devices) is left out: the engine would make devices that work.
    """
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as tar:  # only for the links it knows
        for place, folders, files in os.walk(folder):
            for name in folders + files:
                path = Path(place, name)
                if stat.S_IFMT(path.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                    continue
                entry = tar.gettarinfo(path, str(path.relative_to(folder)))
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = "root"
                yield entry.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
                if entry.isreg():
                    yield from _content(path, entry.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(path: Path, size: int) -> Iterator[bytes]:
    """`size` bytes, whatever happens to the file meanwhile, and what fills the last block."""
    with path.open("rb") as file:
        left = size
        while left and (data := file.read(min(left, CHUNK))):
            left -= len(data)
            yield data
    while left:
        filler = bytes(min(left, CHUNK))
        left -= len(filler)
        yield filler
    yield bytes(-size % tarfile.BLOCKSIZE)
