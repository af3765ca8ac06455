"""The whole path of an LLM on real outputs: prompt, HTTP, reading, grounding, gate, fusion. Run by hand.

    python tests/eval/replayed_llm.py DATASET_DIR... [--home HOME] [--rewriter auto|llm]

A server on this machine speaks an OpenAI-compatible protocol and answers with the rewrite that the data set ships, which
an LLM wrote. Takes the queries with a conversation and a rewrite, and compares hybrid nDCG@5 over the query alone: the
same rewrites in place of the query, and the service asked as anybody would ask it.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from querywright import Querywright
from querywright.eval.bench import Bench
from querywright.eval.dataset import JudgedQuery
from querywright.eval.searches import index
from querywright.eval.specs import load_dataset
from querywright.rewrite.query import Rewrite
from querywright.service.answer import Answer

CUTOFF, DEPTH = 5, 50


@contextmanager
def replaying(rewrites: Mapping[str, list[tuple[str, str]]]) -> Iterator[str]:
    """Run the server; `rewrites` maps a query to the last turn before it and the rewrite, of each time it is asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
            known = next(rewrites[line] for line in reversed(asked.split("\n")) if line in rewrites)
            text = next((text for turn, text in known if turn[:60] in asked), known[0][1])
            message = {"role": "assistant", "content": json.dumps({"rewrite": text})}
            body = json.dumps(
                {
                    "id": "replayed",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "replayed",
                    "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                    "usage": {"prompt_tokens": len(asked) // 4, "completion_tokens": 20, "total_tokens": 0},
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def ndcg(answer: Answer, relevant: Mapping[str, int]) -> float:
    """Return nDCG@5 of the documents that were found, each once."""
    documents = list(dict.fromkeys(hit.doc_id for hit in answer.hits))[:CUTOFF]
    found = sum(relevant.get(doc_id, 0) / np.log2(i + 2) for i, doc_id in enumerate(documents))
    best = sorted(relevant.values(), reverse=True)[:CUTOFF]
    return float(found / sum(score / np.log2(i + 2) for i, score in enumerate(best)))


class InPlace:
    """A rewriter that says what it was told, unchecked."""

    name = "in place"

    def __init__(self, text: str) -> None:
        self._text = text

    def rewrite(self, query: object) -> Rewrite:
        from dataclasses import replace

        from querywright.rewrite.query import Decision, Query

        assert isinstance(query, Query)
        return replace(Rewrite.keep(query, self.name), rewrite=self._text, decision=Decision.REWRITE)


def told(name: str, gains: list[float]) -> str:
    values = np.array(gains)
    helped, hurt = int((values > 1e-9).sum()), int((values < -1e-9).sum())
    return f"{name}: nDCG@5 {values.mean():+.4f}, helped {helped}, hurt {hurt}"


def main() -> None:
    """Print what rewriting gains in either way, and how often the model was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--rewriter", default="auto")
    options = parser.parse_args()
    datasets = [load_dataset(name) for name in options.datasets]
    rows = [(dataset, judged) for dataset in datasets for judged in dataset.queries if asks(judged)]
    rewrites: dict[str, list[tuple[str, str]]] = {}
    for _, judged in rows:
        last = " ".join(judged.query.history[-1].text.split())
        rewrites.setdefault(" ".join(judged.query.query.split()), []).append((last, judged.gold or ""))
    with replaying(rewrites) as url:
        run(options, rows, url)


def asks(judged: JudgedQuery) -> bool:
    return bool(judged.query.history) and judged.gold is not None


def run(options: argparse.Namespace, rows: list[tuple[object, JudgedQuery]], url: str) -> None:
    os.environ.setdefault("OPENAI_API_KEY", "none")  # the client wants one, the server does not
    settings = {"llm": "openai:replayed", "llm_base_url": url, "budget_ms": 20_000, "rewrite_cache": 0}
    with Querywright(home=options.home, **settings) as querywright:
        bench = Bench(querywright.pipeline, querywright.collection_store)
        collections = {id(dataset): index(dataset, bench) for dataset, _ in rows}
        place, path, calls, decisions = [], [], 0, {}
        for dataset, judged in rows:
            relevant = {doc_id: score for doc_id, score in dataset.qrels[judged.id].items() if score > 0}
            collection, ask = collections[id(dataset)], querywright.pipeline.answer
            none = ndcg(ask(judged.query, collection, k=DEPTH, rewriter="none"), relevant)
            plain = ask(judged.query, collection, k=DEPTH, rewriter=InPlace(str(judged.gold)), keep_original=False)
            whole = ask(judged.query, collection, k=DEPTH, rewriter=options.rewriter)
            place.append(ndcg(plain, relevant) - none)
            path.append(ndcg(whole, relevant) - none)
            calls += whole.rewrite.usage.calls if whole.rewrite.usage else 0
            said = (whole.rewrite.rewriter, whole.rewrite.decision.value, whole.degraded)
            decisions[said] = decisions.get(said, 0) + 1
    print(f"{len(rows)} queries, {calls} calls")
    print(told("in place", place))
    print(told(f"whole path ({options.rewriter})", path))
    print(", ".join(f"{' '.join(map(str, said))}: {count}" for said, count in sorted(decisions.items(), key=str)))


if __name__ == "__main__":
    main()
