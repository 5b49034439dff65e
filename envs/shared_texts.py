"""Texts in memory that processes share: what makes Gymnasium's `AsyncVectorEnv` work with its default settings.

With ``shared_memory=True``, `AsyncVectorEnv` reads the shared memory once, when it is made, and returns a deep copy of
what it read after each step. An array is a view of the memory and so follows it. Gymnasium's own text reader returns
strings, which cannot; `SharedTexts` is the view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

from stepgym.envs.space import TextSpace

SIZE = 4
"""Bytes before each text that say how many bytes it has."""


class SharedTexts(Sequence[str]):
    """A live view of one text for each environment. A deep copy is the tuple of texts as they are at that moment."""

    def __init__(self, buffers: Sequence[Any]) -> None:
        self._buffers = buffers

    def __len__(self) -> int:
        return len(self._buffers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        memory = memoryview(self._buffers[index]).cast("B")
        size = int.from_bytes(memory[:SIZE], "little")
        return str(memory[SIZE : SIZE + size], "utf-8", "surrogatepass")

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)


@create_shared_memory.register(TextSpace)
def _create(space: TextSpace, n: int = 1, ctx: Any = None) -> tuple[Any, ...]:
    longest = 4 * space.max_length  # bytes, in UTF-8
    return tuple(ctx.RawArray("B", SIZE + longest) for _ in range(n))


@read_from_shared_memory.register(TextSpace)
def _read(space: TextSpace, shared_memory: tuple[Any, ...], n: int = 1) -> SharedTexts:  # noqa: ARG001
    return SharedTexts(shared_memory)


@write_to_shared_memory.register(TextSpace)
def _write(space: TextSpace, index: int, value: str, shared_memory: tuple[Any, ...]) -> None:
    if value not in space:
        raise ValueError(f"an observation of {len(value)} characters is over the space's {space.max_length}")
    encoded = value.encode("utf-8", "surrogatepass")
    memory = memoryview(shared_memory[index]).cast("B")
    memory[SIZE : SIZE + len(encoded)] = encoded
    memory[:SIZE] = len(encoded).to_bytes(SIZE, "little")
