"""MkDocs hooks, so that the same Markdown reads well on GitHub and on the site.

- Links to files outside docs/ lead to the repository; one to a missing file is a warning, which ends a strict build.
- Equations between two `$$` become MathML, which needs no script in the browser.
- The theme's search and sections get names for screen readers.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

_ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]*)")
_EQUATION = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.M | re.S)
#: A section of the navigation up to its title. The label that the theme points to has no text where the section has a
#: page of its own.
_SECTION = re.compile(
    r'aria-labelledby="__nav_[\d_]+_label"'
    r'(?P<rest>[^>]*>\s*<label class="md-nav__title"[^>]*>\s*<span[^>]*></span>\s*(?P<title>[^<]*?)\s*</label>)'
)

_logger = logging.getLogger("mkdocs.hooks.timm_pushpull")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Convert a page's links and equations."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if path.startswith("docs/"):
            return match[1]
        if not (_ROOT / path).exists():
            _logger.warning("%s links to %s, which does not exist", page.file.src_uri, path)
        kind = "tree" if (_ROOT / path).is_dir() else "blob"
        return f"{config.repo_url.rstrip('/')}/{kind}/main/{path}"

    markdown = _LINK.sub(link, markdown)
    return _EQUATION.sub(lambda match: convert(match[1], display="block"), markdown)


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """Treat the page that is shown for a wrong address as the others."""
    return on_post_page(output_content) if template_name == "404.html" else output_content


def on_post_page(output: str, **_: Any) -> str:
    """Name what the theme leaves without a name."""
    output = output.replace('role="dialog">', 'role="dialog" aria-label="Search">')
    return _SECTION.sub(r'aria-label="\g<title>"\g<rest>', output)
