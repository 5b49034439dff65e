"""Any causal language model of HuggingFace transformers as the engine sees it.

It is kept in transformers' own format (``save_pretrained``), so that a checkpoint is a model folder for every program
that reads such folders, with one file more: ``state.pt``, what the run needs to go on. A run's folder holds
``checkpoint-STEP``, and the link ``checkpoint`` to it. A new folder is written under another name, and the link is
replaced in one step: a run that is killed at any moment leaves one whole checkpoint.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stepgym.agents.batching import Chat
from stepgym.agents.policy import Sampling
from stepgym.errors import ConfigError, PolicyError, StoreError
from stepgym.records import Reply
from stepgym.store import writing
from stepgym.trainers.backbone import RunState, Saved
from stepgym.trainers.checkpoint import LINK
from stepgym.trainers.config import Precision, TrainConfig
from stepgym.trainers.precision import casting
from stepgym.trainers.transformers_policy import HuggingFacePolicy, Pretrained, end_tokens, load_pretrained

STATE = "state.pt"
FORMAT = "stepgym run state 1"


class CausalModel(nn.Module):
    """A causal model, split into its body and its head, so that logits are made only where they are wanted.

    The head is the model's own forward pass with another body in it, one that hands on hidden states: whatever an
    architecture does to its logits (a cap, a scale) is done. The module is always in evaluation mode.
    """

    def __init__(self, causal: Any) -> None:
        """Raises `ConfigError` for an architecture that cannot be split so, or whose tokens see later ones."""
        super().__init__()
        self.causal = causal.eval()
        self._head = [_head_of(causal)]  # in a list, for torch not to count its weights twice
        self._try_out()

    def hidden(self, tokens: Tensor) -> Tensor:
        """The body's last hidden states. Nothing is masked: padding stands on the right, where no token looks."""
        whole = torch.ones_like(tokens)
        states: Tensor = self.causal.base_model(input_ids=tokens, attention_mask=whole, use_cache=False)[0]
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """As the whole model would make them."""
        rows = hidden.reshape(1, -1, hidden.shape[-1])
        logits: Tensor = self._head[0](inputs_embeds=rows, use_cache=False).logits
        return logits.view(*hidden.shape[:-1], -1)

    @torch.no_grad()
    def _try_out(self) -> None:
        tokens = torch.arange(8, device=self.causal.device)[None] % self.causal.get_input_embeddings().num_embeddings
        kind = type(self.causal).__name__
        try:
            whole = self.causal(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits
            split, start = self.logits(self.hidden(tokens)), self.logits(self.hidden(tokens[:, :4]))
        except Exception as error:  # an architecture with ways of its own
            raise ConfigError(f"{kind} cannot be trained here: {type(error).__name__}: {error}") from error
        if not (_close(whole, split) and _close(whole[:, :4], start)):
            raise ConfigError(f"{kind} cannot be trained here: its logits are not a causal body's through a head")


class _States:
    """A body's output that has hidden states and nothing else."""

    def __init__(self, last_hidden_state: Tensor) -> None:
        self.last_hidden_state = last_hidden_state

    def __getitem__(self, index: int) -> Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        return None


class _Given(nn.Module):
    """Stands in for the body of a model, and hands on what it is given."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> _States:
        return _States(inputs_embeds)

    @property
    def decoder(self) -> nn.Module:
        """OPT's body has its layers a level deeper."""
        return self


def _head_of(causal: Any) -> Any:
    """The same model with the same head, without its body."""
    head = copy.copy(causal)
    head._modules = {**causal._modules, causal.base_model_prefix: _Given()}
    return head


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max()))


class TrainedPolicy(HuggingFacePolicy):
    """Samples from a model that is being trained, in a precision of its own."""

    def __init__(self, loaded: Pretrained, *, name: str, max_batch: int, precision: Precision) -> None:
        super().__init__(loaded.model, loaded.tokenizer, name=name, max_batch=max_batch)
        self._device, self._precision = loaded.model.device.type, precision

    def sample_batch(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]
    ) -> Sequence[Reply | PolicyError]:
        """As any other, in that precision. The weights are cast once for all tokens of a batch."""
        with casting(self._device, self._precision):
            return super().sample_batch(chats, sampling, seeds)


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """A causal model and its tokenizer."""

    model: CausalModel
    tokenizer: Any
    end: int
    generation: str
    """The model's own generation settings, which go with its checkpoints, as JSON."""

    @property
    def context(self) -> int:
        """As the model's configuration says; boundless if it does not."""
        return getattr(self.model.causal.config, "max_position_embeddings", None) or 2**31

    def encode(self, text: str) -> list[int]:
        """Without special tokens."""
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return tokens

    def policy(self, name: str, config: TrainConfig) -> TrainedPolicy:
        """Samples in the precision of the run."""
        pair = Pretrained(self.model.causal, self.tokenizer)
        return TrainedPolicy(pair, name=name, max_batch=config.max_batch, precision=config.precision)

    def save(self, folder: Path, state: RunState) -> None:
        """Write a new folder, set the link to it, delete the one before."""
        kept, partial = folder / f"{LINK}-{state.step}", folder / f".{LINK}-{state.step}.partial"
        with writing(kept):
            for stale in (kept, partial):  # left by a run that was killed before the link was set to it
                shutil.rmtree(stale, ignore_errors=True)
            self._write(partial, state)
            partial.rename(kept)
            link = folder / f".{LINK}.link"
            link.unlink(missing_ok=True)
            link.symlink_to(kept.name)
            link.replace(folder / LINK)
            for other in (*folder.glob(f"{LINK}-*"), *folder.glob(f".{LINK}-*.partial")):
                if other != kept:
                    shutil.rmtree(other)

    def _write(self, folder: Path, state: RunState) -> None:
        folder.mkdir(parents=True)
        with _without_bars():
            self.model.causal.save_pretrained(folder)
        (folder / "generation_config.json").write_text(self.generation, encoding="utf-8")
        self.tokenizer.save_pretrained(folder)
        torch.save(
            {"format": FORMAT, "step": state.step, "optimiser": state.optimiser, "critic": state.critic}, folder / STATE
        )
        for path in (*folder.iterdir(), folder):
            opened = os.open(path, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Transformers draws its progress bars over ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_huggingface(model: str, device: str) -> HuggingFace:
    """From a folder, or by its name on the hub, with weights in float32.

    Raises `PolicyError` if it cannot be loaded, and `ConfigError` if it cannot be trained.
    """
    loaded = load_pretrained(model, device=device, dtype="float32")
    ends = end_tokens(loaded.model, loaded.tokenizer)
    if not ends:
        raise ConfigError(f"{model}: neither the model nor its tokenizer names a token that ends a reply")
    end = loaded.tokenizer.eos_token_id
    generation = loaded.model.generation_config.to_json_string()
    return HuggingFace(CausalModel(loaded.model), loaded.tokenizer, ends[0] if end is None else end, generation)


def load_saved(folder: Path, device: str) -> Saved:
    """A checkpoint that `HuggingFace.save` wrote. Raises `StoreError` or `PolicyError` for one that cannot be read."""
    folder = folder.resolve()  # the link may be set to another one meanwhile
    try:
        content = torch.load(folder / STATE, map_location=device, weights_only=True)
    except Exception as error:  # whatever torch, pickle or zip make of a file that is something else
        raise StoreError(f"{folder / STATE} cannot be read ({type(error).__name__})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise StoreError(f"{folder / STATE} is not one that this version of stepgym reads ({FORMAT!r})")
    state = RunState(step=content["step"], optimiser=content["optimiser"], critic=content["critic"])
    return Saved(load_huggingface(str(folder), device), state)
