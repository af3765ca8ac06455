"""The editor as an ONNX graph without weights: these come from the base encoder and the trained difference at load.

Built with the package `onnx` when a model is trained; loading a model needs onnxruntime alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shapes = dict[str, tuple[int, ...]]
Values = list[onnx.ValueInfoProto]

_OPSET = 20
_MICROSOFT = 1
_EPSILON = 1e-12


class Graph:
    """Collects nodes; every weight is an initializer whose data is said to lie outside."""

    def __init__(self, shapes: Shapes) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._shapes = shapes
        self._used: dict[str, onnx.TensorProto] = {}
        self._constants: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def weight(self, name: str) -> str:
        """Return the weight of that name, whose shape must be known."""
        if name not in self._used:
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=self._shapes[name])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", "weights"),
                ("offset", "0"),
                ("length", str(4 * int(np.prod(self._shapes[name])))),
            ):
                tensor.external_data.add(key=key, value=value)
            self._used[name] = tensor
        return name

    def constant(self, *values: int) -> str:
        """Return a vector of whole numbers."""
        name = "c_" + "_".join(map(str, values)).replace("-", "m")
        self._constants[name] = numpy_helper.from_array(np.array(values, dtype=np.int64), name)
        return name

    def node(
        self,
        operator: str,
        *inputs: str,
        domain: str = "",
        name: str | None = None,
        **attributes: Any,  # noqa: ANN401 # what onnx takes
    ) -> str:
        """Add a node and return its output."""
        self._count += 1
        out = name or f"{operator.lower()}_{self._count}"
        self.nodes.append(helper.make_node(operator, inputs, [out], domain=domain, **attributes))
        return out

    def linear(self, x: str, layer: str, name: str | None = None) -> str:
        """Multiply by a matrix and add a bias."""
        product = self.node("MatMul", x, self.weight(f"{layer}.weight"))
        return self.node("Add", product, self.weight(f"{layer}.bias"), name=name)

    def norm(self, x: str, layer: str, epsilon: float = _EPSILON) -> str:
        """Normalize over the last axis (Ba, Kiros & Hinton, 2016)."""
        return self.node(
            "LayerNormalization",
            x,
            self.weight(f"{layer}.weight"),
            self.weight(f"{layer}.bias"),
            axis=-1,
            epsilon=epsilon,
        )

    def serialized(self, name: str, inputs: Values, outputs: Values) -> bytes:
        """Return the graph as ONNX writes it, with `inputs` in and `outputs` out."""
        initializers = [*self._used.values(), *self._constants.values()]
        model = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, initializers),
            opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", _MICROSOFT)],
            ir_version=10,
        )
        serialized: bytes = model.SerializeToString(deterministic=True)
        return serialized


def build_graph(shapes: Shapes, *, layers: int, heads: int, pointer: int) -> bytes:
    """Return the graph, serialized; `shapes` of all weights by name, linear weights as (inputs, outputs)."""
    graph = Graph(shapes)
    states = _encoder(graph, layers, heads)
    _heads(graph, states, pointer)
    integers = {"ids": ("B", "T"), "roles": ("B", "T"), "gaps": ("B", "G", 2), "places": ("B", "U")}
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in integers.items()]
    inputs.append(helper.make_tensor_value_info("mask", TensorProto.INT32, ("B", "T")))
    outputs = {"delete": 2, "connect": 3, "none": 3, "points": 4, "edit": 2, "tag": 2}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name, rank in outputs.items()]
    return graph.serialized("editor", inputs, values)


def _encoder(graph: Graph, layers: int, heads: int) -> str:
    words = graph.node("Gather", graph.weight("words"), "ids")
    length = graph.node("Shape", "ids", start=1, end=2)
    first = graph.node("Slice", graph.weight("positions"), graph.constant(0), length, graph.constant(0))
    roles = graph.node("Gather", graph.weight("roles_table"), "roles")
    x = graph.norm(graph.node("Add", graph.node("Add", words, first), roles), "embedding_norm")
    return add_layers(graph, x, layers, heads)


def add_layers(graph: Graph, x: str, layers: int, heads: int) -> str:
    """Add the layers of BERT (Devlin et al., NAACL 2019), with the norm behind each half, to the embeddings `x`.

    The input "mask", int32 (batch, length), is 1 where there is a word piece.
    """
    for i in range(layers):
        at = f"layer{i}"
        query, key, value = (graph.linear(x, f"{at}.{part}") for part in ("query", "key", "value"))
        mixed = graph.node("MultiHeadAttention", query, key, value, "", "mask", domain="com.microsoft", num_heads=heads)
        x = graph.norm(graph.node("Add", graph.linear(mixed, f"{at}.output"), x), f"{at}.attention_norm")
        inner = graph.node("Gelu", graph.linear(x, f"{at}.up"))
        x = graph.norm(graph.node("Add", graph.linear(inner, f"{at}.down"), x), f"{at}.norm")
    return x


def _heads(graph: Graph, states: str, pointer: int) -> None:
    left, right = (
        _gathered(graph, states, graph.node("Gather", "gaps", graph.constant(side), axis=2), squeeze=True)
        for side in (0, 1)
    )
    gap = graph.norm(
        graph.node("Gelu", graph.linear(graph.node("Concat", left, right, axis=2), "gap")), "gap_norm", 1e-5
    )
    graph.node("Squeeze", graph.linear(gap, "delete"), graph.constant(2), name="delete")
    graph.linear(gap, "connect", name="connect")
    graph.linear(gap, "none", name="none")
    units = _gathered(graph, states, "places")
    asks, offers = graph.linear(gap, "asks"), graph.linear(units, "offers")
    split = graph.constant(0, 0, 4, pointer)
    asks = graph.node("Transpose", graph.node("Reshape", asks, split), perm=[0, 2, 1, 3])
    offers = graph.node("Transpose", graph.node("Reshape", offers, split), perm=[0, 2, 3, 1])
    graph.node("MatMul", asks, offers, name="points")
    start = graph.node("Gather", states, graph.constant(0), axis=1)
    graph.node("Squeeze", graph.linear(start, "edit"), graph.constant(2), name="edit")
    graph.node("Squeeze", graph.linear(units, "tag"), graph.constant(2), name="tag")


def _gathered(graph: Graph, states: str, index: str, *, squeeze: bool = False) -> str:
    """Take the states at `index`, row by row."""
    index = graph.node("Squeeze", index, graph.constant(2)) if squeeze else index
    index = graph.node("Unsqueeze", index, graph.constant(2))
    return graph.node("GatherND", states, index, batch_dims=1)
