"""Settings: what is wrong with one is said so that it can be mended, wherever it stands."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from querywright import InputError, Querywright
from querywright.service.settings import PREFIX, Settings


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    """Return what loads settings from the text of a file and from variables."""

    def loaded(text: str = "", **variables: str) -> Settings:
        file = tmp_path / "settings.toml"
        file.write_text(text, encoding="utf-8")
        return Settings.load({f"{PREFIX}SETTINGS": str(file), **variables})

    return loaded


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("budgetms = 1", r"setting budgetms: there is none of that name; did you mean budget_ms\? \(lower case, "),
        (
            "QUERYWRIGHT_THREADS = 1",
            r"setting QUERYWRIGHT_THREADS: .*; did you mean threads\? .*without QUERYWRIGHT_\)",
        ),
        ("[xyz]\nport = 1", r"setting xyz: there is none of that name \(lower case, without QUERYWRIGHT_\)"),
        ("budget_ms = 0", "setting budget_ms: expected greater than or equal to 1"),
        ("budget_ms = 'soon'", "setting budget_ms: expected a valid integer"),
        ("fusion = 'none'", "setting fusion: expected 'rrf', 'min-max', "),
        ("timezone = 'Mars'", "setting timezone: expected a time zone such as Asia/Shanghai"),
        ("home = 5", "setting home: expected a path"),
        ("cors_origins = 5", "setting cors_origins: expected a list of origins such as https://"),
        ("log_format = 'xml'", "setting log_format: expected 'text' or 'json'"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(load: Callable[..., Settings], text: str, says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        load(text)


def test_a_variable_that_sets_nothing_is_told_of_once(
    load: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    known = {"QUERYWRIGHT_API_KEY": "qw_x", "QUERYWRIGHT_KEY": "qw_x", "QUERYWRIGHT_THREADS": "3", "HOME": "/"}
    with caplog.at_level(logging.WARNING, "querywright"):
        assert load(QUERYWRIGHT_THREAD="5", QUERYWRIGHT_SETTING="x", **known).threads == 3
    assert [record.getMessage() for record in caplog.records] == [
        "QUERYWRIGHT_THREAD: there is no such setting; did you mean QUERYWRIGHT_THREADS?",
        "QUERYWRIGHT_SETTING: there is no such setting; did you mean QUERYWRIGHT_SETTINGS?",
    ]


def test_the_sdk_tells_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("QUERYWRIGHT_XYZZYPLUGH", "1")
    with caplog.at_level(logging.WARNING, "querywright"), Querywright(home=tmp_path, encoder="none"):
        assert [record.getMessage() for record in caplog.records] == [
            "QUERYWRIGHT_XYZZYPLUGH: there is no such setting"
        ]


def test_serve_tells_of_it_once(tmp_path: Path) -> None:
    code = "from querywright.service.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--no-demo", "--home", str(tmp_path)]
    variables = {"QUERYWRIGHT_ENCODER": "none", "QUERYWRIGHT_DRAINSECONDS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | variables) as served:
        assert served.stderr
        lines = []
        for line in served.stderr:
            lines.append(line)
            if line.startswith("ready:"):
                break
        served.send_signal(signal.SIGTERM)
        served.communicate(timeout=30)
    told = [line for line in lines if "DRAINSECONDS" in line]
    assert len(told) == 1, lines
    assert "did you mean QUERYWRIGHT_DRAIN_SECONDS?" in told[0]
