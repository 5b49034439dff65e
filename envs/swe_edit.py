"""``stepgym/SWEEdit-v0``: an issue resolved by SEARCH/REPLACE edits, without a shell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from stepgym.envs.swe_edit_blocks import LARGEST, EditFormatError, edited, parse_blocks
from stepgym.envs.swe_edit_prompts import edit_prompt, locate_prompt, located
from stepgym.envs.swe_repository import RepositoryEnv, SandboxSource
from stepgym.envs.task_set import TaskSource
from stepgym.envs.text import Outcome
from stepgym.errors import ConfigError, SandboxError, TaskError
from stepgym.records import Score, Status, Stop
from stepgym.rewards import Reward
from stepgym.sandboxes import Spec
from stepgym.tasks.swe_patch import is_test, unsafe_path
from stepgym.tasks.swe_patch_reading import changes

MOST_SHOWN = 400_000
"""Characters of files in a prompt; the rest of them is left out."""
LISTING_BYTES = 16 << 20


class Setting(StrEnum):
    """What the agent is told of where to edit; the two in which SRL is evaluated (arXiv 2510.25992, section 5.3)."""

    ORACLE = "oracle"
    """The contents of the files that the gold patch changes (SWE-RL's oracle setting)."""
    LOCATE = "locate"
    """The names of all files. The first action names those to change, the second edits them (Agentless-mini)."""


class SWEEditEnv(RepositoryEnv):
    """An action is a whole change, as SEARCH/REPLACE edits (`stepgym.envs.swe_edit_blocks`), and ends the episode.

    In the setting ``locate`` an action before it names files, and the observation then has their contents. It earns 0;
    its score has ``located``, the share of the gold patch's files among them, as a part.

    The reward of a change is that of its diff: by default 1 if the hidden tests say so, else 0. An answer in another
    form than asked for, or whose SEARCH does not stand in the files shown, earns `malformed`: SWE-RL's reward
    (arXiv 2502.18449), ``reward="patch-similarity", malformed=-1``, is the similarity of the diff to the gold one.
    """

    def __init__(
        self,
        tasks: TaskSource = "swe-small",
        *,
        setting: Setting | str = Setting.ORACLE,
        sandbox: SandboxSource = "namespace",
        spec: Spec | None = None,
        reward: Reward | str = "swe-tests",
        malformed: float = 0.0,
        max_characters: int = 1_048_576,
    ) -> None:
        """As `TextEnv`. A sandbox of `sandbox` is open only while files are read and while edits are made.

        Raises `ConfigError`, and `TaskError`.
        """
        try:
            self.setting = Setting(setting)
        except ValueError:
            raise ConfigError(f"setting is {' or '.join(Setting)}, not {setting!r}") from None
        steps = 1 if self.setting is Setting.ORACLE else 2
        super().__init__(
            tasks, sandbox=sandbox, spec=spec, reward=reward, max_steps=steps, max_characters=max_characters
        )
        self.malformed = malformed
        self._paths: tuple[str, ...] = ()
        self._files: dict[str, str] = {}
        """The texts shown, as they are in the repository but for line ends."""

    def begin(self) -> str:
        """The issue, with the files to change or the names of all."""
        self._files, self._taken = {}, []
        self._paths = self._listed()
        if self.setting is Setting.ORACLE:
            self._read(self._gold_paths())
            shown = edit_prompt(self.task.prompt, self._shown())
        else:
            shown = locate_prompt(self.task.prompt, (path for path in self._paths if not is_test(path)))
        self._close()
        return shown

    def advance(self, action: str) -> Outcome:
        """Read the files that the agent names, or judge its edits."""
        try:
            if self.setting is Setting.LOCATE and self.index == 0:
                return self._located(action)
            return self._edited(action)
        except SandboxError as error:
            return self.broken(error, self._observation)

    def take_again(self, action: str) -> None:
        """Nothing is changed before the end."""

    def _located(self, action: str) -> Outcome:
        named = located(action, self._paths)
        if not named:
            return self._malformed("no file of the repository is named between ``` and ```")
        self._read(named)
        self._close()
        gold = set(self._gold_paths()) & set(self._paths)
        recall = len(gold & set(named)) / len(gold) if gold else 1.0
        return Outcome(edit_prompt(self.task.prompt, self._shown()), Score(0.0, {"located": recall}))

    def _edited(self, action: str) -> Outcome:
        try:
            texts = edited(self._files, parse_blocks(action))
            for path in texts.keys() - self._files.keys():
                if why := unsafe_path(path) or ("it is there already, and not shown" if path in self._paths else ""):
                    raise EditFormatError(f"{path!r:.200} cannot be made: {why}")
            for path, text in texts.items():
                self._write(path, text)
        except EditFormatError as error:
            return self._malformed(str(error))
        score = self.submitted()
        return Outcome("Submitted.", replace(score, parts={"format": 1.0, **score.parts}), Stop.ANSWERED)

    def _malformed(self, why: str) -> Outcome:
        score = Score(self.malformed, {"format": 0.0}, f"malformed: {why}", Status.UNPARSABLE)
        return Outcome(f"Malformed: {why}.", score, Stop.ANSWERED)

    def _gold_paths(self) -> tuple[str, ...]:
        try:
            return tuple(change.before for change in changes(self.task.answer) if change.before)
        except ValueError as error:
            raise TaskError(f"task {self.task.id!r}: its gold patch cannot be read: {error}") from error

    def _listed(self) -> tuple[str, ...]:
        command = "git -c core.quotePath=false ls-files -z"
        result = self.box.exec(command, cwd=self.instance.workdir, output_limit=LISTING_BYTES)
        if not result.ok or result.truncated:
            raise SandboxError(
                f"the files of task {self.task.id!r} cannot be listed: {result.why or result.output:.200}"
            )
        return tuple(path for path in result.output.split("\0") if path)

    def _read(self, paths: Iterable[str]) -> None:
        """Read files as text; those that are none, are too large or are not there are left out."""
        for path in paths:
            try:
                text = self.box.read(self._place(path), limit=LARGEST).decode("utf-8", "surrogateescape")
            except OSError:
                continue
            if "\0" not in text:
                self._files[path] = text.replace("\r\n", "\n") if _is_dos(text) else text

    def _write(self, path: str, text: str) -> None:
        place = self._place(path)
        try:
            if path in self._files and _is_dos(self.box.read(place).decode("utf-8", "surrogateescape")):
                text = text.replace("\n", "\r\n")
            self.box.write(place, text)
        except OSError as error:
            raise EditFormatError(f"{path!r:.200} cannot be written: {error.strerror}") from error

    def _place(self, path: str) -> str:
        return f"{self.instance.workdir}/{path}"

    def _shown(self) -> dict[str, str]:
        room = MOST_SHOWN
        shown = {}
        for path, text in self._files.items():
            readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            shown[path] = readable if len(readable) <= room else f"{readable[:room]}\n[the rest is left out]"
            room = max(0, room - len(readable))
        return shown


def _is_dos(text: str) -> bool:
    """Whether every line ends as in DOS."""
    return "\r\n" in text and text.count("\r\n") == text.count("\n")
