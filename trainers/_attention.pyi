"""Attention of one new token in every row, on a CPU; `_attention.c` says how memory is laid out. Releases the GIL."""

from typing import Any

from numpy.typing import NDArray

LANES: int
"""Columns in a block, and floats in a vector."""

def step(
    qkv: NDArray[Any],
    turn: NDArray[Any],
    first: NDArray[Any],
    keys: NDArray[Any],
    values: NDArray[Any],
    seen: NDArray[Any],
    heads: int,
    size: int,
    blocks: int,
    column: int,
    /,
) -> None:
    """Store the keys and values of `qkv` as `column`, and write what its queries see into `seen`.

    Raises `ValueError` where the buffers do not have the sizes that these numbers ask for.
    """
