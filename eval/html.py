"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from .arms import BASELINE
from .breakdown import Group, Key, QueryRow, by_cell, change
from .cost import HEAD as COST_HEAD
from .cost import table as cost_table
from .cost import unreported
from .examples import both_ends
from .extremes import Extremes, extremes
from .headline import Headline, Verdict, headline, p_value, signed
from .markup import Markup, join, tag
from .measures import MAIN_MEASURE, MEASURES, mean
from .plots import Point, Scale, interval_bar, legend, reliability, risk_curve, scatter, shape, shares
from .report import DatasetResult, LegResult, Report, closeness, llm_costs
from .runs import write_whole
from .tables import counted, figures_of, figures_row, grid, scroll, unfold

FILE = "report.html"

_SPLITS = {
    "problem": "Kind of problem",
    "language": "Language",
    "turn": "User turns before",
    "decision": "Decision",
    "rewriter": "Rewriter",
    "confidence": "Confidence",
}
_KIND_NAMES = {
    "missing_entity": "missing entity",
    "vague_dimension": "vague dimension",
    "zh": "Chinese",
    "en": "English",
}
_CLASSES = {Verdict.YES: "yes", Verdict.NO: "no", Verdict.OPEN: "open"}
_FEW = 10


def write_html(report: Report, rows: Iterable[QueryRow], out: Path, folders: Mapping[str, Path]) -> None:
    """Write OUT/report.html: `report` with plots, and the queries that gained and lost most.

    `rows` are those of queries.jsonl; `folders` are the data sets' folders by name, where the titles of documents
    are read from. Rankings come from the runs under `out`. Raises InputError when `out` cannot be written to.
    """
    write_whole(out / FILE, page(report, list(rows), out, folders).encode())


def page(report: Report, rows: Sequence[QueryRow], out: Path, folders: Mapping[str, Path]) -> str:
    """Return the text of report.html."""
    report = _ordered(report, by_cell(rows))
    style, script = Markup(_resource("report.css")), Markup(_resource("report.js"))
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # The one script is named by its digest: whatever a query may hold, no other runs, and nothing is loaded.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"Did rewriting help? {', '.join(report['datasets'])}"),
        tag("style", style),
    )
    body = tag("body", *_body(report, rows, extremes(rows, out, folders)), tag("script", script))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _ordered(report: Report, keys: Iterable[Key]) -> Report:
    """Return `report` in the order of `keys`: in results.json names are sorted, in queries.jsonl they are as given."""
    wanted = [tuple(dict.fromkeys(names)) for names in zip(*keys, strict=True)] or [(), (), ()]
    datasets: dict[str, DatasetResult] = {}
    for name in _first(wanted[0], report["datasets"]):
        found = report["datasets"][name]
        arms = {
            arm: {leg: found["arms"][arm][leg] for leg in _first(wanted[2], found["arms"][arm])}
            for arm in _first(wanted[1], found["arms"])
        }
        datasets[name] = {"queries": found["queries"], "skipped": found["skipped"], "arms": arms}
    return {"format": report["format"], "seed": report["seed"], "datasets": datasets}


def _first(wanted: Iterable[str], names: Collection[str]) -> list[str]:
    """Return `names`, first those that are `wanted`, in that order."""
    return list(dict.fromkeys([*(name for name in wanted if name in names), *names]))


def _resource(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")


def _body(report: Report, rows: Sequence[QueryRow], ends: Mapping[Key, Extremes]) -> Iterator[Markup]:
    cells = by_cell(rows)
    sections = [
        _Section(place, name, dataset, cells, ends) for place, (name, dataset) in enumerate(report["datasets"].items())
    ]
    yield tag("a", "Skip to the answer", class_="skip", href="#answer")
    queries = sum(dataset["queries"] for dataset in report["datasets"].values())
    yield tag(
        "header",
        tag("p", "Querywright evaluation", class_="brand"),
        tag("h1", "Did rewriting help?"),
        tag(
            "p",
            f"{counted(len(sections), 'data set')}, {counted(queries, 'query', 'queries')}. Every arm is compared with "
            f"the query as typed (the arm “none”) on the same queries, by {MAIN_MEASURE}.",
            class_="lead",
        ),
    )
    yield tag(
        "main",
        tag("div", *(section.answer() for section in sections), id="answer", class_="answers", tabindex="-1"),
        *(section.whole() for section in sections),
        _reading(report["seed"]),
    )


def _reading(seed: int) -> Markup:
    """Return what a reader must know to judge the figures."""
    terms = {
        "Arms": "none: the query as typed. auto: what the service does. gold: the data set’s own rewrite in place of "
        "the query; gold+orig: both searched and fused. concat: everything the user said, joined.",
        "Interval and p": "Both come from flipping the signs of whole conversations, since the turns of one are not "
        f"independent (seed {seed}). p is adjusted after Holm over all comparisons of this report; the intervals are "
        "not. Those of kinds of queries are approximate besides: read them as hints.",
        "Size and risk": "Effect size: the mean change in standard deviations. Detectable: the true difference that so "
        "many queries, as noisy as these, show four times in five. URisk: the mean change with losses counted twice.",
        "Helped, hurt, tied": f"Queries whose {MAIN_MEASURE} rose, fell, or changed by less than 10⁻⁹.",
        "Milliseconds": "Measured one query after the other on the machine that ran the evaluation. Rewrites that "
        "existed before, such as gold, take no time to make here.",
    }
    entries = (tag("div", tag("dt", term), tag("dd", text)) for term, text in terms.items())
    return tag(
        "section", tag("h2", "How to read this", id="reading"), tag("dl", *entries, class_="terms"), class_="reading"
    )


class _Section:
    """Everything about one data set; `place` tells its ids from the others'."""

    def __init__(
        self,
        place: int,
        name: str,
        dataset: DatasetResult,
        cells: Mapping[Key, Sequence[QueryRow]],
        ends: Mapping[Key, Extremes],
    ) -> None:
        self._id = f"set-{place + 1}"
        self._name = name
        self._dataset = dataset
        self._top = headline(dataset)
        self._cells = {key[1:]: rows for key, rows in cells.items() if key[0] == name}
        self._ends = {key[1:]: both for key, both in ends.items() if key[0] == name}
        self._arms = [arm for arm in dataset["arms"] if arm != BASELINE]
        self._legs = list(dict.fromkeys(leg for legs in dataset["arms"].values() for leg in legs))

    def answer(self) -> Markup:
        """Return whether rewriting helped on this data set, in one sentence and four figures."""
        link = tag("a", self._name, href=f"#{self._id}")
        if self._top is None:
            told = "Only the query as typed was evaluated: there is nothing to compare it with."
            return tag("section", tag("h2", link), tag("p", told), class_="answer open")
        top = self._top
        return tag(
            "section",
            tag("h2", link, tag("span", str(top.verdict), class_="verdict")),
            tag("p", top.sentence, class_="sentence"),
            _facts(top, self._dataset),
            class_=f"answer {_CLASSES[top.verdict]}",
        )

    def whole(self) -> Markup:
        """Return the plots, the table and the queries of this data set."""
        skipped = self._dataset["skipped"]
        left_out = f"; {counted(skipped, 'query', 'queries')} without a relevant document left out" if skipped else ""
        told = f"{counted(self._dataset['queries'], 'query', 'queries')} judged{left_out}."
        return tag(
            "section",
            tag("h2", self._name, id=self._id),
            tag("p", told, class_="lead"),
            self._table(),
            *(self._compared() if self._top is not None else ()),
            class_="set",
        )

    def _compared(self) -> Iterator[Markup | None]:
        top = self._top
        if top is None:
            return
        if (top.arm, top.leg) in self._cells:
            yield self._risk(top)
            yield self._kinds(top)
        yield tag("div", self._cost(), self._calibrated(top), class_="pair")
        if self._ends:
            yield self._examples(top)

    def _results(self) -> Iterator[tuple[str, str, LegResult]]:
        for arm, legs in self._dataset["arms"].items():
            for leg, result in legs.items():
                yield arm, leg, result

    def _colour(self, arm: str) -> str:
        return f"arm-{self._series(arm)}"

    def _series(self, arm: str) -> int:
        """Return the number of an arm's colour; 0 is that of `none`."""
        return 0 if arm == BASELINE else 1 + self._arms.index(arm) % 7

    # ------------------------------------------------------------------------------------ the table

    def _table(self) -> Markup:
        results = [result for arm, _, result in self._results() if arm != BASELINE]
        scale = Scale.of(end for result in results for end in (result["vs_none"]["low"], result["vs_none"]["high"]))
        head = ("arm", "leg", "gain", "", "95 % interval", "p (Holm)", "helped / hurt / tied", BASELINE, MAIN_MEASURE,
                "queries", "changed", "ms")  # fmt: skip
        rows = [self._row(arm, leg, result, scale) for arm, leg, result in self._results()]
        scores = self._closeness()
        return self._figure(
            "Arms and legs",
            f"Gain over the query as typed, with its interval, drawn on a scale from {scale}.",
            scroll("Arms and legs", grid(head, rows, words=2)),
            unfold("All measures", self._measures()),
            unfold("Size of the effect and risk", self._risks()),
            unfold("How close the rewrites are to the gold ones", scores) if scores is not None else None,
        )

    def _row(self, arm: str, leg: str, result: LegResult, scale: Scale) -> Markup:
        versus = result["vs_none"]
        figures: list[object] = [None] * 5
        if arm != BASELINE:
            figures = [
                tag("strong", signed(versus["delta"])),
                interval_bar(versus["delta"], versus["low"], versus["high"], scale),
                f"{signed(versus['low'])} to {signed(versus['high'])}",
                p_value(versus["p_holm"]).removeprefix("p ").removeprefix("= "),
                f"{versus['helped']} / {versus['hurt']} / {versus['tied']}",
            ]
        figures += [f"{values[MAIN_MEASURE]:.3f}" for values in (result["none"], result["measures"])]
        figures += [result["queries"], result["changed"], f"{_milliseconds(result):.1f}"]
        name = tag("th", tag("i", class_=f"swatch {self._colour(arm)}"), arm, scope="row")
        first = self._top is not None and (arm, leg) == (self._top.arm, self._top.leg)
        return tag(
            "tr",
            name,
            tag("td", leg),
            *(tag("td", one, class_="n") for one in figures),
            class_="top" if first else None,
        )

    def _measures(self) -> Markup:
        names = _first(MEASURES, [name for *_, result in self._results() for name in result["measures"]])
        rows = [
            tag(
                "tr",
                tag("th", arm, scope="row"),
                tag("td", leg),
                *(_measure(result, name, compared=arm != BASELINE) for name in names),
            )
            for arm, leg, result in self._results()
        ]
        return grid(("arm", "leg", *names), rows, words=2)

    def _risks(self) -> Markup:
        head = ("arm", "leg", "effect size", "p (t-test)", "detectable", "URisk", "TRisk")
        rows = []
        for arm, leg, result in self._results():
            versus = result["vs_none"]
            figures = (
                signed(versus["effect"], 2),
                p_value(versus["p_t"]).removeprefix("p ").removeprefix("= "),
                f"{versus['detectable']:.3f}",
                signed(versus["urisk"]),
                signed(versus["trisk"], 2),
            )
            if arm != BASELINE:
                rows.append(figures_row((arm, leg), figures))
        return grid(head, rows, words=2)

    def _closeness(self) -> Markup | None:
        """Return how close each arm's rewrites are to the gold ones; None where there are none of these."""
        rows = []
        for arm, legs in self._dataset["arms"].items():
            found = next(iter(legs.values())).get("rewriting")
            if found is not None:
                rows.append(figures_row((arm,), closeness(found)))
        head = ("arm", "queries", "exact match", "BLEU", "ROUGE-L", "restored terms F1", "slots F1")
        return grid(head, rows, words=1) if rows else None

    # ------------------------------------------------------------------------------------ the plots

    def _risk(self, top: Headline) -> Markup:
        changes = {key: [change(row) for row in rows] for key, rows in self._cells.items() if key[0] != BASELINE}
        scale = Scale.of((one for of in changes.values() for one in of), share=0.25)
        many = [
            tag("div", *self._small(arm, changes, scale), class_="risks", style=f"--legs:{len(self._legs)}")
            for arm in self._arms
        ]
        label = f"Change of every query under {top.arm} on {top.leg}, sorted: {_told(changes[top.arm, top.leg])}"
        rows = [figures_row((arm, leg), _spread(of)) for (arm, leg), of in changes.items()]
        head = ("arm", "leg", "helped", "mean gain", "hurt", "mean loss", "largest gain", "largest loss")
        return self._figure(
            "Gain of each query, sorted",
            f"{top.arm} on {top.leg}. Above the line are queries that found better documents, below it the price.",
            risk_curve(label, changes[top.arm, top.leg], scale),
            tag("h4", "Every arm and leg, on the same scale (helped / hurt)") if len(changes) > 1 else None,
            tag("div", *many, class_="all-risks") if len(changes) > 1 else None,
            figures_of("Gain of each query, sorted", grid(head, rows, words=2)),
        )

    def _small(self, arm: str, changes: Mapping[tuple[str, str], Sequence[float]], scale: Scale) -> Iterator[Markup]:
        yield tag("p", tag("i", class_=f"swatch {self._colour(arm)}"), arm, class_="arm-name")
        for leg in self._legs:
            of = changes.get((arm, leg))
            if of is None:
                yield tag("p", leg, class_="leg-name")
                continue
            helped, hurt = (sum(one * sign > 0 for one in of) for sign in (1, -1))
            counts = tag("span", tag("b", helped, class_="gain"), " / ", tag("b", hurt, class_="loss"))
            drawn = risk_curve(f"{arm} on {leg}, sorted: {_told(of)}", of, scale, small=True)
            yield tag("div", tag("p", tag("span", leg), counts, class_="leg-name"), drawn)

    def _kinds(self, top: Headline) -> Markup | None:
        splits = top.result.get("breakdown")
        if not splits:
            return None
        groups = [group for of in splits.values() for group in of.values()]
        solid = [end for group in groups if group["queries"] >= _FEW for end in (group["low"], group["high"])]
        scale = Scale.of([*solid, *(group["delta"] for group in groups)])
        parts = [_split(name, splits[name], scale) for name in _first(_SPLITS, splits)]
        others = [
            join(
                tag("h4", f"{arm} on {leg}"),
                scroll(f"Gain by kind, {arm} on {leg}", _split_table(result["breakdown"])),
            )
            for arm, leg, result in self._results()
            if arm != BASELINE and "breakdown" in result
        ]
        return self._figure(
            "Gain by kind of query",
            f"{top.arm} on {top.leg}, drawn on a scale from {scale}. "
            f"The thin line is the 95 % interval; groups of under {_FEW} queries are pale.",
            tag("div", *parts, class_="splits"),
            tag("details", tag("summary", "The figures, of every arm and leg"), *others),
        )

    def _cost(self) -> Markup:
        results = list(self._results())
        points = [
            Point(
                f"{arm} on {leg}",
                _milliseconds(result),
                result["vs_none"]["delta"],
                result["vs_none"]["low"],
                result["vs_none"]["high"],
                self._series(arm),
                self._legs.index(leg),
            )
            for arm, leg, result in results
        ]
        told = "; ".join(f"{point.name} {signed(point.y)} at {point.x:.1f} ms" for point in points)
        arms = legend({arm: self._colour(arm) for arm in self._dataset["arms"]})
        forms = (
            tag("li", tag("svg", shape(form, "50%", "50%", "mark"), class_="form", aria_hidden="true"), leg)
            for form, leg in enumerate(self._legs)
        )
        head = ("arm", "leg", "stage", "p50", "p95", "p99")
        return self._figure(
            "Gain against time",
            "Rewriting and searching one query; further up is better, further left is faster.",
            scatter(f"Gain against time: {told}", points),
            tag("div", arms, tag("ul", *forms, class_="legend"), class_="legends"),
            figures_of("Milliseconds of each stage", grid(head, list(self._stages()), words=3)),
            *self._llm(),
        )

    def _llm(self) -> Iterator[Markup]:
        """Yield what LLMs cost each arm, where any was asked."""
        costs = llm_costs(self._dataset)
        queries = {arm: next(iter(legs.values()))["queries"] for arm, legs in self._dataset["arms"].items()}
        rows = [figures_row((arm,), figures) for arm, *figures in cost_table(costs, queries)]
        if rows:
            yield tag("h4", "Calls of LLMs and their tokens")
            yield scroll("Calls of LLMs and their tokens", grid(COST_HEAD, rows, words=1))
        if note := unreported(costs.values()):
            yield tag("p", note, class_="lead")

    def _stages(self) -> Iterator[Markup]:
        for arm, leg, result in self._results():
            costs = result.get("stages") or result["ms"]
            passed = (stage for row in self._cells.get((arm, leg), ()) for stage in row["stages"])
            for stage in _first(passed, costs):
                figures = (costs[stage]["p50"], costs[stage]["p95"], costs[stage]["p99"])
                yield figures_row((arm, leg, stage), (f"{value:.2f}" for value in figures))

    def _calibrated(self, top: Headline) -> Markup | None:
        held = top.result.get("calibration")
        if held is None or not held["queries"]:
            return None
        told = "; ".join(
            f"confidence {bucket['confidence']:.2f}: {bucket['not_hurt']:.0%} of {bucket['queries']} not hurt, "
            f"{bucket['helped']:.0%} helped"
            for bucket in held["buckets"]
        )
        rows = [
            figures_row(
                (f"{bucket['low']:.1f} to {bucket['high']:.1f}",),
                (
                    bucket["queries"],
                    f"{bucket['confidence']:.3f}",
                    f"{bucket['not_hurt']:.1%}",
                    f"{bucket['helped']:.1%}",
                ),
            )
            for bucket in held["buckets"]
        ]
        unhurt, helped = held["ece"]["not_hurt"] or 0.0, held["ece"]["helped"] or 0.0
        head = ("confidence", "queries", "mean", "not hurt", "helped")
        return self._figure(
            "Does the confidence hold?",
            f"The {counted(held['queries'], 'query', 'queries')} that {top.arm} changed, on {top.leg}. On the dashed "
            f"line, confidence is what comes true; larger dots are more queries. Calibration error {unhurt:.3f} for "
            f"not hurt, {helped:.3f} for helped.",
            reliability(f"Confidence against outcome: {told}", held),
            legend({"not hurt": "not_hurt", "helped": "helped"}),
            figures_of("Does the confidence hold?", grid(head, rows, words=1)),
        )

    # ---------------------------------------------------------------------------------- the queries

    def _examples(self, top: Headline) -> Markup:
        first = self._ends.get((top.arm, top.leg))
        others = [
            tag(
                "details",
                tag("summary", f"{arm} on {leg}"),
                *both_ends(ends, "h4"),
                class_="cell",
            )
            for (arm, leg), ends in self._ends.items()
            if arm != BASELINE and (arm, leg) != (top.arm, top.leg) and (ends.worst or ends.best)
        ]
        return tag(
            "section",
            tag("h3", "The queries that lost and gained most"),
            tag("p", f"{top.arm} on {top.leg}, with the first documents of both rankings.", class_="lead"),
            *(both_ends(first, "h4") if first is not None else ()),
            tag("h4", "Other arms and legs") if others else None,
            *others,
            class_="examples",
        )

    def _figure(self, title: str, lead: str, *content: Markup | None) -> Markup:
        return tag("section", tag("h3", title), tag("p", lead, class_="lead"), *content, class_="figure")


def _facts(top: Headline, dataset: DatasetResult) -> Markup:
    versus, result = top.result["vs_none"], top.result
    none = dataset["arms"].get(BASELINE, {}).get(top.leg)
    before = "" if none is None else f"{_milliseconds(none):.1f} ms as typed"
    spread = f"{versus['helped']} / {versus['hurt']} / {versus['tied']}"
    facts = (
        ("Gain", signed(versus["delta"]), f"{signed(versus['low'])} to {signed(versus['high'])}"),
        ("Significance", p_value(versus["p_holm"]), "adjusted after Holm"),
        ("Helped / hurt / tied", spread, shares(versus["helped"], versus["tied"], versus["hurt"])),
        ("Time of a query", f"{_milliseconds(result):.1f} ms", before),
    )
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", tag("b", value), tag("span", more))) for name, value, more in facts),
        class_="facts",
    )


def _milliseconds(result: LegResult) -> float:
    return result["ms"]["rewrite"]["p50"] + result["ms"]["search"]["p50"]


def _told(changes: Sequence[float]) -> str:
    helped, hurt = sum(one > 0 for one in changes), sum(one < 0 for one in changes)
    return f"{helped} helped, {hurt} hurt, {len(changes) - helped - hurt} tied, mean {signed(mean(changes))}"


def _spread(changes: Sequence[float]) -> Iterator[str]:
    gains, losses = [one for one in changes if one > 0], [one for one in changes if one < 0]
    for part in (gains, losses):
        yield str(len(part))
        yield signed(mean(part))
    yield signed(max(changes, default=0.0))
    yield signed(min(changes, default=0.0))


def _measure(result: LegResult, name: str, *, compared: bool) -> Markup:
    ours, none = result["measures"][name], result["none"][name]
    gained = tag("small", signed(ours - none)) if compared else None
    return tag("td", f"{ours:.3f} ", gained, class_="n")


def _split(name: str, groups: Mapping[str, Group], scale: Scale) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", _kind(kind), tag("small", counted(group["queries"], "query", "queries")), scope="row"),
            tag("td", interval_bar(group["delta"], group["low"], group["high"], scale, bar=True), class_="drawn"),
            tag("td", signed(group["delta"]), class_="n"),
            tag("td", f"{group['helped']} / {group['hurt']}", class_="n"),
            class_="few" if group["queries"] < _FEW else None,
        )
        for kind, group in groups.items()
    ]
    head = tag(
        "tr",
        tag("th", _SPLITS.get(name, name), scope="col"),
        tag("th", tag("span", "interval", class_="unseen"), scope="col"),
        tag("th", "gain", scope="col", class_="n"),
        tag("th", "helped / hurt", scope="col", class_="n"),
    )
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="split")


def _split_table(splits: Mapping[str, Mapping[str, Group]]) -> Markup:
    rows = []
    for name in _first(_SPLITS, splits):
        for kind, group in splits[name].items():
            figures = (
                group["queries"],
                f"{group['none']:.3f}",
                f"{group['mean']:.3f}",
                signed(group["delta"]),
                f"{signed(group['low'])} to {signed(group['high'])}",
                *(group["helped"], group["hurt"], group["tied"]),
            )
            rows.append(figures_row((_SPLITS.get(name, name), _kind(kind)), figures))
    head = ("by", "kind", "queries", BASELINE, MAIN_MEASURE, "gain", "95 % interval", "helped", "hurt", "tied")
    return grid(head, rows, words=2)


def _kind(name: str) -> str:
    return _KIND_NAMES.get(name, name)
