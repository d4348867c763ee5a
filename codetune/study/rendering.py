"""Templates to text: one environment for every page that a study writes, and the filters that keep what models wrote harmless."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from codetune.study.examples import highlighted


def render(template: str, **shown: Any) -> str:
    """A template of `templates/` filled in; HTML is escaped, Markdown goes through `plain` and `fenced` in the template itself."""
    return _environment(autoescape=template.endswith(".html.jinja")).get_template(template).render(**shown)


def write_page(path: Path, text: str) -> None:
    """Whole or not at all: a reader never meets half a report."""
    partial = path.with_name(path.name + ".partial")
    # A lone surrogate in a completion is valid JSON and not valid UTF-8.
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(partial, path)


def embedded(data: Any) -> Markup:
    """Data as JSON that may stand in a script element: nothing in it can end the element or start another."""
    text = json.dumps(data, separators=(",", ":"))  # ASCII alone, so U+2028 and lone surrogates are escapes
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def fenced(code: str, language: str = "python") -> str:
    """A Markdown code block whose fence is longer than any run of backticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def plain(text: str) -> str:
    """Text for Markdown: no markup, no HTML, no table cell broken, on one line.

    >>> plain("a|b <i>*c*")
    'a&#124;b &lt;i&gt;&#42;c&#42;'
    """
    return re.sub(r"[&<>|*_`\[\]\\#!~]", lambda found: _ENTITIES.get(found[0], f"&#{ord(found[0])};"), " ".join(text.split()))


_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@functools.cache  # with the templates that it has compiled
def _environment(autoescape: bool) -> Environment:
    loader = PackageLoader("codetune.study", "templates")
    environment = Environment(loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "python": _python, "fenced": fenced, "plain": plain, "first_line": _first_line, "ticks": _ticks, "embedded": embedded,
        "capitalize_first": _capitalize_first,
    }  # fmt: skip
    return environment


def _python(code: str) -> Markup:
    return Markup(highlighted(code))


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ticks(text: str) -> Markup:
    """Text with its `back-ticked` parts as code, all of it escaped."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))
