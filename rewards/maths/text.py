r"""One spelling for every way of writing the same characters: Unicode signs, LaTeX layout, dollars, thousands."""

from __future__ import annotations

import re

_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "÷": "/", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "°": r"^\circ ", "º": r"^\circ ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ", "∛": r"\sqrt[3] ", "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "⅛": r"\frac{1}{8}",
    "∠": r"\angle ", "△": r"\triangle ", "′": "'", "’": "'", "‘": "'",
    "“": '"', "”": '"', "（": "(", "）": ")", "，": ",", "：": ":", "；": ";", "＝": "=", "＜": "<", "＞": ">",
    "＋": "+", "－": "-", "％": "%", "。": ".", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ",
    "θ": r"\theta ", "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "€": "", "£": "", "¥": "", "\u200b": "", "…": r"\ldots ",
    "\t": " ", "\n": " ", "\r": " ", "\f": " ", "\v": " ",
}  # fmt: skip
_SIGN_TABLE = str.maketrans({**_SIGNS, **{chr(0xFF10 + digit): str(digit) for digit in range(10)}})

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n")
_RAISED_RUN, _LOWERED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+"), re.compile("[₀₁₂₃₄₅₆₇₈₉ₙ]+")
_CHAT_TOKEN = re.compile(r"<\|[A-Za-z_0-9]{1,32}\|>")
_ESCAPED_TWICE = re.compile(
    r"\\\\(?=(?:[dt]?frac|sqrt|text|left|right|pi|infty|cdot|times|le|ge|ln|log|sin|cos|tan|boxed|circ|pm|mathrm)(?![a-zA-Z]))"
)
_GROUPED = re.compile(r"(?<=\d)(?:,\\!\s*|\\,|\{,\}|\{\\,\}|\\ |[\u2009\u202f\u00a0])(?=\d{3}(?!\d))")
_SPACED = re.compile(r"[+-]?[0-9]{1,3}(?: [0-9]{3})+(?![0-9])", re.ASCII)
"""A whole number whose digits stand in groups of three."""
_SPACING = re.compile(
    r"(?<!\\)\\(?:[,;:! ]|q?quad|(?:displaystyle|textstyle|limits|nolimits|left\s*\.|right\s*\.|left|right|middle"
    r"|[bB]igg?[lrm]?|hspace\{[^{}]*\}|phantom\{[^{}]*\}|label\{[^{}]*\}|tag\{[^{}]*\})(?![a-zA-Z]))|~"
)
_SAME_COMMAND = re.compile(
    r"\\(?:(?P<frac>[dtc]frac)|(?P<binom>[dt]binom)|(?P<le>leqslant|leq)|(?P<ge>geqslant|geq)|(?P<ne>neq)|(?P<lt>lt)|(?P<gt>gt)"
    r"|(?P<text>textbf|textit|textrm|textup|textnormal|mbox|hbox|textsc|texttt|mathrm|mathbf|mathit|mathsf|rm|bf|bm|boldsymbol)"
    r"|(?P<dots>ldots|cdots|dotsc|dotsb|dotsm)|(?P<emptyset>varnothing)|(?P<circ>degree)|(?P<dfn>operatorname\*?)"
    r"|(?P<vec>overrightarrow|overline|widehat|hat|bar|tilde|widetilde))(?![a-zA-Z])"
)
_NUMBER_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{\s*([-+]?[0-9][^{}]*)\}", re.ASCII)
_UNIT_VECTOR = re.compile(r"\\(?:hat|widehat|vec|bar)\s*\{?\s*\\?([ijk])(?:math)?\s*\}?(?![a-zA-Z])")
_DOMAIN = re.compile(r"[,(]\s*(?:\\quad\s*)?[a-z]\s*\\in\s*\\mathbb\s*\{?\s*[ZN]\s*\}?(?:_\S|\^\S)?\s*\)?\s*$")
_DERIVATIVE = re.compile(r"(?<![A-Za-z\\])(d[a-z])/(d[a-z])(?![A-Za-z])")
_TIE = re.compile(r"(?<=[^\s<>=])~(?=\S)")
r"""LaTeX's unbreakable space, as in ``9~km``; with spaces around it, or at the beginning, it says "about"."""
_MODULE = re.compile(r"\b(?:np|numpy|math|sympy|sp)\.(?=[a-z])")
_PLAIN = {"lt": "<", "gt": ">", "circ": r"^\circ", "dfn": r"\text", "dots": r"\dots"}


def clean(text: str) -> str:
    r"""`text` with one spelling per sign, no layout commands, no dollars and no sentence marks at its ends.

    Money signs are dropped like the dollars of LaTeX: ``\$36`` reads 36. Idempotent on what the parser reads.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return text
    if not text.isascii():
        text = _RAISED_RUN.sub(lambda run: "^{" + run[0].translate(_RAISED) + "}", text)
        text = _LOWERED_RUN.sub(lambda run: "_{" + run[0].translate(_LOWERED) + "}", text)
    text = _DERIVATIVE.sub(r"\\frac{\1}{\2}", _GROUPED.sub("", _CHAT_TOKEN.sub("", text.translate(_SIGN_TABLE))))
    if "\\" in text:
        text = _clean_commands(text)
    if text.startswith("**") and text.endswith("**") and len(text) > 4:
        text = text[2:-2]
    text = _TIE.sub(" ", text)
    text = _MODULE.sub("", text.replace("$", " ").replace("**", "^")).strip()
    text = text.strip("\\ ") if text.endswith("\\") else text
    text = text.rstrip(".,;: ") if not text.endswith("dots.") else text[:-1]
    text = " ".join(_ungrouped(text).split())
    return text.replace(" ", "") if _SPACED.fullmatch(text) else text


def _ungrouped(text: str) -> str:
    """`text` without braces that hold all of it; in a formula they are a group, beside words they say nothing."""
    if not (text.startswith("{") and text.endswith("}")):
        return text
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return text[1:-1].strip() if place == len(text) - 1 else text
    return text


def _clean_commands(text: str) -> str:
    if r"\\begin" in text or r"\\end" in text:
        text = text.replace("\\\\", "\\")
    elif "\\\\" in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    text = _UNIT_VECTOR.sub(r"\\text{\1}", _NUMBER_TEXT.sub(r"\1", text))
    text = _DOMAIN.sub("", text.rstrip("$. "))
    text = text.replace(r"\$", "").replace(r"\%", "%").replace(r"^{\prime}", "'")
    text = text.replace(r"\(", " ").replace(r"\)", " ").replace(r"\[", " ").replace(r"\]", " ")
    if "\\begin" not in text:
        text = text.replace("\\\\", " ")
    return _SPACING.sub(" ", _SAME_COMMAND.sub(_same_command, text))


def _same_command(match: re.Match[str]) -> str:
    name = match.lastgroup or ""
    return _PLAIN.get(name, "\\" + name)


_PROSE = re.compile(r"(?:\\text(?![a-zA-Z])|[A-Za-z0-9 ,;:/(){}.?~\"-])+(?:(?<=[a-z])!)?")
_MARKUP = re.compile(r"\\text(?![a-zA-Z])|[{}()\".?!~]")


def words(cleaned: str) -> str:
    """A prose answer for comparison: lower case, without markup, articles and end punctuation.

    What is no prose keeps every character but spaces: signs, braces and case carry meaning in a formula.
    """
    if not _PROSE.fullmatch(cleaned):
        return cleaned.replace(" ", "")
    found = _MARKUP.sub(" ", cleaned).lower().split()
    return " ".join(word for word in found if len(found) < 3 or word not in ("the", "a", "an"))
