"""The default encoder as an ONNX graph without weights; `python -m querywright.service.encoder_graph` writes it.

The graph names its weights as the package of all-MiniLM-L6-v2 stores them, and `retrieval/onnx_encoder.py` gives them
when it loads it.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from onnx import TensorProto, helper

from ..retrieval.onnx_encoder import GRAPH, WEIGHTS, read_weights
from ..rewrite.editor_graph import Graph, add_layers
from ..rewrite.editor_weights import HEADS, HIDDEN, LAYERS, NORMS, PARTS, base_folder


class _StoredGraph(Graph):
    """Takes weights by the graph's names, and calls them as they are stored."""

    def __init__(self) -> None:
        self._stored = _stored_names()
        super().__init__({name: value.shape for name, value in read_weights(base_folder() / WEIGHTS).items()})

    def weight(self, name: str) -> str:
        """Return the weight of that name as it is stored."""
        return super().weight(self._stored[name])


def build_graph() -> bytes:
    """Return the graph, serialized: word pieces and their mask in, one unit vector a text out."""
    graph = _StoredGraph()
    _pool(graph, add_layers(graph, _embeddings(graph), LAYERS, HEADS))
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ("B", "T")),
        helper.make_tensor_value_info("mask", TensorProto.INT32, ("B", "T")),
    ]
    outputs = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ("B", HIDDEN))]
    return graph.serialized("encoder", inputs, outputs)


def _embeddings(graph: Graph) -> str:
    """Add the embeddings of words, positions and the only type of text that there is."""
    words = graph.node("Gather", graph.weight("words"), "ids")
    length = graph.node("Shape", "ids", start=1, end=2)
    first = graph.node("Slice", graph.weight("positions"), graph.constant(0), length, graph.constant(0))
    kind = graph.node("Gather", graph.weight("kinds"), graph.constant(0))
    return graph.norm(graph.node("Add", graph.node("Add", words, kind), first), "embedding_norm")


def _pool(graph: Graph, states: str) -> None:
    """Add the sum of the states where the mask is 1, scaled to length 1: the mean would come to the same."""
    mask = graph.node("Unsqueeze", graph.node("Cast", "mask", to=TensorProto.FLOAT), graph.constant(2))
    total = graph.node("ReduceSum", graph.node("Mul", states, mask), graph.constant(1), keepdims=0)
    graph.node("LpNormalization", total, axis=-1, p=2, name="vectors")


def _stored_names() -> dict[str, str]:
    """Return the stored name of every weight that the graph uses."""
    layers = {"embedding_norm": "embeddings.LayerNorm"}
    for i in range(LAYERS):
        layers |= {f"layer{i}.{ours}": f"encoder.layer.{i}.{theirs}" for ours, theirs in (PARTS | NORMS).items()}
    tables = {"words": "word", "positions": "position", "kinds": "token_type"}
    names = {ours: f"embeddings.{theirs}_embeddings.weight" for ours, theirs in tables.items()}
    return names | {f"{ours}.{of}": f"{theirs}.{of}" for ours, theirs in layers.items() for of in ("weight", "bias")}


def main(path: Path = GRAPH) -> None:
    """Write the graph and print its SHA-256, which `retrieval/onnx_encoder.py` holds it to."""
    graph = build_graph()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph)
    sys.stdout.write(f"{hashlib.sha256(graph).hexdigest()}  {path}\n")


if __name__ == "__main__":
    main()
