"""How fast is the editor? Run by hand; needs the extra `train`.

    .venv/bin/python tests/rewrite/editor_speed.py [--rounds 60]

Prints, for conversations of 2, 6 and 20 turns in both languages: p50 and p95 of one rewrite, the p50 of one forward
pass of the bare encoder (MiniLM on ONNX Runtime) over as many pieces, measured in turns with it, and their ratio; then
conversations a second in batches, and how long a new process takes to load a model. One thread throughout.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
import onnxruntime

from querywright.rewrite.editor import MODELS, Editor
from querywright.rewrite.editor_input import Vocabulary, read_pieces
from querywright.rewrite.editor_weights import base_folder, load_model
from querywright.rewrite.language import Language
from querywright.rewrite.query import Query, Role, Turn

SAID = {
    Language.EN: (
        [
            "How do I connect the scanner to the office network?",
            "Does it work with a cable too?",
            "What about drivers?",
        ],
        [
            "Open the settings of the scanner, choose the wireless network and type its password. Once the light is blue it shows.",
            "Yes. Plug it into any free port; the network gives it an address by itself within a minute.",
        ],
        "And how much does that one cost?",
    ),
    Language.ZH: (
        ["扫描仪怎么连到办公室的网络", "用网线也可以吗", "驱动在哪里下载"],
        [
            "打开扫描仪的设置，选择无线网络并输入密码，指示灯变蓝就连上了，附近的电脑都能看到它。",
            "可以，插上网线一分钟之内会自动分配地址。",
        ],
        "那它多少钱",
    ),
}
LOAD = (
    "import time; t = time.perf_counter();"
    "from querywright.rewrite.editor import *; from querywright.rewrite.query import *;"
    "Editor(MODELS / {language!r}).rewrite(Query('it?', (Turn(Role.USER, 'the moon'),)));"
    "print(time.perf_counter() - t)"
)


def conversation(language: Language, turns: int) -> Query:
    """Return a query after so many turns."""
    asked, answered, query = SAID[language]
    said = [(Role.ASSISTANT, answered[i % 2]) if i % 2 else (Role.USER, asked[i // 2 % 3]) for i in range(turns)]
    return Query(query, tuple(Turn(role, text) for role, text in said))


def bare_encoder(language: Language) -> onnxruntime.InferenceSession:
    """Return the encoder of the editor's graph without its heads, with the same weights."""
    _, graph, weights = load_model(MODELS / language)
    model = onnx.load_from_string(graph)
    states = [node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization"][-2]  # gap's is last
    whole = onnx.helper.make_tensor_value_info(states, onnx.TensorProto.FLOAT, None)
    del model.graph.output[:]
    model.graph.output.append(whole)
    needed = set()
    for node in reversed(model.graph.node):
        if states in node.output or needed & set(node.output):
            needed |= set(node.input)
    for node in [node for node in model.graph.node if not (needed | {states}) & set(node.output)]:
        model.graph.node.remove(node)
    for item in [item for item in model.graph.input if item.name not in needed]:
        model.graph.input.remove(item)
    for item in [item for item in model.graph.initializer if item.name not in needed]:
        model.graph.initializer.remove(item)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    kept = {name: value for name, value in weights.items() if name in needed}
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in kept.values()]
    options.add_external_initializers(list(kept), values)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    KEPT_ALIVE.append((weights, values))
    return session


KEPT_ALIVE: list[object] = []


def milliseconds(run: Callable[[], object]) -> float:
    """Return how long `run` takes."""
    begun = time.perf_counter()
    run()
    return (time.perf_counter() - begun) * 1000


def measured(language: Language, turns: int, rounds: int) -> str:
    """Return a line of figures for conversations of so many turns."""
    editor, encoder = Editor(MODELS / language), bare_encoder(language)
    query = conversation(language, turns)
    pieces = read_pieces(query, Vocabulary(base_folder(), load_model(MODELS / language)[0].characters))
    mask = np.ones((1, len(pieces.ids)), dtype=np.int32)
    feed = {"ids": pieces.ids[None], "roles": pieces.roles[None], "mask": mask}
    rewrite, forward = partial(editor.rewrite, query), partial(encoder.run, None, feed)
    rewrite(), forward()
    pairs = [(milliseconds(rewrite), milliseconds(forward)) for _ in range(rounds)]
    ours, bare = zip(*pairs, strict=True)
    batches = statistics.median(milliseconds(partial(editor.rewrite_all, [query] * 64)) for _ in range(5))
    return (
        f"{language} {turns:2d} turns, {len(pieces.ids):3d} pieces: p50 {statistics.median(ours):5.1f} ms, "
        f"p95 {np.quantile(ours, 0.95):5.1f} ms; bare encoder p50 {statistics.median(bare):5.1f} ms, "
        f"ratio {statistics.median(ours) / statistics.median(bare):.2f}; in batches {64_000 / batches:.0f} a second"
    )


def loading(language: Language) -> float:
    """Return the median seconds in which a new process imports the editor, loads a model and rewrites once."""
    command = [sys.executable, "-c", LOAD.format(language=language.value)]
    return statistics.median(float(subprocess.check_output(command)) for _ in range(3))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    for language in Language:
        for turns in (2, 6, 20):
            print(measured(language, turns, rounds), flush=True)
        print(f"{language} loaded in {loading(language):.2f} s", flush=True)


if __name__ == "__main__":
    main()
