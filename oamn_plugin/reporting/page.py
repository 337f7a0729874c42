"""Reports from sections: one self-contained HTML file (no network, phones too) and the same in Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from .tables import Table, to_html, to_markdown, without_html

_TYPES = {b"\x89PNG": "png", b"\xff\xd8": "jpeg", b"<?xml": "svg+xml", b"<svg": "svg+xml"}
"""How an image's bytes begin."""


@dataclass(frozen=True)
class Picture:
    """An image of a report.

    Attributes:
        name: short file name without suffix.
        alt: what it shows, for who cannot see it.
        content: PNG, JPEG or SVG bytes.
        caption: text below.
    """

    name: str
    alt: str
    content: bytes
    caption: str = ""


@dataclass
class Section:
    """A part of a report: a title, paragraphs, a list, tables and pictures; ``folded``: closed at first.

    Words between two pairs of asterisks that a line of the list begins with are bold, as in Markdown.
    """

    title: str
    text: Sequence[str] = ()
    blocks: Sequence[Table | Picture] = ()
    bullets: Sequence[str] = ()
    folded: bool = False


def slug(name: str) -> str:
    """A name as a file or anchor name: small letters, digits and hyphens.

    >>> slug("OAMN (plus) + RE")
    'oamn-plus-re'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def data_uri(content: bytes) -> str:
    """An image as a ``data:`` URI.

    Raises:
        ValueError: the bytes are no PNG, JPEG or SVG.
    """
    return f"data:image/{_kind(content)};base64,{base64.b64encode(content).decode()}"


def templates(package: str) -> Environment:
    """The templates of a package and those of this one, among them ``page.css``, the style of every page."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("oamn_plugin.reporting")]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def render_page(title: str, lead: str, sections: Sequence[Section], footer: str = "") -> str:
    """The report as one HTML file that needs nothing else.

    Args:
        title: heading of the page.
        lead: its first paragraph.
        sections: the parts, in order.
        footer: last line.
    """
    environment = templates("oamn_plugin.reporting")
    environment.filters |= {"uri": data_uri, "slug": slug, "bold": _bold}
    environment.filters["table"] = lambda table: Markup(to_html(table))  # to_html escapes every cell
    environment.tests["table"] = lambda block: isinstance(block, Table)
    return environment.get_template("page.html").render(title=title, lead=lead, sections=sections, footer=footer)


def render_markdown(title: str, lead: str, sections: Sequence[Section], pictures: str = "") -> str:
    """The report as Markdown.

    Args:
        title: heading.
        lead: first paragraph.
        sections: the parts, in order.
        pictures: relative folder that :func:`save_pictures` wrote to; empty leaves pictures out.
    """
    parts = [f"# {title}", lead]
    for section in sections:
        parts += [f"## {section.title}", *section.text]
        if section.bullets:
            parts.append("\n".join(f"- {line}" for line in section.bullets))
        for block in section.blocks:
            if isinstance(block, Table):
                parts.append(to_markdown(block).rstrip())
            elif pictures:
                parts += [f"![{block.alt}]({pictures}/{block.name}{_suffix(block.content)})", block.caption]
    return without_html("\n\n".join(part for part in parts if part) + "\n")


def save_pictures(sections: Sequence[Section], folder: Path) -> None:
    """Writes the pictures of all sections as files."""
    for picture in (block for section in sections for block in section.blocks if isinstance(block, Picture)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{picture.name}{_suffix(picture.content)}").write_bytes(picture.content)


def _bold(line: str) -> Markup:
    return Markup(re.sub(r"^\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(line))))


def _kind(content: bytes) -> str:
    for start, kind in _TYPES.items():
        if content.startswith(start):
            return kind
    raise ValueError("an image of a page must be PNG, JPEG or SVG")


def _suffix(content: bytes) -> str:
    return {"png": ".png", "jpeg": ".jpg", "svg+xml": ".svg"}[_kind(content)]
