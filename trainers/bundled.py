"""The bundled transformer and its character tokenizer as the engine sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepgym.trainers.backbone import RunState, Saved
from stepgym.trainers.checkpoint import FILE, Checkpoint, load_checkpoint, save_checkpoint
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.model import Transformer
from stepgym.trainers.policy import LocalPolicy
from stepgym.trainers.tokenizer import CharTokenizer


@dataclass(frozen=True, slots=True)
class Bundled:
    """A `Transformer` that reads characters. It is kept in one file, ``checkpoint.pt``."""

    model: Transformer
    tokenizer: CharTokenizer

    @property
    def end(self) -> int:
        """The end token."""
        return self.tokenizer.end

    @property
    def context(self) -> int:
        """As the model was made."""
        return self.model.config.context

    def encode(self, text: str) -> list[int]:
        """Characters and pieces. Raises `PolicyError` for one outside the alphabet."""
        return self.tokenizer.encode(text)

    def policy(self, name: str, config: TrainConfig) -> LocalPolicy:
        """Samples in float32 whatever the precision: the steps of so small a model are too short to gain from less."""
        return LocalPolicy(self.model, self.tokenizer, name=name, max_batch=config.max_batch)

    def save(self, folder: Path, state: RunState) -> None:
        """Replace the file."""
        checkpoint = Checkpoint(self.model, self.tokenizer, state.step, state.optimiser, state.critic)
        save_checkpoint(folder / FILE, checkpoint)


def load_bundled(path: Path, device: str) -> Saved:
    """From a checkpoint: the file, or the folder of a run. Raises `StoreError`."""
    read = load_checkpoint(path, device=device)
    state = RunState(step=read.step, optimiser=read.optimiser, critic=read.critic)
    return Saved(Bundled(read.model, read.tokenizer), state)
