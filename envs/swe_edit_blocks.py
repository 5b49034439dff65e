"""SEARCH/REPLACE edits, as Agentless (arXiv 2407.01489) and SWE-RL (arXiv 2502.18449) have models write them.

    ### path/of/file.py
    <<<<<<< SEARCH
    lines as they stand in the file
    =======
    lines to put in their place
    >>>>>>> REPLACE

A thought up to ``</think>``, ``<solution>`` tags, and fences around blocks may be there, and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SEARCH, DIVIDER, REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"
LARGEST = 4 << 20
"""Characters of a file after its edits."""
MOST_EDITS = 1_000
_HEADER = re.compile(r"#{2,4} +(\S.{0,1000})")


class EditFormatError(ValueError):
    """The text is not edits that can be made; the message says why, for the agent."""


@dataclass(frozen=True, slots=True)
class Block:
    """One edit."""

    path: str
    search: tuple[str, ...]
    """Whole lines; none makes a file that is not there."""
    replace: tuple[str, ...]


def parse_blocks(text: str) -> tuple[Block, ...]:
    """The edits in what a model wrote. Raises `EditFormatError` for none, and for one that is not complete."""
    answer = text.rpartition("</think>")[2]
    if "\0" in answer:
        raise EditFormatError("there is a NUL character in it, so it is not text")
    blocks: list[Block] = []
    path = ""
    lines = iter(answer.split("\n"))
    for line in lines:
        plain = line.strip()
        if header := _HEADER.fullmatch(plain):
            path = header[1].strip().strip("`").removeprefix("./")
        elif plain == SEARCH:
            if not path:
                raise EditFormatError(f"edit {len(blocks) + 1} has no line '### path' before it")
            search = _until(lines, DIVIDER, len(blocks) + 1)
            blocks.append(Block(path, search, _until(lines, REPLACE, len(blocks) + 1)))
            if len(blocks) > MOST_EDITS:
                raise EditFormatError(f"there are more than {MOST_EDITS} edits")
    if not blocks:
        raise EditFormatError(f"there is no edit: no line {SEARCH!r} in the answer")
    return tuple(blocks)


def edited(files: Mapping[str, str], blocks: tuple[Block, ...]) -> dict[str, str]:
    """The new texts of the files that change; a file's edits are made in their order, each wherever its lines stand.

    `files` are the texts that may be changed. Raises `EditFormatError` for another file, lines that do not stand in it,
    an edit that changes nothing, and a file beyond `LARGEST`.
    """
    texts: dict[str, str] = {}
    for number, block in enumerate(blocks, start=1):
        before = texts.get(block.path, files.get(block.path))
        if before is None and any(block.search):
            raise EditFormatError(f"edit {number}: {block.path!r:.200} is not one of the files shown")
        if before is not None and not block.search:
            raise EditFormatError(f"edit {number}: nothing to search for, and {block.path} is there already")
        if block.search == block.replace:
            raise EditFormatError(f"edit {number} changes nothing")
        texts[block.path] = _lines(block.replace) if before is None else _replaced(before, block, number)
    return {path: text for path, text in texts.items() if text != files.get(path)}


def _until(lines: Iterator[str], end: str, number: int) -> tuple[str, ...]:
    found: list[str] = []
    for line in lines:
        if line.strip() == end:
            return tuple(found)
        found.append(line.removesuffix("\r"))
    raise EditFormatError(f"edit {number} lacks its line {end!r}")


def _lines(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _replaced(before: str, block: Block, number: int) -> str:
    """`before` with the lines replaced. A NUL is put before every line, so that only whole lines match."""
    ended = before.endswith("\n")
    text = _marked(before if ended else f"{before}\n")
    search, replace = _marked(_lines(block.search)), _marked(_lines(block.replace))
    count = text.count(search)
    if not count:
        raise EditFormatError(f"edit {number}: its lines do not stand so in {block.path}")
    if len(text) + count * (len(replace) - len(search)) > LARGEST:
        raise EditFormatError(f"edit {number} makes {block.path} longer than {LARGEST >> 20} MiB")
    after = text.replace(search, replace).replace("\0", "")
    return after if ended else after.removesuffix("\n")


def _marked(text: str) -> str:
    return "".join(f"\0{line}\n" for line in text.split("\n")[:-1])
