"""Cleaned text to tokens, under static limits that hold before anything is parsed."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_LENGTH = 4096
"""Characters of one answer."""
MAX_TOKENS = 2000
"""Tokens of one answer."""


class UnreadableError(ValueError):
    """The text is no mathematics this grammar reads; its answer is graded as words."""


class Token(NamedTuple):
    """One lexical unit. `kind` is one of ``num word cmd text begin end op eof``."""

    kind: str
    text: str
    spaced: bool
    """Whether white space stands before it."""


END = Token("eof", "", False)

_NUMBER = r"[0-9]+(?:\.[0-9]+|\.(?=\s*(?:\\vec|[-+*/^)}])))?(?:[eE][+-]?[0-9]{1,4}(?![0-9A-Za-z]))?|\.[0-9]+"
_TOKEN = re.compile(
    rf"(?P<num>{_NUMBER})"
    r"|\\text\s*\{(?P<text>[^{}]*)\}"
    r"|\\(?P<edge>begin|end)\s*\{(?P<environment>[a-zA-Z]+\*?)\}(?:\{[lcr| ]*\})?"
    r"|\\math(?:bb|cal|scr|frak)\s*\{?\s*(?P<letter>[A-Za-z])\s*\}?"
    r"|\\(?P<cmd>[a-zA-Z]+)|\\(?P<escaped>[{}|\\&#_])"
    r"|(?P<word>[a-zA-Z]+)"
    r"|(?P<op><=|>=|!=|==|\*\*|[-+*/^_=<>(){}\[\]|,;:!'%&~?])",
    re.ASCII,
)
_ESCAPED = {"{": r"\{", "}": r"\}", "|": "|", "\\": r"\\", "&": "&"}
_SAME = {"**": "^", "==": "="}
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")


def tokenize(cleaned: str) -> list[Token]:
    """The tokens of `cleaned`, closed by an ``eof``. Raises `UnreadableError` beyond the limits."""
    if len(cleaned) > MAX_LENGTH:
        raise UnreadableError(f"longer than {MAX_LENGTH} characters")
    cleaned = _join_thousands(cleaned)
    tokens: list[Token] = []
    position, spaced = 0, False
    while position < len(cleaned):
        if cleaned[position] == " ":
            position, spaced = position + 1, True
            continue
        match = _TOKEN.match(cleaned, position)
        if match is None:
            raise UnreadableError(f"cannot read {cleaned[position]!r}")
        tokens.append(_token(match, spaced))
        position, spaced = match.end(), False
        if len(tokens) > MAX_TOKENS:
            raise UnreadableError(f"more than {MAX_TOKENS} tokens")
    tokens.append(END)
    return tokens


def _token(match: re.Match[str], spaced: bool) -> Token:
    kind = match.lastgroup or ""
    text = match[kind]
    if kind == "environment":
        return Token(match["edge"], text, spaced)
    if kind == "letter":
        return Token("word", f"set{text}", spaced)
    if kind == "escaped":
        return Token("op", _ESCAPED.get(text, text), spaced)
    return Token(kind, _SAME.get(text, text), spaced)


def _join_thousands(text: str) -> str:
    """Drop the commas of 12,345 outside brackets: inside, as in (1,200), they separate."""
    if "," not in text or not _THOUSANDS.search(text):
        return text
    depths, depth = [], 0
    for char in text:
        depth += (char in "([") - (char in ")]")
        depths.append(depth)

    def join(match: re.Match[str]) -> str:
        return match[0].replace(",", "") if depths[match.start()] == 0 else match[0]

    return _THOUSANDS.sub(join, text)


class TokenReader:
    """A place in a list of tokens, and how deep the parts around it are nested."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def peek(self, ahead: int = 1) -> Token:
        """The token `ahead` places after the next one."""
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else END

    def take(self) -> Token:
        """Consume and return the next token."""
        token = self.tokens[self.at]
        self.at += token.kind != "eof"
        return token

    def skip(self, *texts: str) -> bool:
        """Consume the next token if it is the operator or command of that text."""
        if self.token.text in texts and self.token.kind in ("op", "cmd"):
            self.at += 1
            return True
        return False

    def expect(self, *texts: str) -> None:
        """Consume one of these tokens, or raise `UnreadableError`."""
        if not self.skip(*texts):
            raise UnreadableError(f"expected {' or '.join(texts)} instead of {self.token.text!r}")
