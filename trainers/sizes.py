"""Sizes of a model, known without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepgym.errors import ConfigError, MissingDependencyError
from stepgym.trainers.config import ModelConfig, TrainConfig
from stepgym.trainers.tokenizer import CharTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What memory depends on."""

    parameters: int
    layers: int
    width: int
    feed_width: int
    """Of the feed-forward layers, all their matrices that widen taken together."""
    heads: int
    """Attention heads."""
    cached_heads: int
    """Heads that have keys and values of their own."""
    cached_width: int
    """Of the keys of one token in one layer, and of its values."""
    vocabulary: int
    context: int


def sizes_of(config: TrainConfig) -> Sizes:
    """Of the model that a run begins with. Raises `StoreError`, `ConfigError` or `MissingDependencyError`."""
    if config.start is None:
        return bundled_sizes(config.model)
    from stepgym.trainers.starting import huggingface_place

    place = huggingface_place(config.start)
    if place is not None:
        return huggingface_sizes(place)
    from stepgym.trainers.checkpoint import load_checkpoint

    return bundled_sizes(load_checkpoint(Path(config.start)).model.config)


def bundled_sizes(model: ModelConfig) -> Sizes:
    """Of the bundled transformer."""
    width, vocabulary = model.width, len(CharTokenizer())
    return Sizes(
        parameters=vocabulary * width + width + model.layers * (12 * width**2 + 2 * width),
        layers=model.layers,
        width=width,
        feed_width=4 * width,
        heads=model.heads,
        cached_heads=model.heads,
        cached_width=width,
        vocabulary=vocabulary,
        context=model.context,
    )


def huggingface_sizes(model: str) -> Sizes:
    """Of a causal model of transformers, from its configuration."""
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise MissingDependencyError("transformers models need more: pip install 'stepgym[train]'") from error
    try:
        config = AutoConfig.from_pretrained(model)
        with torch.device("meta"):  # shapes without memory
            made = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the model {model!r}: {str(error).partition(chr(10))[0]}") from error
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None) or 1
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    cached = getattr(text, "num_key_value_heads", None) or heads
    feed = getattr(text, "intermediate_size", None)
    return Sizes(
        parameters=sum(parameter.numel() for parameter in made.parameters()),
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        feed_width=2 * feed if feed else 4 * text.hidden_size,  # a gate and what it lets through
        heads=heads,
        cached_heads=cached,
        cached_width=head * cached,
        vocabulary=text.vocab_size,
        context=getattr(text, "max_position_embeddings", None) or 2**31,
    )
