"""The documentation as a site: `tox -e docs`. The pages are plain Markdown, which GitHub shows too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
_GROUP = re.compile(r"^### (.+)$", re.MULTILINE)
_ITEM = re.compile(r"^- \[[^]]+\]\(([\w/-]+)\.md\)", re.MULTILINE)
_LINK = re.compile(r"\[([^]]*)\]\(([^)\s#:]+)(?:#[\w-]+)?\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)

project = "quant-harness"
author = "the authors of quant-harness"
copyright = "the authors of quant-harness, Apache-2.0"  # noqa: A001, the name that Sphinx reads
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
nitpicky = True
html_theme = "furo"
html_title = "quant-harness"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_permalinks_icon = "#"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it would fetch pages, which browsers refuse for files on a disk
# System fonts: a page asks nobody for anything.
html_theme_options = {
    "light_css_variables": {
        "font-stack": "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif",
        "font-stack--monospace": "ui-monospace, 'Liberation Mono', Menlo, Consolas, monospace",
    },
    "navigation_with_keys": True,
}


def navigation(index: str) -> str:
    """The lists of pages in `index.md`, group by group, as the tables of contents that the site is ordered by."""
    parts = _GROUP.split(index)[1:]
    trees = []
    for name, listed in zip(parts[::2], parts[1::2], strict=True):
        pages = "\n".join(_ITEM.findall(listed))
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {name}\n\n{pages}\n```\n")
    return "\n".join(trees)


def local_links(text: str, page: Path) -> str:
    """Links as names where a site cannot follow them: to folders, and to Markdown outside of `docs`.

    Other files are copied into the site. A link to what does not exist stays as it is, and is then an error.
    """

    def replaced(match: re.Match[str]) -> str:
        target = (page.parent / match.group(2)).resolve()
        is_left = target.is_dir() or (target.suffix == ".md" and not target.is_relative_to(DOCS))
        if not is_left or not target.exists():
            return match.group(0)
        name = f"`{target.relative_to(ROOT)}`"
        label = match.group(1)
        return name if label.strip("`/") == name.strip("`") else f"{label} ({name})"

    # Code is shown as it is.
    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in parts)


def _read(app: Any, name: str, source: list[str]) -> None:
    source[0] = local_links(source[0], Path(app.env.doc2path(name)))
    if name == "index":
        source[0] += "\n" + navigation(source[0])


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
