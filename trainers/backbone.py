"""What the engine needs of a language model, whoever wrote it.

The bundled transformer (`stepgym.trainers.bundled`) and every causal model of HuggingFace
(`stepgym.trainers.huggingface`) are the two there are; `stepgym.trainers.starting` chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from stepgym.agents.batching import Chat
from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError
from stepgym.records import Reply
from stepgym.trainers.config import TrainConfig


class LanguageModel(Protocol):
    """A torch module that reads tokens. It has no dropout, so that a forward pass repeats itself."""

    def hidden(self, tokens: Tensor) -> Tensor:
        """Final hidden states (B, T, width) of `tokens` (B, T).

        Each depends on the tokens up to its own alone, so rows may be padded on the right with anything.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) to (..., vocabulary)."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""

    def state_dict(self) -> Mapping[str, Any]:
        """All weights by name."""


class TokenPolicy(Protocol):
    """Samples replies whose tokens and log-probabilities are exactly those of the model."""

    @property
    def name(self) -> str:
        """What trajectories call it."""

    def sample_batch(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
    ) -> Sequence[Reply | PolicyError]:
        """See `stepgym.agents.batching.BatchingPolicy`. Any number of chats; the policy splits them."""

    def encode(self, chat: Chat) -> tuple[int, ...]:
        """The tokens the model reads before it speaks. Raises `PolicyError` for a chat it cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What a run needs to go on, besides the weights of its model. Torch's own formats."""

    step: int = 0
    """Steps done."""
    optimiser: Any = None
    """The optimiser's ``state_dict``."""
    critic: Any = None
    """The critic's ``state_dict``, of a recipe that has one."""


class Backbone(Protocol):
    """A language model with its tokenizer and its files."""

    @property
    def model(self) -> LanguageModel:
        """What is trained."""

    @property
    def end(self) -> int:
        """The token that ends a reply."""

    @property
    def context(self) -> int:
        """Most tokens that the model can read."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a reply, without its end. Raises `PolicyError` for text it cannot write."""

    def policy(self, name: str, config: TrainConfig) -> TokenPolicy:
        """Samples from `model` with the weights it has at that moment."""

    def save(self, folder: Path, state: RunState) -> None:
        """Replace the checkpoint in the folder of a run, wholly or not at all. Raises `StoreError`."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that was read."""

    backbone: Backbone
    state: RunState
