"""The page in a real browser: opened from disk, sorted, filtered, read by keyboard, printed, on a phone, in the dark.

Needs playwright and a Chromium that is installed (`apt-get install chromium`); skipped where one of them is missing.
"""

import shutil

import pytest

from harness.report.render import html_text
from harness.results import RunResults

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
ATTACK = "<img src=x onerror=alert(1)><script>alert(2)</script>{a}\x1b[31m"
DRAWN = """() => [...document.querySelectorAll('.part:not([hidden]) .chart, figure:not(.part figure) .chart')]
    .map(each => [each.id, each.querySelectorAll('svg path').length])"""

SKIPPED = """() => [...document.querySelectorAll('main > section')].filter(each =>
    !each.firstElementChild.checkVisibility({contentVisibilityAuto: true})).length"""
"""Sections out of sight, which a filter need not lay out again."""


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(rich, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_text(rich), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(chromium):
    """Opens a page; afterwards it must have asked for nothing but itself, and complained about nothing."""
    contexts, seen = [], []

    def open_page(address, width=1600, scheme="light", **options):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: seen.append(request.url) if request.url != address else None)
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("dialog", lambda dialog: seen.append(dialog.message))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert seen == []


def draw_all(page):
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    return dict(page.evaluate(DRAWN))


def choice(page, name):
    return page.locator("label", has_text=name).locator("select[data-column]")


def names(page, table="all-variants"):
    return [each.strip() for each in page.locator(f"#{table} tbody tr > :first-child").all_inner_texts()]


@pytest.mark.parametrize(("width", "scheme"), [(1600, "light"), (400, "dark")])
def test_every_figure_is_drawn_and_nothing_sticks_out(opened, report, width, scheme):
    page = opened(report, width, scheme)
    drawn = draw_all(page)
    assert len(drawn) == 15
    assert min(drawn.values()) > 3, drawn
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(("width", "scheme"), [(1600, "dark"), (400, "light")])
def test_axe_finds_no_violation(opened, report, width, scheme):
    page = opened(report, width, scheme)
    draw_all(page)
    found = axe.Axe().run(page, context={"exclude": [[".chart svg"]]})  # a picture with a name
    assert found.violations_count == 0, found.generate_report()


def test_a_wide_screen_shows_every_column_at_once(opened, report):
    region = opened(report).get_by_role("region", name="Table of variants")
    assert region.evaluate("each => each.scrollWidth - each.clientWidth") == 0


def test_tables_sort_and_filter(opened, report):
    page = opened(report)
    rows = page.locator("#all-variants tbody tr")
    playwright.expect(rows).to_have_count(22)
    choice(page, "Model").select_option("mobilenet")
    choice(page, "Method").select_option("QAT")
    playwright.expect(rows).to_have_count(2)
    choice(page, "Model").select_option("")
    playwright.expect(rows).to_have_count(4)
    choice(page, "Method").select_option("")
    header = page.locator("#all-variants th", has_text="Median")
    for direction in ("ascending", "descending"):
        header.locator("[role=button]").focus()
        page.keyboard.press("Enter")
        playwright.expect(header).to_have_attribute("aria-sort", direction)
    column = header.evaluate("each => each.cellIndex")
    medians = [float(row) for row in page.locator(f"#all-variants tbody td:nth-child({column + 1})").all_inner_texts()]
    assert medians == sorted(medians, reverse=True)
    page.locator("#all-variants_wrapper input, .dt-search input").first.fill("entropy per-tensor")
    playwright.expect(rows).to_have_count(2)


def test_what_is_chosen_is_shown(opened, report):
    page = opened(report)
    draw_all(page)
    assert page.locator("#layers-table tbody tr").count() == 9
    assert page.locator("#layers-noise").is_hidden() is False
    page.locator("#layers").select_option(label="PTQ mse per-channel")
    assert "QLinearConv" in page.locator("#layers-table tbody").text_content()
    fills = (
        "each => new Set([...each.querySelectorAll('path')].map(path => path.getAttribute('fill'))).has('var(--int8)')"
    )
    assert page.locator("#layers-graph").evaluate(fills)
    page.get_by_role("button", name="Zoom in").click()
    page.locator("#layers").select_option(index=0)
    assert not page.locator("#layers-graph").evaluate(fills)


def test_a_phone_reaches_every_column_beside_the_names(opened, report):
    page = opened(report, 400)
    page.wait_for_selector("#all-variants .dt-column-order")
    region = page.get_by_role("region", name="Table of variants")
    region.evaluate("each => { each.scrollIntoView(); each.scrollLeft = each.scrollWidth }")
    row = page.locator("#all-variants tbody tr").nth(1)
    name, files = row.locator("th").bounding_box(), row.locator("td").last.bounding_box()
    assert 0 <= name["x"] < 40
    assert name["x"] + name["width"] < 200
    assert files["x"] + files["width"] <= 400
    cells = page.locator("#all-variants :is(th, td)")
    assert cells.evaluate_all("all => all.filter(each => each.scrollWidth > each.clientWidth + 1).length") == 0


def test_it_prints_with_all_that_is_folded(opened, report, tmp_path):
    page = opened(report, scheme="dark")
    page.pdf(path=tmp_path / "report.pdf", format="A4", landscape=True)
    assert (tmp_path / "report.pdf").stat().st_size > 100_000
    assert page.locator("details:not([open])").count() == 0


def test_without_scripts_all_tables_are_there(opened, report):
    page = opened(report, java_script_enabled=False)
    assert len(names(page)) == 22
    assert page.get_by_text("Without scripts there are no figures").is_visible()
    assert not page.locator(".filters").is_visible()


def test_hostile_names_are_text_in_tables_figures_and_choices(opened, rich: RunResults, tmp_path):
    row, *others = rich.rows
    variant = {"model": ATTACK, "calibrator": ATTACK}
    layers = tuple(each.model_copy(update={"name": ATTACK + each.name}) for each in others[0].coverage.layers)
    bad = others[0].model_copy(
        update={
            "variant": others[0].variant.model_copy(update=variant),
            "coverage": others[0].coverage.model_copy(update={"layers": layers}),
            "reason": ATTACK,
            "files": {"onnx": f"javascript:{ATTACK}"},
        }
    )
    path = tmp_path / "report.html"
    results = rich.model_copy(update={"rows": (bad, row, *others[1:]), "scenario": ATTACK, "warnings": (ATTACK,)})
    path.write_text(html_text(results), encoding="utf-8")
    page = opened(path.as_uri())
    draw_all(page)
    page.locator("#g1-losses svg").hover(position={"x": 300, "y": 60})
    assert page.locator("img").count() == 0
    assert (
        page.locator("#layers-table tbody td").first.text_content() == ATTACK.replace("\x1b", r"\x1b") + "layer0/conv"
    )
    assert "<img src=x onerror=alert(1)>" in page.locator("#layers").text_content()
    assert page.locator("h1").inner_text() == ATTACK.replace("\x1b", r"\x1b")


def test_200_variants_are_a_page_of_a_few_megabytes(opened, many, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(html_text(many), encoding="utf-8")
    assert path.stat().st_size < 8e6
    page = opened(path.as_uri())
    page.wait_for_selector("#all-variants .dt-column-order")
    choice(page, "Batch").select_option("7")
    assert page.evaluate(SKIPPED) > 5
    playwright.expect(page.locator("#all-variants tbody tr")).to_have_count(22)
