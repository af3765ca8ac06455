"""Hold the rewriters to labelled queries: slots, decisions, self-contained queries left alone. Run by hand.

    python tests/rewrite/label_scores.py data/demo-test --catalog data/demo/catalog.toml [--wrong] [--by kind]

A folder holds `queries.jsonl` with `rewrite`, `edits` ({"slot", "value"}) and perhaps `decision`; without one a query
is to be rewritten where the gold differs from what was typed. With `--corpus NAME` a collection weighs open senses.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from querywright import Querywright
from querywright.eval.rewriting import Counts, slot_counts
from querywright.rewrite.catalog import Catalog
from querywright.rewrite.query import Edit, Rewrite

Row = Mapping[str, Any]


def decision_of(row: Row) -> str:
    """Return the decision that the labels want."""
    return row.get("decision") or ("keep" if row["rewrite"] == row["text"] else "rewrite")


def rewritten(rows: Sequence[Row], catalog: Path, rewriter: str = "auto", home: Path | None = None) -> list[Rewrite]:
    """Rewrite every row as the service does."""
    known = Catalog.load(catalog)
    # Under load a first query may load the editor for longer than a search would wait.
    with Querywright(home=home, encoder="none", budget_ms=60_000) as querywright:
        return [
            querywright.rewrite(
                row["text"],
                history=row.get("history"),
                profile=row.get("profile"),
                now=row.get("now"),
                catalog=known,
                rewriter=rewriter,
            )
            for row in rows
        ]


def slots_agreed(row: Row, made: Rewrite) -> Counts:
    """Count the gold slots that the rewrite fills, and what it fills besides.

    An edit that only deletes fills nothing, nor does one that spells out what is typed (客户画像 as 客户画像功能), unless
    the labels have it.
    """
    wanted = tuple((edit["slot"], edit["value"]) for edit in row["edits"])
    slots = {slot for slot, _ in wanted}
    given = tuple(
        (edit.slot, edit.replacement)
        for edit in made.edits
        if edit.replacement.strip()
        and (edit.slot in slots or not _spells_out(row["text"][edit.start : edit.end], edit))
    )
    return slot_counts(given, wanted)


def _spells_out(said: str, edit: Edit) -> bool:
    """Say whether the edit writes the catalog's name for a name that stands in the query."""
    known = edit.evidence.source == "catalog" and edit.problem != "ambiguity" and edit.slot != "intent"
    return known and bool(said.strip())


def figures(rows: Sequence[Row], made: Sequence[Rewrite]) -> dict[str, float]:
    """Return slot precision, recall and F1, the share of right decisions, and of "keep" rows left as they are."""
    pairs = list(zip(rows, made, strict=True))
    slots = sum((slots_agreed(row, one) for row, one in pairs if decision_of(row) != "clarify"), Counts()).fractions()
    kept = [one.rewrite == row["text"] for row, one in pairs if decision_of(row) == "keep"]
    right = [one.decision == decision_of(row) for row, one in pairs]
    exact = [one.rewrite == row["rewrite"] for row, one in pairs if decision_of(row) == "rewrite"]
    return {
        "queries": len(pairs),
        "slot_precision": slots["precision"],
        "slot_recall": slots["recall"],
        "slot_f1": slots["f1"],
        "decisions": sum(right) / len(right),
        "kept": sum(kept) / len(kept) if kept else float("nan"),
        "exact": sum(exact) / len(exact) if exact else float("nan"),
    }


def main() -> None:
    """Print the figures, all together and by language or another key."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--catalog", type=Path, required=True)
    parser.add_argument("--rewriter", default="auto")
    parser.add_argument("--by", default="lang")
    parser.add_argument("--wrong", action="store_true", help="print every row that is not as labelled")
    options = parser.parse_args()
    rows = [
        json.loads(line) for folder in options.folders for line in (folder / "queries.jsonl").open(encoding="utf-8")
    ]
    made = rewritten(rows, options.catalog, options.rewriter)
    groups: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups["all"].append(i)
        groups[str(row.get(options.by, "-"))].append(i)
    for name, places in groups.items():
        found = figures([rows[i] for i in places], [made[i] for i in places])
        print(f"{name:12}", " ".join(f"{key} {value:.3f}" for key, value in found.items()))
    if options.wrong:
        for row, one in zip(rows, made, strict=True):
            _tell(row, one)


def _tell(row: Row, made: Rewrite) -> None:
    agreed = slots_agreed(row, made).fractions()["f1"]
    if made.decision == decision_of(row) and (agreed == 1 or not row["edits"]):
        return
    print(f"{row['_id']} {row.get('kind', '')}: {row['text']}")
    print(f"   wanted {decision_of(row)}: {row['rewrite']}  {[(e['slot'], e['value']) for e in row['edits']]}")
    print(f"   got {made.decision} ({made.rewriter} {made.confidence:.2f}): {made.rewrite}")
    print(f"   {[(edit.slot, edit.replacement) for edit in made.edits]}")


if __name__ == "__main__":
    main()
