"""Search the weights, the gate, BM25's constants and an LLM's prompt on one data set; report on another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import InputError
from ..retrieval.snapshot import Leg
from ..rewrite.query import Query
from ..service.pipeline import CHEAP, Pipeline
from ..service.settings import Settings
from .arms import Arm, Rewrites
from .bench import Bench, Progress, silent
from .dataset import Dataset
from .measures import MAIN_MEASURE, checked_measure
from .prepared import Corner, Floats, Parameters, Prepared, prompt_name
from .searches import Searches, index
from .significance import TIE, Comparison, compare, seed_for

FOLDS = 5
"""Parts of the training data set, conversations kept whole, that cross-validation holds out in turn."""

Value = float | str | None

Grid = Mapping[tuple[str, ...], Sequence[tuple[Value, ...]]]
"""Names of parameters that are tried together → their values; groups are searched one after the other."""

_GRID: Grid = {
    ("share_base", "share_slope"): [
        (base, slope)
        for base, slope in product((0.0, 0.2, 0.4, 0.6, 0.8), (0.0, 0.2, 0.4, 0.6, 0.8))
        if 0.2 <= base + slope <= 0.95
    ],
    ("lexical_weight",): [(weight,) for weight in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)],
    ("min_confidence",): [(least,) for least in (0.0, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9)],
    ("k1", "b"): list(product((0.9, 1.2, 1.5, 2.0), (0.4, 0.6, 0.75, 0.9))),
}

_ROUNDS = 2
"""How often all groups are gone through."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found on the data set `training`, and what it brings on `test`.

    `before` are the parameters as they are set. `validated` compares the search with them on training queries that
    it had not seen (cross-validation by conversation), `tested` the parameters found with them on the test queries;
    `warnings` say why either may flatter.
    """

    training: str
    test: str
    measure: str
    leg: str
    queries: tuple[int, int]
    before: Parameters
    parameters: Parameters
    default: tuple[float, float]
    tuned: tuple[float, float]
    validated: Comparison
    tested: Comparison
    tried: int
    warnings: tuple[str, ...]

    def changed(self) -> dict[str, Value]:
        """Return the parameters that differ from those that are set."""
        before = asdict(self.before)
        return {name: value for name, value in asdict(self.parameters).items() if value != before[name]}

    def worthwhile(self) -> bool:
        """Say whether the parameters held up where they were not searched.

        They must gain in validation beyond chance, and in a test on other queries.
        """
        elsewhere = self.training != self.test and self.tested.delta > TIE
        return bool(self.changed()) and self.validated.low > 0 and elsewhere

    def to_object(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "format": 1,
            "training": self.training,
            "test": self.test,
            "measure": self.measure,
            "leg": self.leg,
            "tried": self.tried,
            "before": asdict(self.before),
            "parameters": asdict(self.parameters),
            "changed": self.changed(),
            "worthwhile": self.worthwhile(),
            "warnings": list(self.warnings),
            "results": {
                "training": {"queries": self.queries[0], "default": self.default[0], "tuned": self.tuned[0]},
                "validation": _object(self.validated),
                "test": {
                    "queries": self.queries[1],
                    "default": self.default[1],
                    "tuned": self.tuned[1],
                    **_object(self.tested),
                },
            },
        }

    def markdown(self) -> str:
        """Return the parameters, what they bring and what speaks against them."""
        head = ("", "queries", f"{self.measure} as set", "tuned", "delta", "low..high", "p", "helped/hurt/tied")
        lines = [
            head,
            ("---", *(["---:"] * (len(head) - 1))),
            (f"{self.training}, training", str(self.queries[0]), *_means(self.default[0], self.tuned[0]), "", "", ""),
            (f"{self.training}, cross-validated", str(self.queries[0]), "", "", *_figures(self.validated)),
            (
                f"{self.test}, test",
                str(self.queries[1]),
                *_means(self.default[1], self.tuned[1])[:2],
                *_figures(self.tested),
            ),
        ]
        rows = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        found = ", ".join(f"{name} = {_told(value)}" for name, value in self.changed().items()) or "those that are set"
        verdict = (
            ""
            if self.worthwhile()
            else " It is not shown to hold on queries that it was not searched on: keep the settings."
        )
        notes = "".join(f"\nWarning: {warning}\n" for warning in self.warnings)
        return f"{rows}\nBest of {self.tried} combinations on {self.training}, {self.leg}: {found}.{verdict}\n{notes}"


@contextmanager
def corners(
    training: Dataset, test: Dataset, bench: Bench, settings: Settings, prompts: Sequence[Path] = ()
) -> Iterator[tuple[Corner, Corner]]:
    """Give both data sets with what the service's rewriters make of them: its default chain under `settings`.

    The LLM is told the prompt that is set and each of `prompts`. What rewriters make is kept in the cache of `bench`,
    so that a search that was interrupted goes on. Raises InputError for a prompt that cannot be read, or for
    `prompts` without an LLM.
    """
    if prompts and not settings.llm:
        raise InputError("--prompt: no LLM is configured; set QUERYWRIGHT_LLM, e.g. openai:gpt-5-mini")
    with ExitStack() as stack:
        # No budget for what needs no model far away: a slow machine must not change what is found.
        alone = settings.model_copy(update={"llm": None, "llm_prompt": None, "budget_ms": 60_000})
        plain = _opened(bench, alone, stack)
        rewriters = [partial(_made, name, plain) for name in CHEAP]
        told = [settings.model_copy(update={"llm_prompt": path}) for path in (settings.llm_prompt, *prompts)]
        prompted = {prompt_name(one): partial(_made, "llm", _opened(bench, one, stack)) for one in told if one.llm}
        ours, theirs = (Corner(one, index(one, bench), rewriters, prompted) for one in (training, test))
        yield ours, theirs


def _opened(bench: Bench, settings: Settings, stack: ExitStack) -> Bench:
    """Return a bench whose service holds no rewrite back, so that every threshold can be tried."""
    settings = settings.model_copy(update={"min_confidence": 0.0})
    return replace(bench, service=stack.enter_context(Pipeline(settings)), settings=settings)


def _made(rewriter: str, bench: Bench, dataset: Dataset) -> Rewrites:
    return Searches(dataset, bench).rewrites(Arm(rewriter))


def tune(
    training: Corner,
    test: Corner,
    before: Parameters | None = None,
    *,
    legs: Sequence[Leg] = (Leg.LEXICAL, Leg.DENSE),
    measure: str = MAIN_MEASURE,
    folds: int = FOLDS,
    seed: int = 0,
    grid: Grid | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Search the parameters that rank `training` best; report them on `test`, beside those set `before`.

    Groups of parameters are searched one after the other, each over its whole grid, twice; ties go to what stood
    before, so that what is set stays where nothing is better. The same search on all but one part of the
    conversations, for each part in turn, says what it is worth. Raises InputError for a measure that ir_measures
    does not know or that leaves 0..1, or for fewer than two conversations.
    """
    before, measure = before or Parameters(), checked_measure(measure)
    usable = _usable({**_prompts(training), **(_GRID if grid is None else grid)}, legs)
    strictest = _strictest(usable, before)
    ours, theirs = (Prepared(corner, legs, measure, strictest, progress) for corner in (training, test))
    if len(set(ours.conversations)) < 2:
        raise InputError(f"{training.dataset.name}: expected at least two conversations to tune on")
    found = _best(ours, usable, before, np.ones(len(ours.conversations), dtype=np.bool_))
    unseen = _validated(ours, usable, before, folds, seed, progress)
    default, tuned = ([prepared.values(one) for prepared in (ours, theirs)] for one in (before, found))
    seeds = [seed_for(seed, "tune", part, training.dataset.name, test.dataset.name) for part in ("folds", "test")]
    return Tuned(
        training=training.dataset.name,
        test=test.dataset.name,
        measure=measure,
        leg="+".join(legs),
        queries=(len(default[0]), len(default[1])),
        before=before,
        parameters=found,
        default=(float(default[0].mean()), float(default[1].mean())),
        tuned=(float(tuned[0].mean()), float(tuned[1].mean())),
        validated=compare((unseen - default[0]).tolist(), ours.conversations, seeds[0]),
        tested=compare((tuned[1] - default[1]).tolist(), theirs.conversations, seeds[1]),
        tried=len(ours.tried),
        warnings=tuple(_warnings(training, test, tuned[1] - default[1])),
    )


# ------------------------------------------------------------------------------------ searching


def _usable(grid: Grid, legs: Sequence[Leg]) -> Grid:
    """Leave out what makes no difference with `legs`."""
    idle = set[str]()
    if len(set(legs)) < 2:
        idle.add("lexical_weight")
    if Leg.LEXICAL not in legs:
        idle |= {"k1", "b"}
    return {names: values for names, values in grid.items() if not idle.intersection(names)}


def _prompts(training: Corner) -> Grid:
    """Return the prompts to try, if there are several."""
    return {("prompt",): [(prompt,) for prompt in training.prompted]} if len(training.prompted) > 1 else {}


def _strictest(grid: Grid, before: Parameters) -> float:
    """Return the highest threshold that is tried."""
    tried = (pair for names, values in grid.items() for row in values for pair in zip(names, row, strict=True))
    thresholds = (value for name, value in tried if name == "min_confidence" and isinstance(value, float))
    return max([before.min_confidence, *thresholds])


def _best(prepared: Prepared, grid: Grid, start: Parameters, chosen: NDArray[np.bool_]) -> Parameters:
    """Return the parameters that do best on the `chosen` queries."""
    best, bar = start, float(prepared.values(start)[chosen].mean())
    for _ in range(_ROUNDS):
        before = best
        for names, values in grid.items():
            for value in values:
                changes: dict[str, Any] = dict(zip(names, value, strict=True))
                tried = replace(best, **changes)
                reached = float(prepared.values(tried)[chosen].mean())
                if reached > bar + TIE:
                    best, bar = tried, reached
        if best == before:
            break
    return best


def _validated(prepared: Prepared, grid: Grid, start: Parameters, folds: int, seed: int, progress: Progress) -> Floats:
    """Return each query's value under the parameters that were found without its part of the conversations."""
    names = sorted(set(prepared.conversations))
    order = np.random.default_rng([seed, 4]).permutation(len(names))
    folds = min(max(2, folds), len(names))
    part = {names[place]: rank % folds for rank, place in enumerate(order)}
    parts = np.array([part[name] for name in prepared.conversations])
    unseen = np.zeros(len(parts))
    for fold in range(folds):
        held_out = parts == fold
        unseen[held_out] = prepared.values(_best(prepared, grid, start, ~held_out))[held_out]
        progress(f"{prepared.name}: cross-validating", fold + 1, folds)
    return unseen


def _warnings(training: Corner, test: Corner, differences: Floats) -> Iterable[str]:
    seen = {_asked(judged.query) for judged in training.dataset.queries}
    shared = sum(_asked(judged.query) in seen for judged in test.dataset.queries)
    if shared:
        yield (
            f"{shared} of the {len(test.dataset.queries)} test queries are training queries too, so the figures on "
            f"{test.dataset.name} flatter; test on an untouched data set"
        )
    if not np.any(np.abs(differences) >= TIE):
        yield f"the parameters found change nothing on {test.dataset.name}"


def _asked(query: Query) -> tuple[str, ...]:
    return (query.query.strip(), *(turn.text.strip() for turn in query.history))


# ------------------------------------------------------------------------------------- writing


def _told(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else value or "the built-in one"


def _object(found: Comparison) -> dict[str, object]:
    return {
        "delta": found.delta,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "detectable": found.detectable,
        "helped": found.helped,
        "hurt": found.hurt,
        "tied": found.tied,
    }


def _means(default: float, tuned: float) -> tuple[str, str, str]:
    return f"{default:.3f}", f"{tuned:.3f}", f"{tuned - default:+.3f}"


def _figures(found: Comparison) -> tuple[str, str, str, str]:
    return (
        f"{found.delta:+.3f}",
        f"{found.low:+.3f}..{found.high:+.3f}",
        "<.001" if found.p < 0.001 else f"{found.p:.3f}",
        f"{found.helped}/{found.hurt}/{found.tied}",
    )
