"""Learn when an LLM's rewrite is worth asking for, and tell how well that can be known. Run by hand.

    python tests/eval/learn_gate.py DATASET_DIR... [--home HOME] [--share .5]

Takes the queries with a conversation and a rewrite. A rewrite helps where it raises hybrid nDCG@5 over the query alone,
searched in its place or beside it with half of the weight. The features are those of `rewrite.gate.Signs`, known
before any rewrite. Everything told is out of fold: ten folds by conversation, three times. Prints the coefficients of
`rewrite/gate.py`, fitted to all queries.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from querywright import Querywright
from querywright.eval.bench import Bench
from querywright.eval.dataset import Dataset
from querywright.eval.searches import index
from querywright.eval.specs import load_dataset
from querywright.retrieval.fusion import Ranking, convex
from querywright.retrieval.snapshot import Leg, Snapshot
from querywright.service.pipeline import signs_of

Floats = NDArray[np.float64]
FOLDS, REPEATS, DEPTH, CUTOFF, RESAMPLES = 10, 3, 100, 5, 2000


@dataclass
class Rows:
    """One row a query: its conversation, its signs, and what rewriting gains, in its place and beside it."""

    groups: NDArray[np.str_]
    signs: Floats
    gains: dict[str, Floats]


def ndcg(documents: list[str], relevant: dict[str, int]) -> float:
    """Return nDCG@5 of `documents`, best first."""
    found = sum(relevant.get(doc_id, 0) / np.log2(i + 2) for i, doc_id in enumerate(documents[:CUTOFF]))
    best = sorted(relevant.values(), reverse=True)[:CUTOFF]
    return float(found / sum(score / np.log2(i + 2) for i, score in enumerate(best)))


def fused(found: list[tuple[dict[Leg, Ranking], float]], snapshot: Snapshot) -> list[str]:
    """Fuse rankings as the service does and return the documents, best first."""
    parts = [(ranking, weight / len(by_leg)) for by_leg, weight in found for ranking in by_leg.values()]
    if not parts:
        return []
    order = convex([ranking for ranking, _ in parts], [weight for _, weight in parts]).positions
    return list(dict.fromkeys(snapshot.passage(position).doc_id for position in order.tolist()))


def measured(dataset: Dataset, snapshot: Snapshot) -> list[tuple[str, list[float], float, float]]:
    """Return conversation, signs, and the gain of the rewrite in place of the query and beside it."""
    rows = []
    for judged in dataset.queries:
        if not judged.query.history or judged.gold is None:
            continue
        one, other = snapshot.rank([judged.query.query, judged.gold], (Leg.LEXICAL, Leg.DENSE), DEPTH)
        relevant = {doc_id: score for doc_id, score in dataset.qrels[judged.id].items() if score > 0}
        signs = signs_of(snapshot, judged.query.query, one)
        none = ndcg(fused([(one, 1.0)], snapshot), relevant)
        gains = [ndcg(fused(way, snapshot), relevant) - none for way in ([(other, 1.0)], [(one, 0.5), (other, 0.5)])]
        known = [signs.coverage, signs.agreement] if signs else [0.0, 0.0]
        rows.append((f"{dataset.name} {judged.conversation}", known, *gains))
    return rows


def fit(signs: Floats, labels: Floats, ridge: float = 3.0) -> Floats:
    """Fit a logistic regression on standardised features by Newton's method; return it for the plain ones."""
    mean, deviation = signs.mean(0), signs.std(0) + 1e-9
    design = np.c_[np.ones(len(signs)), (signs - mean) / deviation]
    penalty = np.array([1e-6, *[ridge] * signs.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (chance - labels) + penalty * weights
        weights -= np.linalg.solve((design.T * (chance * (1 - chance))) @ design + np.diag(penalty), gradient)
    slopes = weights[1:] / deviation
    return np.r_[weights[0] - slopes @ mean, slopes]


def out_of_fold(rows: Rows, labels: Floats) -> Floats:
    """Return the scores of models that saw none of a query's conversation."""
    names = np.unique(rows.groups)
    total = np.zeros(len(labels))
    for seed in range(REPEATS):
        order = np.random.default_rng(seed).permutation(len(names))
        fold = dict(zip(names[order].tolist(), (np.arange(len(names)) % FOLDS).tolist(), strict=True))
        folds = np.array([fold[name] for name in rows.groups.tolist()])
        for held in range(FOLDS):
            model = fit(rows.signs[folds != held], labels[folds != held])
            total[folds == held] += np.c_[np.ones((folds == held).sum()), rows.signs[folds == held]] @ model
    return total / REPEATS


def auc(labels: NDArray[np.bool_], scores: Floats) -> float:
    """Return the area under the ROC curve."""
    ranks, positive = rankdata(scores), labels.sum()
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def interval(rows: Rows, labels: NDArray[np.bool_], scores: Floats) -> tuple[float, float]:
    """Return the 95 % interval of the AUC, conversations resampled."""
    names = np.unique(rows.groups)
    places = {name: np.flatnonzero(rows.groups == name) for name in names.tolist()}
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        some = np.concatenate([places[name] for name in rng.choice(names, len(names)).tolist()])
        if 0 < labels[some].sum() < len(some):
            found.append(auc(labels[some], scores[some]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Print what can be known, and the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--share", type=float, default=0.5, help="of the queries that an LLM is asked for")
    options = parser.parse_args()
    found = []
    with Querywright(home=options.home) as querywright:
        for name in options.datasets:
            dataset = load_dataset(name)
            bench = Bench(querywright.pipeline, querywright.collection_store)
            found += measured(dataset, index(dataset, bench).snapshot())
    groups, signs, place, beside = zip(*found, strict=True)
    rows = Rows(np.array(groups), np.array(signs), {"in place": np.array(place), "beside": np.array(beside)})
    print(f"{len(found)} queries of {len(set(groups))} conversations")
    for way, gains in rows.gains.items():
        labels = gains > 1e-9
        scores = out_of_fold(rows, labels.astype(float))
        low, high = interval(rows, labels, scores)
        print(f"{way}: AUC {auc(labels, scores):.3f} ({low:.3f} ... {high:.3f})")
        asked = scores >= np.quantile(scores, 1 - options.share)
        for said, chosen in (("always", np.ones(len(gains), dtype=bool)), ("gated", asked)):
            kept, total = gains[chosen].sum(), gains.sum()
            helped, hurt = (gains[chosen] > 1e-9).sum(), (gains[chosen] < -1e-9).sum()
            print(f"  {said}: calls {chosen.mean():.2f}, of the gain {kept / total:.2f}, helped {helped}, hurt {hurt}")
    model = fit(rows.signs, (rows.gains["in place"] > 1e-9).astype(float))
    needs = 1 / (1 + np.exp(-(model[0] + rows.signs @ model[1:])))
    print("intercept, coverage, agreement:", np.round(model, 3).tolist())
    print("need at that share:", round(float(np.quantile(needs, 1 - options.share)), 4))


if __name__ == "__main__":
    main()
