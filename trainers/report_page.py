"""Pieces of a page: HTML that needs nothing else. Whatever text they are given is escaped."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable

from stepgym.evals.page import escaped
from stepgym.trainers.report_style import STYLE


def whole_page(title: str, parts: Iterable[str]) -> str:
    """The document; `parts` are HTML."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escaped(title)} · stepgym</title><style>{STYLE}</style>"
        f"<main><h1>{escaped(title)}</h1>{''.join(parts)}</main></html>\n"
    )


def image(png: bytes, what: str) -> str:
    """A picture within the page."""
    return f'<img alt="{escaped(what)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def table(head: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: bool = False) -> str:
    """A table; of `numbers`, it is set to the right."""
    top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    kind = ' class="numbers"' if numbers else ""
    return f'<div class="wide"><table{kind}><tr>{top}</tr>{lines}</table></div>'


def number(value: float) -> str:
    """Three decimals, two significant digits where those would be zeros, none for a whole number; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if value == round(value):
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.1e}"
