"""docs/operations.md names metrics, settings and commands that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer.main
import yaml
from prometheus_client.parser import text_string_to_metric_families

from querywright import Querywright
from querywright.service.cli import app
from querywright.service.metrics import REJECTIONS, Metrics
from querywright.service.serving import Serving
from querywright.service.settings import PREFIX, Settings

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
SUFFIX = re.compile(r"_(bucket|sum|count|total|info|created)$")


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with Querywright(home=tmp_path_factory.mktemp("docs"), encoder="none") as querywright:
        text = Metrics(Serving(querywright)).text().decode()
    return {SUFFIX.sub("", family.name) for family in text_string_to_metric_families(text)}


def named() -> set[str]:
    found = set(re.findall(r"\b(?:querywright|process)_[a-z_]+\b", TEXT))
    found |= {f"querywright_collection{rest}" for rest in re.findall(r"`(_documents|_passages)`", TEXT)}
    return {SUFFIX.sub("", name) for name in found}


def test_metrics_that_are_named_are_those_that_there_are(families: set[str]) -> None:
    assert named() <= families
    assert {name for name in families if name.startswith("querywright_")} <= named()


def test_alerts_are_rules_that_can_be_read() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    [group] = yaml.safe_load(block)["groups"]
    assert all({"alert", "expr"} <= set(rule) for rule in group["rules"])
    reasons = set(re.findall(r'reason=~"([a-z|]+)"', block)[0].split("|"))
    assert reasons <= REJECTIONS


def test_settings_and_their_defaults_are_those_that_there_are() -> None:
    for name in set(re.findall(rf"{PREFIX}([A-Z_]+)", TEXT)):
        assert name.lower() in Settings.model_fields, name
    for name, default in re.findall(rf"`{PREFIX}([A-Z_]+)` \[(\d+)\]", TEXT):
        assert getattr(Settings(), name.lower()) == int(default), name


def test_commands_are_those_that_there_are() -> None:
    root = typer.main.get_command(app)
    commands = set(root.commands)  # type: ignore[attr-defined]
    used = set(re.findall(r"^    (?:[A-Z_]+=\S+ )*querywright ([a-z]+)", TEXT, re.MULTILINE))
    assert {"serve", "keys", "backup", "restore"} <= used <= commands


def test_the_line_of_the_log_is_one() -> None:
    [line] = re.findall(r"```json\n(.*?)\n```", TEXT, re.DOTALL)
    assert json.loads(line)["logger"] == "querywright.access"
