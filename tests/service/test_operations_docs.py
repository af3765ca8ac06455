"""docs/operations.md names metrics, settings and commands that there are."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
import typer.main
import yaml
from prometheus_client.parser import text_string_to_metric_families

from querywright import Querywright
from querywright.service import app as app_module
from querywright.service import cli
from querywright.service.cli import app
from querywright.service.keys import keys_of
from querywright.service.metrics import REJECTIONS, Metrics
from querywright.service.serving import Serving
from querywright.service.settings import NO_SETTINGS, PREFIX, Settings

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
        assert name.lower() in Settings.model_fields or PREFIX + name in {*NO_SETTINGS, f"{PREFIX}NAME"}, name
    for name, default in re.findall(rf"`{PREFIX}([A-Z_]+)` \[(\d+)\]", TEXT):
        assert getattr(Settings(), name.lower()) == int(default), name


def written(name: str) -> str:
    """Return how the table writes a setting's default."""
    if name == "home":
        return "`~/.querywright`"
    default = Settings.model_fields[name].default
    if default is None:
        return "none"
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def test_the_table_has_all_settings_with_their_defaults() -> None:
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (\S+) \| \S.* \| (yes|no) \|$", TEXT, re.MULTILINE)
    assert [(name, default) for name, default, _ in rows] == [(name, written(name)) for name in Settings.model_fields]


def test_settings_that_a_reload_does_not_take_are_said_to_be_such() -> None:
    """What the service holds on to at its start is read there from the settings of the start."""
    said = set(re.findall(r"^\| `([a-z0-9_]+)` \| .* \| no \|$", TEXT, re.MULTILINE))
    held = {
        name
        for starting in (app_module, cli, keys_of)
        for name in re.findall(r"\bsettings\.([a-z_]+)", inspect.getsource(starting))
    }
    assert held & set(Settings.model_fields) - {"home"} == said


def test_the_example_of_a_file_is_one(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    file = tmp_path / "settings.toml"
    file.write_text(example, encoding="utf-8")
    settings = Settings.load({f"{PREFIX}SETTINGS": str(file)})
    assert settings.model_fields_set == set(re.findall(r"^(\w+) =", example, re.MULTILINE))
    assert settings.cors_origins == ("https://search.example.com",)


def test_commands_are_those_that_there_are() -> None:
    root = typer.main.get_command(app)
    commands = set(root.commands)  # type: ignore[attr-defined]
    used = set(re.findall(r"^    (?:[A-Z_]+=\S+ )*querywright ([a-z]+)", TEXT, re.MULTILINE))
    assert {"serve", "keys", "backup", "restore"} <= used <= commands


def test_the_line_of_the_log_is_one() -> None:
    [line] = re.findall(r"```json\n(.*?)\n```", TEXT, re.DOTALL)
    assert json.loads(line)["logger"] == "querywright.access"
