"""deploy/prometheus and deploy/grafana: Prometheus reads them, each alert rings, and no name in them is invented."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from app.metrics.exposition import Exposition
from app.metrics.model import Figures, Fleet, Work
from app.metrics.requests import Requests
from tests.metrics.support import parsed
from tests.support.promtool import promtool

pytestmark = pytest.mark.any_postgres

_ROOT: Final = Path(__file__).parents[2]
_PROMETHEUS: Final = _ROOT / "deploy/prometheus"
_DASHBOARDS: Final = sorted((_ROOT / "deploy/grafana").glob("*.json"))
_SELECTOR: Final = re.compile(r"\b((?:bf|process)_[a-z_]+)\b(?:\{([^}]*)\})?")
_GROUPING: Final = re.compile(r"\b(?:by|without|on)\s*\(([^)]*)\)")
_ROW: Final = re.compile(r"^\| `([a-z_]+)` \| \w+ \|([^|]*)\|", re.MULTILINE)
# What Prometheus adds, and what histograms have.
_COMMON: Final = {"job", "instance", "le"}


def _alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((_PROMETHEUS / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    return [panel for path in _DASHBOARDS for panel in json.loads(path.read_text())["panels"]]


def _expressions() -> list[str]:
    shown = [target["expr"] for panel in _panels() for target in panel.get("targets", [])]
    return [rule["expr"] for rule in _alerts()] + shown


def test_prometheus_takes_configuration_and_rules(tmp_path: Path) -> None:
    promtool("check", "rules", str(_PROMETHEUS / "alerts.yml"))
    promtool("check", "config", "--syntax-only", str(_PROMETHEUS / "prometheus.yml"))
    known = {"$job": "bf-api", "$__rate_interval": "1m"}
    rules = []
    for number, expression in enumerate(_expressions()):
        for variable, value in known.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        rules.append({"record": f"of:dashboard:{number}", "expr": expression})
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_every_alert_rings_when_it_should_and_not_before() -> None:
    files = sorted(_PROMETHEUS.glob("*.test.yml"))
    promtool("test", "rules", *(file.name for file in files), cwd=_PROMETHEUS)
    tests = [test for file in files for test in yaml.safe_load(file.read_text())["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in _alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts


def test_an_alert_that_never_rings_fails_its_test(tmp_path: Path) -> None:
    text = (_PROMETHEUS / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(text.replace("> 300", "> 300000"))
    document = yaml.safe_load((_PROMETHEUS / "alerts.test.yml").read_text())
    document["tests"] = [test for test in document["tests"] if "no worker" in test["name"]]
    (tmp_path / "alerts.test.yml").write_text(yaml.safe_dump(document))
    with pytest.raises(AssertionError, match="BfQueueStuck"):
        promtool("test", "rules", "alerts.test.yml", cwd=tmp_path)


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    headings = re.findall(r"^## (\w+)$", (_ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in _alerts()], "in the same order"
    for rule in _alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_alerts_and_dashboards_name_only_series_and_labels_that_there_are() -> None:
    labels = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in _ROW.findall(_document())}
    names = _exposed()
    for expression in _expressions():
        for name, matchers in _SELECTOR.findall(expression):
            assert name in names, f"{name} in {expression}"
            base = re.sub(r"_(bucket|count|sum)$", "", name) if name not in labels else name
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert asked <= labels.get(base, set()) | _COMMON, expression
        for grouping in _GROUPING.findall(expression):
            wanted = {label.strip() for label in grouping.split(",")}
            assert wanted <= set().union(*labels.values()) | _COMMON, expression


def _document() -> str:
    return (_ROOT / "docs/metrics.md").read_text()


def _exposed() -> set[str]:
    """Every name under which there may be a sample."""
    work = Work(
        jobs={}, oldest_job=0, unfinished=[], ended=[], unsealed=0, seal_lag=0, deliveries={}, oldest_delivery=0
    )
    figures = Figures(work=work, fleet=Fleet(tenants=[], behind=0, snapshot=None, collected=[], largest=[]))
    body, _ = Exposition(Requests(), version="0").render(figures, {}, accept="")
    found = set()
    for family in parsed(body.decode()).families.values():
        parts = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}.get(family.type, ("",))
        found |= {family.name + part for part in parts}
    return found


def test_every_panel_has_a_place_of_its_own_and_a_unit() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in _panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["targets"]
    assert len({panel["id"] for panel in _panels()}) == len(_panels())
