"""What a command printed, as an agent is shown it."""

from __future__ import annotations

from math import ceil

from stepgym.sandboxes import ExecResult

MOST_CHARACTERS = 10_000
"""Of an output, half of them its beginning and half its end (mini-swe-agent)."""
KEPT_BYTES = 8 * MOST_CHARACTERS
"""What a sandbox keeps of an output: enough for both halves, whatever the characters."""


def shown(result: ExecResult) -> str:
    """The exit code and the output, in mini-swe-agent's form, which recorded runs have too."""
    parts = [f"<returncode>{result.exit_code}</returncode>"]
    if result.why:
        parts.append(f"<stopped>{result.why}</stopped>")
    output = bounded(result.output, result.bytes_total)
    return "\n".join((*parts, "<output>", *([output] if output else []), "</output>"))


def bounded(text: str, total: int = 0) -> str:
    """`text` with its middle left out where it is long; `total` says how many bytes it had before it came here."""
    text = text.removesuffix("\n")
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    left_out = max(len(text), total) - 2 * half
    note = f"[about {left_out} characters left out; write the output to a file and look at parts of it]"
    return f"{text[:half]}\n{note}\n{text[-half:]}"


def left(steps: int, seconds: float) -> str:
    """What is left of the budgets. Time is in whole minutes, so that the same commands show the same text."""
    minutes = ceil(max(seconds, 0.0) / 60)
    actions = "1 action" if steps == 1 else f"{steps} actions"
    return f"[{actions} and {minutes} minute{'s' * (minutes != 1)} of running commands left]"
