"""Brings docstrings into the site's Markdown: reStructuredText roles become code, doctests become code blocks."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:data|class|func|meth|mod|attr):`~?([^`]+)`")
DOCTEST = re.compile(r"(?:^|(?<=\n))>>> .*?(?=\n\s*\n|\Z)", re.DOTALL)


def to_markdown(text: str) -> str:
    """A docstring as the site shows it.

    >>> to_markdown("See :data:`SIDES`.")
    'See `SIDES`.'
    """
    return DOCTEST.sub(lambda match: f"```python\n{match[0]}\n```", ROLE.sub(r"`\1`", text))


class Markdown(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
