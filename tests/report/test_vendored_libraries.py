"""The libraries in the page are the published files, unchanged, with their licences."""

import hashlib
import json

import pytest

from harness.report.page import VENDOR, page_parts

SOURCES = json.loads((VENDOR / "sources.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["file"])
def test_each_file_is_the_one_that_was_published(source):
    content = (VENDOR / source["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == source["sha256"]
    assert source["version"] in content.decode()


def test_no_file_is_without_a_source():
    assert {path.name for path in VENDOR.glob("*.js")} == {source["file"] for source in SOURCES}


def test_nothing_in_them_ends_the_element_that_holds_them():
    assert not any("</script" in script.lower() or "\r" in script for script in page_parts([])["scripts"])


def test_the_page_carries_their_licences():
    texts = dict(page_parts([])["licences"])
    assert "SpryMedia" in texts["DataTables"]
    (name,) = [each for each in texts if "ECharts" in each]
    assert "Apache License" in texts[name]
    assert "Baidu" in texts[name] and "Bostock" in texts[name]
