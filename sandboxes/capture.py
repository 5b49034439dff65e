"""Output kept while it is read: its beginning and its end, in memory that does not grow with it."""

from __future__ import annotations


class Capture:
    """The first and the last half of `limit` bytes of a stream, and how many there were."""

    def __init__(self, limit: int) -> None:
        self._room = limit - limit // 2
        self._keep = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0
        """Bytes that came in."""

    def add(self, data: bytes | memoryview) -> None:
        """Take in what was read."""
        self.total += len(data)
        if len(self._head) < self._room:
            taken = self._room - len(self._head)
            self._head += data[:taken]
            data = data[taken:]
        self._tail += data
        if len(self._tail) > 2 * self._keep + (1 << 16):  # so that a byte is moved once, not at every read
            del self._tail[: len(self._tail) - self._keep]

    @property
    def truncated(self) -> bool:
        """There was more than is kept."""
        return self.total > self._room + self._keep

    def raw(self) -> bytes:
        """What is kept, without a mark between its halves."""
        return bytes(self._head) + self._end()

    def text(self) -> str:
        """What is kept, with a line in the middle that says how much is left out."""
        if not self.truncated:
            return self.raw().decode(errors="replace")
        left_out = self.total - self._room - self._keep
        head, tail = self._head.decode(errors="replace"), self._end().decode(errors="replace")
        return f"{head}\n[… {left_out} bytes left out …]\n{tail}"

    def _end(self) -> bytes:
        return bytes(self._tail[max(0, len(self._tail) - self._keep) :])
