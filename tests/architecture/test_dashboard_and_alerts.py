"""What dashboard and alerts ask for is there: every metric, label and value; each alert leads to its runbook."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.observability.metrics import TOO_MANY_CONNECTIONS, WATCHED_EVENTS
from neuronetz_gateway.services.overview import LEVELS_PERCENT
from neuronetz_gateway.surfaces.catalog import ACCOUNT, ENDPOINTS
from tests.support.watched import asked_by, grouped_by, series

ROOT = Path(__file__).resolve().parents[2]
OPS, RUNBOOK = ROOT / "ops", ROOT / "docs" / "OPERATIONS.md"
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
DASHBOARD = json.loads((OPS / "grafana" / "dashboards" / "neuronetz-gateway.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
THERE = series()
VALUES = {
    "outcome": {outcome.value for outcome in Outcome} | {"served"},
    "endpoint": {endpoint.path for endpoint in (*ENDPOINTS, ACCOUNT)} | {"other"},
    "event": set(WATCHED_EVENTS),
    "reason": {TOO_MANY_CONNECTIONS},
    "dependency": {"postgres", "redis", "ollama"},
    "period": {period.value for period in Period},
    "used_percent": {str(percent) for percent in LEVELS_PERCENT},
    "job": {"neuronetz-gateway"},
}
# Names of events that are put together from one of these stems.
STEMS = {
    "_lost": ("settlement", "refusal"),
    "_failed": ("checkpoint", "partitions", "prompt_purge", "retention", "usage"),
}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_every_metric_label_and_value_is_one_that_the_code_has(where: str, expression: str) -> None:
    found = list(asked_by(expression))
    assert found, where
    labels: set[str] = set()
    for asked in found:
        assert asked.name in THERE, f"{asked.name} is no metric"
        labels |= THERE[asked.name]
        for label, operator, value in asked.matchers:
            assert label in THERE[asked.name], f"{asked.name} has no label {label}"
            if label == "status":
                assert re.fullmatch(r"\d(\d\d|\.\.)", value), value
            elif label != "instance":
                alternatives = set(value.split("|")) if operator in ("=~", "!~") else {value}
                assert alternatives <= VALUES[label], alternatives - VALUES[label]
    assert grouped_by(expression) <= labels, grouped_by(expression) - labels
    assert expression.count("(") == expression.count(")")


def test_a_name_that_is_no_metric_would_be_found() -> None:
    (asked,) = asked_by('sum by (le) (rate(neuronetz_nothing_bucket{event="x", instance=~"$instance"}[5m]))')
    assert asked.name == "neuronetz_nothing_bucket"
    assert asked.name not in THERE
    assert asked.matchers == (("event", "=", "x"), ("instance", "=~", "$instance"))
    assert grouped_by("sum by (instance, le) (x) + max without (job) (y)") == {"instance", "le", "job"}


def test_no_metric_goes_unseen() -> None:
    """Whatever is counted is on the dashboard, or there is no use in counting it."""
    shown = {asked.name for panel in PANELS for target in panel["targets"] for asked in asked_by(target["expr"])}
    stems = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in shown}
    counted = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in THERE} - {"up"}
    assert counted == stems


@pytest.mark.parametrize("event", WATCHED_EVENTS)
def test_every_watched_event_is_one_that_the_code_tells_of(event: str) -> None:
    composed = next((end for end, stems in STEMS.items() if event.removesuffix(end) in stems and event != end), None)
    assert f'"{event.removesuffix(composed) if composed else event}"' in SOURCE.replace(_watched_block(), "")


def _watched_block() -> str:
    found = re.search(r"WATCHED_EVENTS = \(.*?\n\)", SOURCE, re.DOTALL)
    assert found
    return found[0]


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alert_leads_to_a_section_of_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert ROOT / page == RUNBOOK
    headings = re.findall(r"^#+ (.*)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_alert_of_the_runbook_is_raised_by_somebody() -> None:
    text = RUNBOOK.read_text(encoding="utf-8").partition("\n## Alerts\n")[2]
    described = {heading.lower().replace(" ", "-") for heading in re.findall(r"^### (.*)$", text, re.MULTILINE)}
    assert described == {rule["annotations"]["runbook_url"].partition("#")[2] for rule in RULES}


def test_prometheus_reads_these_alerts_from_where_the_stack_shows_its_metrics() -> None:
    configured = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert [OPS / "prometheus" / name for name in configured["rule_files"]] == [OPS / "prometheus" / "alerts.yml"]
    (job,) = configured["scrape_configs"]
    assert job["job_name"] == "neuronetz-gateway"
    stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    port = stack["services"]["gateway"]["environment"]["METRICS_PORT"]
    assert job["static_configs"] == [{"targets": [f"gateway:{port}"]}]


def test_grafana_is_told_where_dashboard_and_figures_are() -> None:
    provisioning = OPS / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "neuronetz.yml").read_text())["providers"]
    assert (source["type"], provider["type"]) == ("prometheus", "file")
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["query"] == source["type"]
    for panel in PANELS:
        assert panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
