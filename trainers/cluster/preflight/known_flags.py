"""The flags that OpenRLHF's command knows, read from its source: importing that takes half a minute."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from stepgym.errors import ConfigError
from stepgym.registry import unknown


def known_flags(script: Path) -> Mapping[str, bool]:
    """Every flag's name without its dashes, and whether it is a switch, which takes no value.

    `script` is OpenRLHF's ``cli/train_ppo_ray.py``. Raises `ConfigError` if it holds no flags.
    """
    flags = dict(_flags(ast.parse(script.read_text(encoding="utf-8")), {}))
    if not flags:
        raise ConfigError(f"{script} is not the OpenRLHF that stepgym knows: it adds no flags")
    return flags


def check_flags(given: tuple[str, ...], script: Path) -> None:
    """Raises `ConfigError` for what is not ``name=value``, and `UnknownNameError` for a flag that there is not."""
    known = known_flags(script)
    for flag in given:
        name, equals, value = flag.partition("=")
        name = name.removeprefix("--")
        if not equals:
            raise ConfigError(f"cluster.flags: expected name=value, got {flag!r}")
        if name not in known:
            raise unknown("flag of OpenRLHF", name, known)
        if known[name] != (value in ("true", "false")):
            takes = "is a switch, either true or false" if known[name] else "takes a value"
            raise ConfigError(f"cluster.flags: {name} {takes}, not {value!r}")


def _flags(node: ast.AST, names: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """Those added in `node`, where the variables `names` of the loops around it have these values."""
    if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Tuple):
        for value in node.iter.elts:
            if isinstance(value, ast.Constant):
                for statement in node.body:
                    yield from _flags(statement, {**names, node.target.id: str(value.value)})
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
        acts = any(word.arg == "action" for word in node.keywords)  # it stores what the switch stands for
        yield _text(node.args[0], names).removeprefix("--"), acts
    for child in ast.iter_child_nodes(node):
        yield from _flags(child, names)


def _text(node: ast.expr, names: Mapping[str, str]) -> str:
    """A string, with the values of those variables in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, names) for part in node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name):
        return names.get(node.value.id, "")
    return ""
