"""The page and the Markdown as a reader, a browser and an attacker find them."""

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from oracles.comparisons import interval

from harness.report import render
from harness.report.flat import csv_text
from harness.report.render import html_text, markdown_text
from harness.results import MetricValue, RunResults

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>|`*_\nnext"


class Page(HTMLParser):
    """Tags with their attributes, and the text of the page."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, html):
        super().__init__()
        # Our own scripts hold words that tests look for.
        html, self.scripts = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL), html.count("<script>")
        self.tags, self.text, self._open = [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, attribute):
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]

    @property
    def data(self):
        """What the script draws."""
        return json.loads(next(text for text in self.text if text.startswith('{"charts"')))

    @property
    def figures(self):
        return [attrs["aria-label"] for _, attrs in self.tags if attrs.get("class") == "chart"]

    @property
    def shown(self):
        """Text that is read, without the data of figures and the licences."""
        return [text for text in self.text if not text.startswith('{"charts"') and "Apache" not in text]

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="session")
def html(quickstart):
    return html_text(quickstart)


@pytest.fixture(scope="session")
def page(html):
    return Page(html)


@pytest.fixture(scope="session")
def lossy_html(lossy):
    return html_text(lossy)


class TestFiles:
    def test_the_record_alone_decides_every_byte(self, lossy, tmp_path):
        lossy.save(tmp_path / "results.json")
        again = RunResults.load(tmp_path / "results.json")
        first, second = render(lossy, tmp_path / "new" / "a"), render(again, tmp_path / "b")
        assert [path.name for path in first] == ["report.html", "report.md", "results.csv"]
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]

    def test_rendering_again_replaces_the_files(self, latency_only, lossy, tmp_path):
        render(lossy, tmp_path)
        (html, *_) = render(latency_only, tmp_path)
        assert "where_qat_pays" not in html.read_text(encoding="utf-8")


class TestPage:
    def test_needs_no_network(self, page, html):
        tags = {tag for tag, _ in page.tags}
        assert tags.isdisjoint({"link", "img", "iframe", "object", "base", "form"})
        assert all(target.startswith(("#", "./")) for target in page.values("href"))
        assert "src" not in {name for _, attrs in page.tags for name in attrs}
        style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
        assert "url(" not in style
        assert "@import" not in style

    def test_forbids_connections_and_all_scripts_but_its_own(self, page, html):
        (policy,) = [
            each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
        ]
        scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        sums = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
        assert len(sums) == 3
        assert policy == (
            "default-src 'none'; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{sums[0]}' 'sha256-{sums[1]}' 'sha256-{sums[2]}'; base-uri 'none'; form-action 'none'"
        )

    def test_every_id_is_unique_and_every_link_arrives(self, page):
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        assert {target[1:] for target in page.values("href") if target.startswith("#")} <= set(ids)
        assert set(page.data["charts"]) | set(page.data["tables"]) | set(page.data["choosers"]) <= set(ids)

    def test_rows_link_to_their_files(self, rich):
        links = Page(html_text(rich)).values("href")
        assert "./models/resnet-ptq-max-perchannel-onnxruntime-b1.onnx" in links
        assert {"./engines/a%20b.onnx", "./logs/a.txt", "./results.json", "./results.csv"} <= set(links)

    def test_failed_gates_come_first_and_those_that_passed_are_folded(self, rich):
        html = html_text(rich)
        assert (
            html.index("<h2>Gates</h2>") < html.index("<summary><h2>1 gate passed</h2>") < html.index("Variants</h2>")
        )

    def test_tables_and_figures_have_names(self, page):
        tables = page.all("table")
        assert len(page.all("caption")) == len(tables) > 5
        assert all("scope" in attrs for attrs in page.all("th"))
        assert len(page.figures) > 8
        assert all(page.figures)

    def test_the_decision_comes_first(self, html):
        headline, details = html.index("Ship PTQ "), html.index("PTQ is enough; QAT buys nothing that 10,000")
        assert html.index("Does INT8 keep the accuracy") < headline < details < html.index("<table")
        assert html.index("<table") < html.index('class="chart"')
        assert html.index('class="card ship"') < headline

    def test_an_older_record_gets_a_decision_from_its_rows(self, quickstart):
        older = quickstart.model_dump(mode="json")
        for name in ("decisions", "choices", "qat_seeds"):
            del older[name]
        for each in older["conclusions"]:
            del each["qat_gains"]
        assert html_text(RunResults.model_validate(older)).count("Ship PTQ ") >= 2

    def test_verdicts_are_words_beside_colours(self, lossy_html):
        for kind in ("better", "same", "worse"):
            assert re.search(rf'class="badge {kind}"><span aria-hidden="true">\S</span> {kind}</span>', lossy_html)

    def test_a_missing_p99_says_why(self, page):
        # FP32 of the first model has 240 samples, of the second 900.
        assert [attrs for attrs in page.all("td") if "few" in attrs.get("class", "")] == [
            {"class": "num few", "data-order": ""}
        ]
        assert "n too small" in page.text

    def test_the_recommended_row_is_marked_once_per_group(self, page):
        assert page.text.count("recommended") == 2
        assert [attrs for attrs in page.all("tr") if attrs.get("class") == "recommended"] == [
            {"class": "recommended"}
        ] * 2

    def test_rows_without_figures_keep_their_reason(self, lossy_html):
        text = " ".join(Page(lossy_html).text)
        assert "calibrate: the process was killed (out of memory)" in text
        assert "ONNX Runtime on this CPU has no FP16 convolution" in text
        assert "7 variants (2 simulated, 1 unavailable, 1 failed)" in text

    def test_random_weights_show_latency_and_nothing_of_accuracy(self, latency_only):
        page = Page(html_text(latency_only))
        assert page.figures[0] == "Latency of each variant"
        assert not any("accuracy" in name or "Drop" in name for name in page.figures)
        text = " ".join(page.shown)
        assert "Top-1" not in text
        assert "Drop" not in text
        assert "Accuracy was not measured" in text

    def test_without_labels_the_rows_show_their_agreement_with_fp32(self, latency_only):
        first, *others = latency_only.rows
        agreement = MetricValue(
            value=0.925, unit="share", higher_is_better=True, interval=interval(0.8801, 0.954), n=200
        )
        rows = (first, *(row.model_copy(update={"metrics": {"agreement": agreement}}) for row in others))
        text = " ".join(Page(html_text(latency_only.model_copy(update={"rows": rows}))).text)
        assert "Agreement" in text
        assert "92.50 %" in text
        assert "88.01 to 95.40" in text
        assert "Top-1" not in text

    def test_simulated_rows_alone_show_the_drops(self, lossy):
        rows = tuple(row for row in lossy.rows if row.status == "simulated")
        page = Page(html_text(lossy.model_copy(update={"rows": rows, "conclusions": ()})))
        assert page.figures[0] == "Drop of top-1 of each variant against FP32"
        assert "Nothing proven yet: no engine gave figures here." in page.text

    def test_an_empty_run_still_renders(self, quickstart):
        empty = quickstart.model_copy(update={"rows": (), "conclusions": (), "stages": (), "gates": (), "datasets": ()})
        assert "0 variants" in " ".join(Page(html_text(empty)).text)
        assert "0 variants" in markdown_text(empty)


@pytest.fixture
def attacked(lossy):
    """Every string that a user or an exception can set is an attack."""
    row = lossy.rows[1]
    variant = row.variant.model_copy(
        update={"id": ATTACK, "model": ATTACK, "target": ATTACK, "calibrator": ATTACK, "skip": (ATTACK,)}
    )
    coverage = row.coverage.model_copy(
        update={
            "layers": tuple(layer.model_copy(update={"name": ATTACK, "int8": False}) for layer in row.coverage.layers)
        }
    )
    bad = row.model_copy(
        update={"variant": variant, "reason": ATTACK, "coverage": coverage, "files": {"predictions": ATTACK}}
    )
    partner = lossy.rows[0].model_copy(
        update={"variant": lossy.rows[0].variant.model_copy(update={"model": ATTACK, "target": ATTACK})}
    )
    conclusion = lossy.conclusions[0].model_copy(
        update={"model": ATTACK, "target": ATTACK, "text": f"{ATTACK}\n{ATTACK}", "recommended": ATTACK}
    )
    return lossy.model_copy(
        update={
            "scenario": ATTACK,
            "question": ATTACK,
            "run_id": ATTACK,
            "started_at": ATTACK,
            "rows": (partner, bad),
            "conclusions": (conclusion,),
            "environment": {ATTACK: {ATTACK: [ATTACK]}},
            "calibration_samples": {ATTACK: 1},
        }
    )


class TestUntrustedText:
    def test_is_text_on_the_page(self, attacked):
        html = html_text(attacked)
        page = Page(html)
        tags = {tag for tag, _ in page.tags}
        assert "img" not in tags
        assert page.scripts == 3
        assert page.all("script") == [{"type": "application/json", "id": "data"}]
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert "alert(1)" in "".join(page.shown)
        assert "alert(1)" in json.dumps(page.data)

    def test_a_file_cannot_be_another_kind_of_address(self, lossy):
        row = lossy.rows[1].model_copy(
            update={"files": {"onnx": "javascript:alert(1)", "engine": "//host/x", "log": "/a"}}
        )
        page = Page(html_text(lossy.model_copy(update={"rows": (row,)})))
        assert {"./javascript%3Aalert%281%29", "./host/x", "./a"} <= set(page.values("href"))

    def test_characters_that_act_are_shown(self, lossy):
        variant = lossy.rows[1].variant.model_copy(update={"model": "a\x1b[31m\u202eb\x07"})
        html = html_text(lossy.model_copy(update={"rows": (lossy.rows[1].model_copy(update={"variant": variant}),)}))
        assert not re.search("[\x1b\x07\u202e]|u001b", html.replace("\\\\x1b", ""))
        assert r"a\x1b[31m\u202eb\x07" in html

    @pytest.mark.parametrize(
        "name",
        ["a\x1b[31m\u202eb\x07\x9b", "[red]bold[/red]", "x" * 5_000, "\u05e9\u05dc\u05d5\u05dd", "\N{ROCKET} e\u0301"],
        ids=["control", "markup", "long", "right to left", "emoji"],
    )
    def test_of_every_kind_is_the_same_name_in_page_markdown_and_csv(self, lossy, name):
        variant = lossy.rows[1].variant.model_copy(update={"model": name})
        results = lossy.model_copy(update={"rows": (lossy.rows[1].model_copy(update={"variant": variant}),)})
        shown = name.encode("unicode_escape").decode().replace("\\\\", "\\") if "\x1b" in name else name
        markdown = "".join(Page(MarkdownIt("commonmark").enable("table").render(markdown_text(results))).text)
        assert shown in markdown
        assert shown in "".join(Page(html_text(results)).shown)
        (row,) = csv.DictReader(io.StringIO(csv_text(results)))
        assert row["model"] == shown
        assert not set(markdown_text(results) + csv_text(results)) & set("\x1b\u202e\x07\x9b")

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "\uff1d"])
    def test_no_cell_of_the_csv_is_a_formula(self, lossy, start):
        attack = f"{start}cmd|' /C calc'!A0"
        variant = lossy.rows[1].variant.model_copy(update={"model": attack, "skip": (attack,)})
        row = lossy.rows[1].model_copy(update={"variant": variant, "reason": attack})
        own = {attack: MetricValue(value=-1.5, unit="", higher_is_better=True)}
        results = lossy.model_copy(update={"rows": (row.model_copy(update={"metrics": own}),), "scenario": attack})
        (cells,) = csv.DictReader(io.StringIO(csv_text(results)))
        texts = [each for each in (*cells, *cells.values()) if not re.fullmatch(r"-?[0-9.e-]+", each)]
        assert sum("cmd|" in each for each in texts) >= 4
        assert [each for each in texts if each.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))] == []
        assert "-1.5" in cells.values()  # figures stay figures

    def test_is_text_in_markdown(self, attacked):
        html = MarkdownIt("commonmark").enable("table").render(markdown_text(attacked))
        page = Page(html)
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "code", "a"})
        assert "<script>alert(1)</script>" in "".join(page.text)

    def test_does_not_break_markdown_tables(self, attacked):
        html = MarkdownIt("commonmark").enable("table").render(markdown_text(attacked))
        for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
            rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
            assert {len(re.findall(r"<t[hd]", row)) for row in rows} == {rows[0].count("<th")}
            assert len(rows) > 1


class TestMarkdown:
    def test_holds_the_same_table_and_conclusion(self, quickstart):
        text = markdown_text(quickstart)
        assert text.index("**Ship PTQ ") < text.index("- PTQ is enough; QAT buys nothing that 10,000 images can prove.")
        lines = [line for line in text.splitlines() if line.startswith("| PTQ max per-channel")]
        assert len(lines) == 2
        assert "n too small" in text
        assert "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888" in text

    def test_gates_come_before_other_details_failures_first(self, rich):
        text = markdown_text(rich)
        places = [text.index(f"## {name}") for name in ("Variants", "Gates", "1 gate passed", "Cost")]
        assert places == sorted(places)

    def test_is_well_spaced(self, quickstart):
        html = MarkdownIt("commonmark").enable("table").render(markdown_text(quickstart))
        # FP32, eight PTQ and two QAT rows, and a heading, for each of two models.
        assert [table.count("<tr>") for table in re.findall(r"<table>.*?</table>", html, re.DOTALL)][:2] == [12, 12]
        assert html.count("<h1>") == 1
        assert "|" not in re.sub(r"<table>.*?</table>", "", html, flags=re.DOTALL)


def test_how_much_of_the_peak_a_row_reaches_has_a_column_where_it_is_known(latency_only):
    assert "Of peak" not in html_text(latency_only) + markdown_text(latency_only)
    first, *others = latency_only.rows
    known = first.model_copy(update={"latency": first.latency.model_copy(update={"share_of_peak": 0.4321})})
    results = latency_only.model_copy(update={"rows": (known, *others)})
    table = next(line for line in markdown_text(results).splitlines() if "Of peak" in line)
    assert table.split("|").index(" Of peak ") == table.split("|").index(" Latency ") + 1
    page = html_text(results)
    assert ">Of peak</th>" in page
    assert re.search(r'data-order="0.4321[^>]*>43.2\s%', page)
    assert csv_text(results).splitlines()[1].count("0.4321") == 1
