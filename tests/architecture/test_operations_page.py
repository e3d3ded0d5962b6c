"""docs/OPERATIONS.md has a section for each alert, and names metrics and events that there are."""

import re

import pytest

from neuronetz_gateway.observability.metrics import Metrics
from tests.support.documents import ROOT, anchors_of, prose_of, text_of

PAGE = "docs/OPERATIONS.md"
ALERTS = (
    "postgres-is-away", "redis-is-away", "ollama-is-away", "redis-forgot", "settlements-wait",
    "reservations-are-abandoned", "the-loop-is-late", "budgets-near-their-end", "audit-chain-broken",
    "too-many-connections", "checkpoints-are-late", "errors-of-the-gateway",
)  # fmt: skip
QUESTIONS = ("What it means.", "What callers see.", "What to look at.", "The mend.")
WORDS_OF_OTHERS = {"pg_terminate_backend", "pg_basebackup", "pg_stat_activity", "archive_mode", "max_connections"}
WORDS_OF_OTHERS |= {"evicted_keys", "synchronous_standby_names", "shared_buffers"}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_its_section_with_an_answer_to_each_question(alert: str) -> None:
    assert alert in anchors_of(PAGE)
    sections = re.split(r"^### ", text_of(PAGE), flags=re.MULTILINE)
    (section,) = (each for each in sections if each.partition("\n")[0].lower().replace(" ", "-") == alert)
    assert [section.count(f"**{question}**") for question in QUESTIONS] == [1] * len(QUESTIONS)


def test_every_metric_that_a_document_names_is_exposed() -> None:
    exposed = set(re.findall(r"^# TYPE (\w+) ", Metrics().exposition().decode(), re.MULTILINE))
    for page in (PAGE, "README.md", "docs/DEPLOYMENT.md"):
        assert set(re.findall(r"\bneuronetz_\w+(?<!gateway)\b", prose_of(page))) <= exposed


def test_every_event_and_code_that_the_runbook_names_stands_in_the_source() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    source += "".join(path.read_text("utf-8") for path in (ROOT / "migrations").rglob("*.sql"))
    named = set(re.findall(r"`(?!neuronetz_)([a-z]+(?:_[a-z]+)+)`", prose_of(PAGE))) - WORDS_OF_OTHERS
    # some names are put together where they are told: settlement_lost, checkpoint_failed
    ends = ("_lost", "_waits_for_postgres", "_goes_on", "_failed")
    assert [
        name for name in named if f'"{name}"' not in source and f" {name}" not in source and not name.endswith(ends)
    ] == []
    assert len(named) > 20
