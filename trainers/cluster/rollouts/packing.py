"""Trajectories that go from one process to another at the cost of their tokens, not of their prompts.

Each reply has the prompt that it was sampled after, and so all that was said before: an episode of 50 turns that ends
at 30,000 tokens holds 750,000, as objects. Pickling eight of them would hold a rollout actor for a quarter of a second,
and reading them the trainer for longer. Packed, a prompt is what it adds to the one before and its reply.
"""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stepgym.records import Reply, Trajectory

IDS, LOGPROBS = "I", "d"
"""Type codes of `array`: 32 bits are enough for any vocabulary, and log-probabilities stay as they are."""


class Packed:
    """Pickles as bytes that are made beforehand, in any thread, and arrives as the `Trajectory` itself."""

    def __init__(self, trajectory: Trajectory) -> None:
        ids: array[int] = array(IDS)
        logprobs: array[float] = array(LOGPROBS)
        shapes: list[_Shape] = []
        said: tuple[int, ...] = ()
        for step in trajectory.steps:
            reply = step.reply
            kept = len(said) if reply.prompt[: len(said)] == said else 0
            added = reply.prompt[kept:]
            shapes.append(_Shape(kept, len(added), len(reply.tokens), len(reply.logprobs)))
            ids.extend(added)
            ids.extend(reply.tokens)
            logprobs.extend(reply.logprobs)
            said = reply.prompt + reply.tokens
        bare = [
            replace(step, reply=replace(step.reply, prompt=(), tokens=(), logprobs=())) for step in trajectory.steps
        ]
        rest = pickle.dumps((replace(trajectory, steps=tuple(bare)), shapes))
        self._parts = (rest, ids.tobytes(), logprobs.tobytes())

    def __reduce__(self) -> tuple[Callable[..., Trajectory], tuple[bytes, bytes, bytes]]:
        return unpacked, self._parts


def unpacked(rest: bytes, ids: bytes, logprobs: bytes) -> Trajectory:
    """The trajectory of a `Packed` with those parts."""
    trajectory, shapes = pickle.loads(rest)
    tokens, numbers = _reader(array(IDS, ids)), _reader(array(LOGPROBS, logprobs))
    said: tuple[int, ...] = ()
    steps = []
    for step, shape in zip(trajectory.steps, shapes, strict=True):
        prompt = said[: shape.kept] + tokens(shape.added)
        sampled = tokens(shape.sampled)
        reply: Reply = replace(step.reply, prompt=prompt, tokens=sampled, logprobs=numbers(shape.logprobs))
        steps.append(replace(step, reply=reply))
        said = prompt + sampled
    whole: Trajectory = replace(trajectory, steps=tuple(steps))
    return whole


@dataclass(frozen=True, slots=True)
class _Shape:
    """How many numbers of a reply are where."""

    kept: int
    """Of the prompt: the whole of the prompt and reply before, or nothing."""
    added: int
    sampled: int
    logprobs: int


def _reader(values: Any) -> Callable[[int], tuple[Any, ...]]:
    """The next so many of `values`."""
    everything = values.tolist()
    position = 0

    def read(count: int) -> tuple[Any, ...]:
        nonlocal position
        start, position = position, position + count
        return tuple(everything[start:position])

    return read
