r"""How a mathematical problem is put to a model: presets of published protocols.

Problems are full of braces, so that they never go through ``str.format``: a preset is text before and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stepgym.agents.reasoner import REASON
from stepgym.registry import unknown


@dataclass(frozen=True, slots=True)
class Prompt:
    """The system prompt, and what follows the problem in the user turn."""

    system: str = ""
    suffix: str = ""


PROMPTS: Mapping[str, Prompt] = {
    "qwen25-math-cot": Prompt(system=REASON),
    "qwen-boxed": Prompt(system="You are a helpful assistant.", suffix=f"\n{REASON}"),
    "boxed": Prompt(suffix=f"\n{REASON}"),
    "plain": Prompt(),
}
"""The first two are those of Qwen2.5-Math's ``evaluation/`` (the chat template is the tokenizer's own); ``plain`` is
the problem alone, for models that were trained on nothing else."""


def find_prompt(name: str) -> Prompt:
    """The preset. Raises `UnknownNameError`."""
    if name not in PROMPTS:
        raise unknown("prompt preset", name, PROMPTS)
    return PROMPTS[name]
