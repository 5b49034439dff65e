"""The ``stepgym`` command: one table of commands, each a function of one frozen dataclass.

A command's flags are the fields of its dataclass, and ``--config FILE.toml`` gives the same fields from a file, flags
winning. Nothing of a command is imported before it is called. Exit codes: 0 done, 1 a bug, 2 bad input or a part of
ours that failed (one sentence on stderr), 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from stepgym.codec import decode_fields, is_required
from stepgym.errors import ConfigError, StepgymError
from stepgym.registry import unknown

COMMANDS: Mapping[str, str] = {
    "tasks list": "stepgym.tasks.commands:list_sets",
    "tasks show": "stepgym.tasks.commands:show",
    "tasks export": "stepgym.tasks.commands:export",
    "tasks from-pypi": "stepgym.evals.swe_making_commands:from_pypi",
    "tasks from-git": "stepgym.evals.swe_making_commands:from_git",
    "annotate hints": "stepgym.agents.commands:annotate_hints",
    "annotate subquestions": "stepgym.agents.commands:annotate_subquestions",
    "annotate steps": "stepgym.agents.commands:annotate_steps",
    "validate": "stepgym.evals.commands:validate",
    "rollout": "stepgym.evals.commands:rollout",
    "eval math": "stepgym.evals.commands:eval_math",
    "eval swe": "stepgym.evals.commands:eval_swe",
    "train": "stepgym.trainers.commands:train",
    "curriculum": "stepgym.trainers.commands:curriculum",
    "study": "stepgym.trainers.studies.commands:study",
    "view": "stepgym.evals.commands:view",
    "sandboxes ls": "stepgym.sandboxes.commands:list_all",
    "sandboxes prune": "stepgym.sandboxes.commands:remove_leftovers",
    "doctor": "stepgym.doctor:main",
}
"""Command words to ``module:function``; the first line of the function's docstring is its line in the help."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line (`sys.argv` by default) and exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal's encoding lacks is shown as \\u1234
        sys.stdout.reconfigure(errors="backslashreplace")
    code: str | int | None
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as exit_:  # the parser's, after its help or its complaint
        code = exit_.code
    except BrokenPipeError:  # `stepgym tasks show … | head`
        code = 0
    except KeyboardInterrupt:
        print("\nstepgym: interrupted", file=sys.stderr)
        code = 130
    except (StepgymError, OSError) as error:
        print(f"stepgym: {error}", file=sys.stderr)
        code = 2
    except ModuleNotFoundError as error:
        from stepgym.doctor import remedy_for

        remedy = remedy_for(error.name or "")
        if not remedy:
            raise
        print(f"stepgym: {error.name} is not installed; {remedy}", file=sys.stderr)
        code = 2
    sys.exit(_finished(code))


def _finished(code: str | int | None) -> str | int | None:
    """Write out what is left of the output, where Python would complain at its exit of what takes none any more."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            print(f"stepgym: the output cannot be written ({error.strerror})", file=sys.stderr)
            return code or 2
    return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        from stepgym import __version__

        print(__version__)
        return 0
    name = _command(words)
    command = _load(COMMANDS[name])
    command(_configuration(name, command, words[len(name.split()) :]))
    return 0


def _command(words: Sequence[str]) -> str:
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name
    kin = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if kin:
        given = " ".join(words[:2]) if len(words) > 1 and not words[1].startswith("-") else words[0]
        raise unknown("command", given, kin)
    raise unknown("command", words[0], {name.split()[0] for name in COMMANDS})


def _load(path: str) -> Callable[[Any], None]:
    module, _, attribute = path.partition(":")
    command: Callable[[Any], None] = getattr(import_module(module), attribute)
    return command


def _configuration(name: str, command: Callable[[Any], None], words: list[str]) -> Any:
    """The command's dataclass, from the flags in `words` over the fields of ``--config FILE.toml``."""
    import tyro

    (kind,) = (hint for key, hint in get_type_hints(command).items() if key != "return")
    default: Any = tyro.MISSING_NONPROP
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    if "--config" in words:
        at = words.index("--config")
        if at + 1 == len(words):
            raise ConfigError("--config needs a file name")
        given = _from_file(kind, Path(words[at + 1]))
        default = kind(**{f.name: tyro.MISSING for f in fields(kind) if is_required(f)} | given)
        words = words[:at] + words[at + 2 :]
    return tyro.cli(
        kind,
        prog=f"stepgym {name}",
        description=command.__doc__,
        args=words,
        default=default,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _from_file(kind: Any, path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return decode_fields(
        kind, {key.replace("-", "_"): value for key, value in table.items()}, where=f"{path}: settings"
    )


def _help() -> str:
    lines = [
        "usage: stepgym COMMAND [options]     (stepgym COMMAND --help for its options)",
        "       stepgym COMMAND --config FILE.toml     (options from a file; those given besides win)",
        "",
    ]
    for name, path in COMMANDS.items():
        summary = (_load(path).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<21} {summary}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
