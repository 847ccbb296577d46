"""How long a page of 200 variants takes: to write it, to open it in a browser, to filter its table."""

import shutil

import pytest
from report.conftest import many, quickstart, rich  # noqa: F401 - fixtures

from harness.report.render import html_text

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPENED = "document.getElementById('all-variants_wrapper') !== null"
FILTER = """() => {
    const filter = document.querySelector("select[data-column='2']");
    filter.value = filter.value === "PTQ" ? "QAT" : "PTQ";
    filter.dispatchEvent(new Event("change"));
    return document.querySelector("#all-variants").offsetHeight;
}"""


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(chromium, many, tmp_path_factory):  # noqa: F811
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_text(many), encoding="utf-8")
    opened = chromium.new_page(viewport={"width": 1600, "height": 900})
    opened.goto(path.as_uri())
    return opened


def test_writing(benchmark, many):  # noqa: F811
    benchmark(html_text, many)


def test_opening(benchmark, page):
    benchmark(lambda: (page.reload(), page.wait_for_function(OPENED)))


def test_filtering(benchmark, page):
    assert benchmark(page.evaluate, FILTER) > 0
