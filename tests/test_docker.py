"""The files for Docker: linted, and true to the project, as far as that shows without an engine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from querywright.service.server import SHUTDOWN_SECONDS
from querywright.service.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions: keyword and what follows, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def of(keyword: str, rows: list[tuple[str, str]]) -> list[str]:
    return [rest for found, rest in rows if found == keyword]


def final() -> list[tuple[str, str]]:
    """Return the instructions of the last stage, which becomes the image."""
    rows = instructions()
    last = max(place for place, (keyword, _) in enumerate(rows) if keyword == "FROM")
    return rows[last:]


def copied() -> list[str]:
    """Return what is copied from the repository."""
    rests = [rest for rest in of("COPY", instructions()) if not rest.startswith("--from")]
    return [source for rest in rests for source in rest.split()[:-1]]


def variables(rest: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(rest))


def test_the_linter_finds_nothing() -> None:
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([found, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_all_that_is_copied_is_there_and_is_sent_to_the_engine() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied()) == allowed
    for source in copied():
        assert (ROOT / source).exists(), source


def test_all_that_the_package_needs_is_copied() -> None:
    project, tool = PROJECT["project"], PROJECT["tool"]["setuptools"]
    needed = {name.partition(".")[2] for name in tool["packages"]} - {""}
    needed |= {project["readme"], *project["license-files"], "pyproject.toml", "constraints.txt", "__init__.py"}
    needed |= {pattern.split("/")[0] for pattern in tool["package-data"]["querywright"]}
    assert needed <= set(copied())


def test_what_is_installed_are_extras_that_the_project_has() -> None:
    rows = instructions()
    devices = {argument.partition("=")[2] for argument in of("ARG", rows) if argument.startswith("DEVICE")}
    devices |= {service["build"]["args"]["DEVICE"] for service in COMPOSE["services"].values()}
    assert devices == {"cpu", "gpu"}
    [extras] = re.findall(r'"\.\[(.*?)\]"', " ".join(of("RUN", rows)))
    wanted = {extra for extra in extras.split(",") if not extra.startswith("$")} | devices
    assert wanted <= set(PROJECT["project"]["optional-dependencies"])


def test_images_are_pinned_to_the_python_that_the_versions_were_tested_on() -> None:
    [python] = [argument.partition("=")[2] for argument in of("ARG", instructions()) if argument.startswith("PYTHON")]
    tested = re.search(r"on Python (3\.\d+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert tested is not None
    assert re.fullmatch(rf"{re.escape(tested[1])}(\.\d+)?-slim-\w+", python)
    assert {rest.split()[0] for rest in of("FROM", instructions())} == {"python:${PYTHON}"}
    assert not any("latest" in service["image"] for service in COMPOSE["services"].values())


def test_the_image_runs_one_command_as_nobody_in_particular() -> None:
    rows = final()
    assert [re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) is not None for user in of("USER", rows)] == [True]
    [entry], [command] = of("ENTRYPOINT", rows), of("CMD", rows)
    assert json.loads(entry)[0] in PROJECT["project"]["scripts"]
    assert json.loads(command)[:3] == ["serve", "--host", "0.0.0.0"]
    assert of("STOPSIGNAL", rows) == ["SIGTERM"]
    assert not [rest for rest in of("RUN", rows) if re.search(r"\b(pip|apt-get|gcc)\b", rest)]
    home = variables(of("ENV", rows)[0])["QUERYWRIGHT_HOME"]
    assert of("VOLUME", rows) == [home]
    assert variables(of("ENV", rows)[0])["ORT_DISABLE_TELEMETRY"] == "1"


def test_variables_are_settings_with_values_that_they_take() -> None:
    given = [variables(rest) for rest in of("ENV", final())]
    given += [service["environment"] for service in COMPOSE["services"].values()]
    for names in given:
        ours = {name: value for name, value in names.items() if name.startswith(PREFIX)}
        assert {name.removeprefix(PREFIX).lower() for name in ours} <= set(Settings.model_fields)
        Settings.load({name: value for name, value in ours.items() if not value.startswith("$")})


def test_nothing_is_fetched_from_anywhere_but_public_places() -> None:
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("Dockerfile", "compose.yaml"))
    hosts = set(re.findall(r"https?://([^/\s'\";]+)", text))
    assert hosts == {"127.0.0.1:8000", "collector:4318"}


# -------------------------------------------------------------------------------------------- health


def check() -> list[str]:
    """Return the image's health check."""
    [rest] = of("HEALTHCHECK", final())
    command: list[str] = json.loads(rest.partition("CMD ")[2])
    return command


@pytest.fixture(params=[200, 503])
def answering(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """Run what answers /healthz with a status; return that and the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield request.param, f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_health_check_tells_health_from_illness(answering: tuple[int, str]) -> None:
    status, address = answering
    python, *rest = check()
    assert python == "python"
    moved = [part.replace("127.0.0.1:8000", address) for part in rest]
    assert moved != rest
    done = subprocess.run([sys.executable, "-P", *moved], capture_output=True, check=False)
    assert (done.returncode == 0) == (status == 200)


# ------------------------------------------------------------------------------------------- compose


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_service_keeps_its_home_ends_in_peace_and_may_write_nowhere_else(name: str) -> None:
    service: dict[str, Any] = COMPOSE["services"][name]
    port = json.loads(of("CMD", final())[0])[-1]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert service["volumes"] == [f"{volume}:{of('VOLUME', final())[0]}" for volume in COMPOSE["volumes"]]
    assert service["healthcheck"]["test"] == ["CMD", *check()]
    assert seconds(service["stop_grace_period"]) >= max(15, SHUTDOWN_SECONDS + 5)
    assert seconds(service["healthcheck"]["timeout"]) < seconds(service["healthcheck"]["interval"])
    assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])
    assert (ROOT / service["build"]["context"] / "Dockerfile").is_file()
    arguments = {argument.partition("=")[0] for argument in of("ARG", instructions())}
    assert set(service["build"]["args"]) <= arguments


def test_a_gpu_is_taken_only_where_one_is_asked_for() -> None:
    cpu, gpu = COMPOSE["services"]["querywright"], COMPOSE["services"]["gpu"]
    assert "profiles" not in cpu
    assert "deploy" not in cpu
    assert gpu["profiles"] == ["gpu"]
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert gpu["environment"]["QUERYWRIGHT_DEVICE"] == "cuda"
