import pytest

from harness.machine.installed import library_version, module_version


def test_version_of_an_installed_library() -> None:
    assert library_version("pydantic")[0].isdigit()


def test_version_of_a_missing_one() -> None:
    assert library_version("no-such-distribution") == "absent"


@pytest.mark.parametrize(
    ("module", "distribution"),
    [("PIL", "pillow"), ("pydantic", "pydantic"), ("ruamel", "ruamel.yaml"), ("onnx_ir", "onnx-ir")],
)
def test_version_of_the_distribution_that_a_module_comes_from(module: str, distribution: str) -> None:
    assert module_version(module) == f"{distribution}=={library_version(distribution)}"


@pytest.mark.parametrize("module", ["no_such_module", "json"])
def test_a_module_of_no_distribution_has_none(module: str) -> None:
    assert module_version(module) == "absent"
