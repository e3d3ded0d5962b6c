"""docs/ERRORS.md is what the table says."""

from neuronetz_gateway.surfaces.failures import FAILURES
from tests.support.errors_page import EXAMPLES, PAGE, page


def test_the_page_is_what_the_table_says() -> None:
    """`just docs` writes it anew; on the way every SDK has read every refusal as the gateway means it."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_row_has_its_example() -> None:
    assert {type(error) for error in EXAMPLES} == {failure.error for failure in FAILURES}
    assert len(EXAMPLES) == len(FAILURES)
