"""A recipe from its name and settings, such as a command line gives them, and the other way round."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from stepgym.codec import decode_fields, encode
from stepgym.errors import ConfigError
from stepgym.trainers import RECIPES
from stepgym.trainers.recipe import Recipe


def make_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe `name` with ``("group=16", "clip_high=0.3")`` set.

    Raises `UnknownNameError` for a recipe there is not, and `ConfigError` for a setting that it does not have or take.
    """
    kind = RECIPES.load(name)
    given = parse_settings(settings, what="settings")
    recipe: Recipe = kind(**decode_fields(kind, given, where=f"settings of {name}"))
    return recipe


def parse_settings(settings: Sequence[str], *, what: str) -> dict[str, Any]:
    """``("group=16", "think=false", "name=text")`` as values. Raises `ConfigError`."""
    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        name = key.replace("-", "_")
        if not equals or name in given:
            raise ConfigError(f"{what}: expected name=value, each name once, got {setting!r}")
        given[name] = _value(value)
    return given


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def settings_of(record: Any) -> dict[str, str]:
    """Every field of a settings record, defaults included, with its value as `make_recipe` reads it."""
    return {field.name: _text(encode(getattr(record, field.name))) for field in fields(record)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
