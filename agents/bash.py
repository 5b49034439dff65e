"""The bash agent: a policy at a shell, in the spirit of mini-swe-agent: one command a turn, and a linear history."""

from __future__ import annotations

import math
import time
from enum import StrEnum

from stepgym.agents.chat import ChatAgent
from stepgym.agents.policy import Policy, Sampling
from stepgym.envs.swe_actions import SUBMIT, as_call
from stepgym.errors import ConfigError
from stepgym.records import Reply, Usage

TEXT_SYSTEM = """\
You are a software engineer at the shell of a computer. In every turn, say in a few words what you are after and why,
and then give exactly one block with exactly one command (several may be joined with && or ||):

THOUGHT: what you are after

```bash
your command
```

A turn with no such block, or with more than one, runs nothing. A good way through: find and read the code that matters,
reproduce the problem with a small script, change the source, run the script again, try the edges, remove the script,
and then submit with the one command `submit`."""
TOOLS_SYSTEM = """\
You are a software engineer at a computer, and act by calling tools. In every turn, say in a few words what you are
after and why, and then make exactly one call. The tools are

{"name": "bash", "description": "Run a command in bash.", "parameters": {"type": "object", "properties":
{"command": {"type": "string"}}, "required": ["command"]}}
{"name": "str_replace_editor", "description": "View, create or change a file. view shows a file with line numbers, or a
folder; create writes a file; str_replace replaces old_str, which must stand in the file exactly once, by new_str;
insert puts new_str after the line insert_line.", "parameters": {"type": "object", "properties": {"command": {"enum":
["view", "create", "str_replace", "insert"]}, "path": {"type": "string"}, "file_text": {"type": "string"}, "old_str":
{"type": "string"}, "new_str": {"type": "string"}, "insert_line": {"type": "integer"}, "view_range": {"type": "array",
"items": {"type": "integer"}}}, "required": ["command", "path"]}}
{"name": "submit", "description": "Hand in the changes, when nothing is left to do.", "parameters": {"type": "object",
"properties": {}}}

A call is JSON between two tags:

<tool_call>
{"name": "bash", "arguments": {"command": "ls"}}
</tool_call>

A good way through: find and read the code that matters, reproduce the problem with a small script, change the source,
run the script again, try the edges, remove the script, and then submit."""


class Dialect(StrEnum):
    """The form in which the policy is asked to act. The environment understands all of them."""

    TEXT = "text"
    """A block of bash between backticks."""
    TOOLS = "tools"
    """A call of a tool as JSON between tags, as Hermes's and Qwen's templates have it."""


class BashAgent(ChatAgent):
    """Works in ``stepgym/SWE-v0`` with any policy; the whole conversation is shown to it in every turn.

    When a budget is used up, it submits what is there, as SWE-agent does, with a reply of no cost: a turn that is under
    way is let finish, so a budget may be exceeded by one. The environment's own budgets hold beside these.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        sampling: Sampling | None = None,
        dialect: Dialect | str = Dialect.TEXT,
        system: str | None = None,
        steps: int = 250,
        tokens: float = math.inf,
        dollars: float = math.inf,
        seconds: float = math.inf,
    ) -> None:
        """`system` takes the place of the dialect's own prompt.

        Of an episode, `steps` bounds the turns, `tokens` what is read and written in all of them together, `dollars`
        what that cost, and `seconds` the time since it began. Raises `ConfigError` for a budget that is not positive.
        """
        try:
            self.dialect = Dialect(dialect)
        except ValueError:
            raise ConfigError(f"a dialect is {' or '.join(Dialect)}, not {dialect!r}") from None
        for name, budget in (("steps", steps), ("tokens", tokens), ("dollars", dollars), ("seconds", seconds)):
            if not budget > 0:
                raise ConfigError(f"the budget of {name} must be positive, not {budget}")
        self.steps, self.tokens, self.dollars, self.seconds = steps, tokens, dollars, seconds
        self.usage = Usage()
        """Of this episode so far."""
        self.out_of = ""
        """The budget that was used up; empty where none was."""
        own = TEXT_SYSTEM if self.dialect is Dialect.TEXT else TOOLS_SYSTEM
        super().__init__(policy, sampling=sampling, system=own if system is None else system)

    @property
    def name(self) -> str:
        """``bash:`` and the policy's name."""
        return f"bash:{self.policy.name}"

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode, with full budgets."""
        super().reset(seed=seed)
        self._turns, self._begun = 0, time.monotonic()
        self.usage, self.out_of = Usage(), ""

    async def act(self, observation: str) -> Reply:
        """The policy's reply, or a submission where a budget is used up. Raises `stepgym.errors.PolicyError`."""
        self.out_of = self._exceeded()
        if self.out_of:
            return Reply(text=f"Out of {self.out_of}.\n{as_call(SUBMIT)}")
        reply = await super().act(observation)
        self._turns += 1
        self.usage += reply.usage
        return reply

    def _exceeded(self) -> str:
        spent = {
            "steps": (self._turns, self.steps),
            "tokens": (self.usage.prompt_tokens + self.usage.completion_tokens, self.tokens),
            "dollars": (self.usage.dollars, self.dollars),
            "seconds": (time.monotonic() - self._begun, self.seconds),
        }
        return next((name for name, (used, budget) in spent.items() if used >= budget), "")
