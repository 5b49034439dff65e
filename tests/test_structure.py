"""The architecture, held by reading the code: layers, light imports, sizes, documentation."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    "sandboxes": {"sandboxes"},
    "tasks": {"tasks"},
    "rewards": {"sandboxes", "tasks", "rewards"},
    "envs": {"sandboxes", "tasks", "rewards", "envs"},
    "agents": {"sandboxes", "tasks", "rewards", "envs", "agents"},
    "evals": {"sandboxes", "tasks", "rewards", "envs", "agents", "evals"},
    "trainers": {"sandboxes", "tasks", "rewards", "envs", "agents", "evals", "trainers"},
}
"""What each folder may import of the others. The shared vocabulary in stepgym/ imports none of them at module level."""

HEAVY = (
    "torch",
    "gymnasium",
    "sympy",
    "pydantic",
    "docker",
    "ray",
    "datasets",
    "transformers",
    "numpy",
    "httpx",
    "matplotlib",
)
PACKAGES = ["stepgym", *(f"stepgym.{folder}" for folder in LAYERS)]


def sources() -> list[Path]:
    return [file for folder in ("stepgym", *LAYERS) for file in sorted((ROOT / folder).rglob("*.py"))]


def imported(file: Path, *, module_level_only: bool) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = at_import(tree) if module_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: not in functions, not under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from at_import(child)


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_each_layer_imports_only_what_stands_before_it(file: Path) -> None:
    folder = file.relative_to(ROOT).parts[0]
    allowed = LAYERS.get(folder, set())
    for name in imported(file, module_level_only=folder == "stepgym"):
        parts = name.split(".")
        if parts[0] == "stepgym" and len(parts) > 1 and parts[1] in LAYERS:
            assert parts[1] in allowed, f"{file.relative_to(ROOT)} imports {name}"
        assert parts[0] not in LAYERS, f"{file.relative_to(ROOT)} imports {name}, which is not stepgym.{name}"


def test_torch_is_imported_by_trainers_alone() -> None:
    for file in sources():
        if file.relative_to(ROOT).parts[0] != "trainers":
            names = {name.split(".")[0] for name in imported(file, module_level_only=False)}
            assert "torch" not in names, file


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_is_light(package: str) -> None:
    code = f"import sys, {package}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_stay_small(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300, f"{file.name}: is it still one concept?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{file.name}: {node.name} is too long"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_exists_and_is_documented(package: str) -> None:
    code = (
        f"import {package} as p, inspect\n"
        "for name in getattr(p, '__all__', ()):\n"
        "    value = getattr(p, name)\n"
        "    if inspect.isclass(value) or inspect.isfunction(value):\n"
        "        assert (value.__doc__ or '').strip(), name\n"
        "assert p.__doc__, 'the package itself'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_machine_specific_is_in_the_project() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    here = str(ROOT)
    for name in filter(None, listed.stdout.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        assert here.encode() not in content or len(here) < 5, f"{name} contains {here}"
