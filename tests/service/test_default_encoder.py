"""The default encoder's graph is what the code makes, and serving with it needs no torch."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from querywright.retrieval.onnx_encoder import GRAPH
from querywright.service.encoder_graph import build_graph, main

HEAVY = ("torch", "sentence_transformers", "transformers", "langchain", "langchain_core")


def test_the_shipped_graph_is_what_the_code_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = build_graph()
    assert graph == GRAPH.read_bytes()
    main(tmp_path / "made" / "graph.onnx")
    assert (tmp_path / "made" / "graph.onnx").read_bytes() == graph
    assert capsys.readouterr().out.endswith("graph.onnx\n")


def test_it_holds_no_weights() -> None:
    graph = GRAPH.read_bytes()
    assert len(graph) < 30_000
    weights = [tensor for tensor in onnx.load_from_string(graph).graph.initializer if len(tensor.dims) == 2]
    assert weights
    assert all(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in weights)


def test_searching_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import json, sys, querywright\n"
        f"home = {str(tmp_path)!r}\n"
        "with querywright.Querywright(home=home, encoder='minilm') as opened:\n"
        "    opened.create_collection('notes')\n"
        "    opened.upsert('notes', [{'doc_id': 'a', 'text': 'Kittens sleep.'}, {'doc_id': 'b', 'text': 'Taxes rise.'}])\n"
        "    answer = opened.search('a small cat', collection='notes', legs=['dense'])\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(json.dumps([answer.hits[0].doc_id, answer.degraded, heavy]))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["a", None, []]
