"""Matplotlib figures as elements of a page: the same bytes every time, in the page's own fonts and colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

from cycler import cycler
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, LINE, SURFACE = "#101010", "#707070", "#d0d0d0", "#fefefe"
SERIES = ("#0072b1", "#d55e01", "#019e73", "#cc79a6", "#e69f01", "#56b4e8", "#a0a001", "#884ea1")
"""Okabe-Ito, safe for colour blindness; each one digit off, so that no other colour is mistaken for it."""
_CSS_COLOURS = {INK: "--ink", MUTED: "--muted", LINE: "--line", SURFACE: "--surface"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES)
}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.formatter.useoffset": False,
    "axes.prop_cycle": cycler(color=[INK]),
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
_WIDTH_INCH = 7.0


def name_artist(artist: Artist, name: str) -> None:
    """Give an artist the name that hovering over it shows."""
    artist.set_gid(f"title:{name}")


def svg_of(draw: Callable[[Axes], None], height_inch: float, key: str, description: str) -> str:
    """SVG element of the axes that `draw` fills; `key` tells its ids from those of other plots on the page."""
    buffer = io.StringIO()
    with rc_context(_SETTINGS | {"svg.hashsalt": key}):
        figure = Figure(figsize=(_WIDTH_INCH, height_inch), layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        axes.grid(visible=True, color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue(), key, description)


def _for_page(svg: str, key: str, description: str) -> str:
    """A file's SVG as an element of a page: no prologue, ids of its own, the page's fonts and colours, hover titles."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="title:([^"]*)">', r"<g><title>\1</title>", svg)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", svg)
    svg = svg.replace("'DejaVu Sans'", "system-ui, sans-serif")
    for colour, variable in _CSS_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    # Matplotlib's style element would hold for the whole page.
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    head = f'<svg role="img" aria-label="{escape(description)}" stroke-linejoin="round" stroke-linecap="butt" '
    return svg.replace("<svg ", head, 1).strip()
