"""A page of HTML that needs no other file: the frame and the style of reports and studies."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template

_TEMPLATE = Path(__file__).with_suffix(".html")


def page(title: str, body: str) -> str:
    """The whole page.

    Args:
        title: plain text.
        body: HTML.
    """
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title), body=body
    )


def facts(pairs: list[tuple[str, str]]) -> str:
    """Names with values, in as many columns as there is room for; both plain text."""
    rows = (f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
    return f'<dl class="facts">{"".join(rows)}</dl>'
