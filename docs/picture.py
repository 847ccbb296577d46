"""The README's picture of a report: `python docs/picture.py reports/example/report.html docs/report.png`.

The decision on one model and its first chart, as Chromium draws them. Needs playwright and Chromium.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH = 1100
GAP = 12
COLOURS = 128
"""Of the palette: a page of text and flat marks loses nothing that the eye sees, and takes a third of the bytes."""
_ONE_MODEL = """model => {
  dispatchEvent(new Event('beforeprint'));
  const cards = [...document.querySelectorAll('section[aria-labelledby=decision] .card')];
  cards.forEach(card => card.hidden = !card.textContent.trim().startsWith(model));
  const groups = [...document.querySelectorAll('section.group')];
  const shown = groups.find(group => group.querySelector('h2').textContent.trim().startsWith(model));
  shown.querySelector('.plots > *').id = 'picture';
}"""


def picture(report: Path, destination: Path, model: str = "") -> None:
    """PNG of the decision on `model` (the first by default) and of its first chart."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(report.resolve().as_uri())
        model = model or page.locator("section.group h2").first.inner_text().split()[0]
        # Sections out of sight have a guessed height until they are seen, which moves what is below them.
        page.add_style_tag(content="main > section { content-visibility: visible !important; }")
        page.evaluate(_ONE_MODEL, model)
        page.wait_for_timeout(500)
        parts = [page.locator(each).first for each in ("section[aria-labelledby=decision]", "#picture")]
        images = [Image.open(io.BytesIO(part.screenshot())).convert("RGB") for part in parts]
        browser.close()
    width, background = max(each.width for each in images), images[0].getpixel((0, 0))
    whole = Image.new("RGB", (width, sum(each.height + GAP for each in images)), background)
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height + GAP
    whole.quantize(COLOURS).save(destination, optimize=True)


if __name__ == "__main__":
    picture(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
