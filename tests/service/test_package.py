"""The package as it is installed: what the wheel holds, what an import costs, which way imports run."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import UnionType

import pytest

import querywright

ROOT = Path(querywright.__file__).parent
ROOMS = ("rewrite", "retrieval", "service", "eval")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

ALLOWED = [
    r"querywright/__init__\.py",
    r"querywright/py\.typed",
    r"querywright/(rewrite|retrieval|service|eval)/[a-z_]+\.py",
    r"querywright/service/page/[a-z-]+\.(html|css|js|svg)",
    r"querywright/eval/page/report\.(css|js)",
    r"querywright/rewrite/prompts/(en|zh)\.toml",
    r"querywright/data/words/en\.txt",
    r"querywright/data/demo/(corpus\.jsonl|queries\.jsonl|qrels\.tsv|catalog\.toml)",
    r"querywright/data/models/editor/(en|zh)/(model\.json|weights\.safetensors\.gz|graph\.onnx|README\.md)",
    r"querywright/data/models/encoder/zh/(model\.json|vocabulary\.txt|weights\.safetensors|README\.md)",
    r"querywright/data/models/minilm/graph\.onnx",
    r"querywright-[0-9.]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt|top_level\.txt|licenses/LICENSE)",
]
"""All that may be in the wheel."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the wheel from a copy, so that no build leaves anything in the checkout; return its files."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "build", "__pycache__", "querywright-eval")
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    options = ["--no-index", "--disable-pip-version-check", "--wheel-dir", str(folder), str(folder / "source")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_wheel_holds_what_the_list_allows(wheel: set[str]) -> None:
    strays = [name for name in wheel if not any(re.fullmatch(pattern, name) for pattern in ALLOWED)]
    assert strays == []


def test_wheel_lacks_nothing(wheel: set[str]) -> None:
    expected = {f"querywright/{path.relative_to(ROOT).as_posix()}" for path in MODULES}
    expected |= {f"querywright/data/demo/{path.name}" for path in (ROOT / "data" / "demo").iterdir()}
    models = (path for path in (ROOT / "data" / "models").rglob("*") if path.is_file())
    expected |= {f"querywright/{path.relative_to(ROOT).as_posix()}" for path in models}
    expected |= {f"querywright/eval/page/{path.name}" for path in (ROOT / "eval" / "page").iterdir()}
    expected |= {f"querywright/rewrite/prompts/{path.name}" for path in (ROOT / "rewrite" / "prompts").iterdir()}
    expected |= {f"querywright/data/words/{path.name}" for path in (ROOT / "data" / "words").iterdir()}
    expected |= {f"querywright/service/page/{path.name}" for path in (ROOT / "service" / "page").iterdir()}
    expected |= {"querywright/__init__.py", "querywright/py.typed"}
    assert {name for name in wheel if name.startswith("querywright/")} == expected
    for pattern in ALLOWED:
        assert any(re.fullmatch(pattern, name) for name in wheel), pattern


def test_import_costs_nothing() -> None:
    heavy = "torch faiss fastapi numpy langchain langchain_core transformers sentence_transformers pydantic apsw httpx"
    code = f"import sys, querywright; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_clients_cost_little() -> None:
    heavy = "torch faiss fastapi langchain transformers sentence_transformers"
    code = f"import sys; from querywright import Client; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", querywright.__all__)
def test_every_public_name(name: str) -> None:
    found = getattr(querywright, name)
    assert isinstance(found, type | UnionType)
    assert found.__doc__
    assert name in dir(querywright)
    assert name not in ROOMS


def test_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = querywright.Nonsense


def test_every_module_is_there_once() -> None:
    """`import rewrite` from the root would make a second copy of a module, and of its classes.

    (The root's own `__init__` is left out: pytest imports it as that of a folder above the tests.)
    """
    here = [path for path in MODULES if find_spec("ray") or path.name != "ray_cluster.py"]
    for path in here:
        importlib.import_module(name_of(path))
    files = [(name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())]
    ours = [(name, Path(file)) for name, file in files if file and Path(file).is_relative_to(ROOT)]
    found = {(name, path) for name, path in ours if path.relative_to(ROOT).parts[0] in ROOMS}
    assert found == {(name_of(path), path) for path in here}
    assert not {*ROOMS} & set(sys.modules)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("querywright", *(part for part in parts if part != "__init__")))


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield what a module imports from inside the package, as paths below its root: ("rewrite", "query")."""
    inside = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "querywright":
                    yield tuple(alias.name.split(".")[1:])
        elif isinstance(node, ast.ImportFrom):
            module = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = inside[: len(inside) - node.level + 1] + module
            elif module[:1] == ("querywright",):
                base = module[1:]
            else:
                continue
            for alias in node.names:
                yield (*base, alias.name)


FORBIDDEN = {
    "rewrite": {"retrieval", "service", "eval"},
    "retrieval": {"rewrite", "service", "eval"},
    "service": {"eval"},
    "eval": set(),
}
OUTERMOST = "service/cli.py"
"""The one part of the service that may import eval."""

ERRORS = {name for name in querywright.__all__ if name.endswith("Error")} | {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    room = path.relative_to(ROOT).parts[0]
    forbidden = set() if place == OUTERMOST else FORBIDDEN[room]
    for target in imports(path):
        assert target[0] not in forbidden, f"{place} imports {'.'.join(target)}"
        # From the root only what is defined there: the rest would come in by a side door.
        if target[0] not in ROOMS:
            assert target[0] in ERRORS, f"{place} imports {'.'.join(target)}"


def test_that_test_sees_imports() -> None:
    assert ("eval", "commands", "register") in set(imports(ROOT / "service" / "cli.py"))
    assert ("rewrite", "query", "Query") in set(imports(ROOT / "service" / "pipeline.py"))
    assert ("InputError",) in set(imports(ROOT / "rewrite" / "query.py"))
