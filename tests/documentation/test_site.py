"""The documentation as a site: built without a warning, every link and anchor leads somewhere, nothing is fetched.

Needs the extra `docs`; skipped where it is missing. The pages in a browser need Chromium, too.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
pytest.importorskip("myst_parser", reason="the extra `docs` is not installed")
pytest.importorskip("furo", reason="the extra `docs` is not installed")

DOCS = Path(__file__).parents[2] / "docs"
CHROMIUM = shutil.which("chromium")
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "embed": "src", "object": "data"}
"""Elements for which a browser fetches something; `link` depends on what it links to."""
LINKS_NOT_LOADED = {"next", "prev", "search", "genindex", "index", "canonical", "author", "help"}


def build(source: Path, destination: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-b", "html"]
    doctrees = ["-d", str(destination.with_name("doctrees"))]
    return subprocess.run([*line, *doctrees, source, destination], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "html"
    done = build(DOCS, folder)
    assert done.returncode == 0, done.stderr
    return folder


class Elements(HTMLParser):
    """What a page loads, links to, and may be linked at."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.ids.add(found["id"])
        if tag in LOADED and LOADED[tag] in found:
            self.loaded.append(found[LOADED[tag]])
        if tag == "link" and not set(found.get("rel", "").split()) <= LINKS_NOT_LOADED:
            self.loaded.append(found.get("href", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


@functools.cache
def elements(page: Path) -> Elements:
    return Elements(page)


def is_outside(address: str) -> bool:
    return bool(re.match(r"([a-z]+:)?//", address))


def broken(page: Path) -> Iterator[str]:
    for link in elements(page).links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / unquote(name)).resolve() if name else page
        if not target.is_file() or (anchor and target.suffix == ".html" and anchor not in elements(target).ids):
            yield link


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path) -> None:
    assert {str(page.relative_to(site)): found for page in site.rglob("*.html") if (found := list(broken(page)))} == {}


def test_no_page_and_no_style_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    assert [(page.name, address) for page in pages for address in elements(page).loaded if is_outside(address)] == []
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import\s+(url\()?['\"]?(https?:)?//", text), style.name


def test_every_page_is_in_the_order_that_the_index_lists(site: Path) -> None:
    listed = re.findall(r"^- \[[^]]+\]\(([\w/-]+)\.md\)", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*listed, "index"} == {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    following = re.search(r'<link rel="next"[^>]* href="([^"]+)"', (site / f"{listed[0]}.html").read_text())
    assert following is not None
    assert following[1] == f"{listed[1]}.html"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a](missing.md)", "missing.md"),
        ("[a](#nowhere)", "nowhere"),
        ("[a](other.md#nowhere)", "nowhere"),
        ("![a](missing.png)", "missing.png"),
    ],
)
def test_a_link_to_nothing_fails_the_build(tmp_path: Path, text: str, message: str) -> None:
    source = tmp_path / "docs"
    (source / "_static").mkdir(parents=True)
    shutil.copy(DOCS / "conf.py", source)
    shutil.copy(DOCS / "_static" / "site.css", source / "_static")
    (source / "other.md").write_text("# Other\n", encoding="utf-8")
    (source / "index.md").write_text(f"# Index\n\n{text}\n\n### All\n\n- [o](other.md)\n", encoding="utf-8")
    done = build(source, tmp_path / "html")
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
@pytest.mark.parametrize("width", [1400, 400])
def test_pages_open_from_disk_without_a_request_and_are_searched(site: Path, width: int) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    seen: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: seen.append(request.url) if not request.url.startswith("file:") else None)
        page.on("pageerror", lambda error: seen.append(str(error)))
        for name in ("index.html", "your-network.html", "concepts/noise.html", "scenario-reference.html"):
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.goto(f"{(site / 'search.html').as_uri()}?q=noise+floor")
        page.wait_for_selector("#search-results li a")
        assert page.locator("#search-results li a").count() > 1
        browser.close()
    assert seen == []
