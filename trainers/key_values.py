"""Keys and values of the tokens that a `Decoder` has read: with torch's operations anywhere, compiled on a CPU.

Tokens stand in columns, which all rows share. The columns left of a row's `padding` hold nothing and are not looked at.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stepgym.trainers import _attention
from stepgym.trainers.model import Transformer, rotate


class KeyValues(Protocol):
    """What a `Decoder` needs of its memory, which is made for B rows, each layer's apart."""

    def store(self, layer: int, row: int, column: int, keys: Tensor, values: Tensor) -> None:
        """Write (n, H, T, D) keys, turned already, and values into the rows from `row` and columns from `column` on."""

    def attend(self, layer: int, qkv: Tensor, column: int) -> Tensor:
        """Store the keys and values of a new `column`, and let its queries look at all up to it.

        `qkv` (B, 3 width) is not turned yet. What comes back, (B, width), holds until the next call.
        """

    def move(self, gaps: Tensor, movers: Tensor, count: int) -> None:
        """Put the rows `movers` where the rows `gaps` were; then only the first `count` rows remain."""


def key_values(model: Transformer, padding: Tensor, room: int) -> KeyValues:
    """The memory for len(`padding`) rows of `room` columns that suits the model's device."""
    weight = model.embedding.weight
    compiled = weight.device.type == "cpu" and weight.dtype == torch.float32
    return CompiledKeyValues(model, padding, room) if compiled else TorchKeyValues(model, padding, room)


class TorchKeyValues:
    """On any device and of any precision: keys (layer, B, H, D, room) and values (layer, B, H, room, D)."""

    def __init__(self, model: Transformer, padding: Tensor, room: int) -> None:
        config, weight = model.config, model.embedding.weight
        rows, size = len(padding), config.width // config.heads
        self.rotary = model.rotary
        self.keys = weight.new_empty((config.layers, rows, config.heads, size, room))
        self.values = weight.new_empty((config.layers, rows, config.heads, room, size))
        hidden = torch.arange(room, device=weight.device) < padding.to(weight.device)[:, None, None, None]
        self.hidden = hidden if padding.any() else None

    def store(self, layer: int, row: int, column: int, keys: Tensor, values: Tensor) -> None:
        """See `KeyValues`."""
        rows, columns = slice(row, row + len(keys)), slice(column, column + keys.shape[2])
        self.keys[layer, rows, :, :, columns] = keys.transpose(-1, -2)
        self.values[layer, rows, :, columns] = values

    def attend(self, layer: int, qkv: Tensor, column: int) -> Tensor:
        """See `KeyValues`."""
        _, B, H, size, _ = self.keys.shape
        q, k, v = qkv.view(B, 3, H, 1, size).unbind(1)
        q, k = rotate(torch.stack([q, k]), self.rotary[:, column : column + 1])
        self.store(layer, 0, column, k, v)
        scores = (q * size**-0.5) @ self.keys[layer, ..., : column + 1]
        if self.hidden is not None:
            scores.masked_fill_(self.hidden[..., : column + 1], -torch.inf)
        seen: Tensor = scores.softmax(-1) @ self.values[layer, :, :, : column + 1]
        return seen.view(B, -1)

    def move(self, gaps: Tensor, movers: Tensor, count: int) -> None:
        """See `KeyValues`."""
        for held in (self.keys, self.values):
            held[:, gaps] = held[:, movers]
        self.keys, self.values = self.keys[:, :count], self.values[:, :count]
        if self.hidden is not None:
            self.hidden[gaps] = self.hidden[movers]
            self.hidden = self.hidden[:count]


class CompiledKeyValues:
    """In float32 on a CPU, where operations of torch take longer to begin than to do; `_attention.c` has the layout."""

    def __init__(self, model: Transformer, padding: Tensor, room: int) -> None:
        config, lanes = model.config, _attention.LANES
        rows, self.heads, self.size = len(padding), config.heads, config.width // config.heads
        self.blocks = -(-room // lanes)
        columns, padded = self.blocks * lanes, -(-self.size // lanes) * lanes
        self.keys = torch.empty((config.layers, rows, self.heads, self.blocks, self.size, lanes))
        self.values = torch.empty((config.layers, rows, self.heads, columns, padded))
        self.first = padding.int()
        self.seen = torch.empty((rows, config.width))
        half = self.size // 2
        cos, sin = model.rotary
        self.turns = torch.cat([cos[:, :half], sin[:, half:]], dim=1).numpy()

    def store(self, layer: int, row: int, column: int, keys: Tensor, values: Tensor) -> None:
        """See `KeyValues`."""
        rows, stop, lanes = slice(row, row + len(keys)), column + keys.shape[2], _attention.LANES
        padded = F.pad(keys, (0, 0, column % lanes, -stop % lanes)).view(len(keys), self.heads, -1, lanes, self.size)
        self.keys[layer, rows, :, column // lanes : -(-stop // lanes)] = padded.transpose(-1, -2)
        self.values[layer, rows, :, column:stop, : self.size] = values

    def attend(self, layer: int, qkv: Tensor, column: int) -> Tensor:
        """See `KeyValues`."""
        _attention.step(
            qkv.numpy(),
            self.turns[column],
            self.first.numpy(),
            self.keys[layer].numpy(),
            self.values[layer].numpy(),
            self.seen.numpy(),
            self.heads,
            self.size,
            self.blocks,
            column,
        )
        return self.seen

    def move(self, gaps: Tensor, movers: Tensor, count: int) -> None:
        """See `KeyValues`."""
        for held in (self.keys, self.values):
            held[:, gaps] = held[:, movers]
        self.first[gaps] = self.first[movers]
        self.first, self.seen = self.first[:count], self.seen[:count]
