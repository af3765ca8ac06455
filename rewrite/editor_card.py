"""The model card that is written beside a trained editor."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .editor_data import TrainingData, text_origins
from .editor_input import BUDGET
from .editor_measuring import Figures
from .editor_training import Plan, Stage
from .language import Language

_NAMES = {Language.ZH: "Chinese", Language.EN: "English"}
_COLUMNS = {
    "rows": "rows",
    "exact match": "exact_match",
    "in reach of copying": "reached",
    "exact match of these": "exact_match_reached",
    "restored words: precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "changed": "changed",
    "calibration error": "error",
}


@dataclass(frozen=True, slots=True)
class Made:
    """All that the card says of a model: how it was made, from what, and how well it does.

    `calibrated` says that held-out rows calibrated it, `error` how well, None where they do not tell; `start` is the
    card of the editor that it went on from, None where there was none, empty where that has no card.
    """

    language: Language
    command: str
    seconds: float
    data: TrainingData
    plan: Plan
    calibrated: bool
    error: float | None
    figures: Mapping[str, Figures]
    start: str | None


def model_card(made: Made) -> str:
    """Return the card, Markdown."""
    return "\n\n".join([_what(made), _how(made), _data(made), _figures(made), _limits(made), _retrain(made)]) + "\n"


def card_of(folder: Path) -> str:
    """Return the card in a model's folder, nothing where it has none."""
    try:
        return (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _what(made: Made) -> str:
    return (
        f"# Querywright's editor, {_NAMES[made.language]}\n\n"
        "Fills a query in from its conversation by copying: every word that it writes stands in the query, the "
        "history, the facts of the profile or its closed list of connecting words (`connectors` in model.json).\n\n"
        "MiniLM (all-MiniLM-L6-v2, Apache-2.0, installed as a package of its own) under heads that tag what is deleted "
        "and point to the spans to copy. This folder holds what training changed, rounded to small numbers; the base "
        "encoder's vocabulary is as it was."
    )


def _how(made: Made) -> str:
    stages = [("pairs", made.plan.pairs)]
    if made.plan.silver and made.data.texts:
        stages.insert(0, (f"{made.plan.silver_pairs} silver pairs an epoch from plain text", made.plan.silver))
    lines = [f"- {name}: {_stage(stage)}" for name, stage in stages]
    if made.plan.mixture.silver and made.data.texts:
        lines.append(f"- in each epoch of the pairs, {made.plan.mixture.silver} silver ones too")
    started = "" if made.start is None else " It went on from an editor that was trained before."
    told = "\n".join(lines)
    return f"## How it was made\n\n    {_public(made.command)}\n\n{made.seconds:.0f} s in all.{started}\n\n{told}"


def _public(command: str) -> str:
    """Return a command with the last part of each path in it: where files lay is nobody's business."""
    words = [re.match(r"(--[\w-]+=)?(.*)", word, re.DOTALL) for word in shlex.split(command)]
    return shlex.join(f"{word[1] or ''}{Path(word[2]).name or word[2]}" for word in words if word)


def _stage(stage: Stage) -> str:
    rates = f"{stage.layers:g} layers, {stage.embeddings:g} embeddings, {stage.heads:g} heads"
    return f"{stage.epochs} epochs, learning rates {rates}, about {stage.tokens} pieces a batch"


def _data(made: Made) -> str:
    rows = [f"| {origin.name} | {origin.rows} | {origin.licence} |" for origin in made.data.origins]
    if made.plan.uses_texts:
        rows += [f"| {origin.name} | text | {origin.licence} |" for origin in text_origins(made.data)]
    table = "\n".join(["| set | rows that trained | licence |", "| --- | ---: | --- |", *rows])
    notes = ["The code is Apache-2.0; the data is not part of it, and the weights carry these notes."]
    unstated = ", ".join(origin.name for origin in made.data.origins if origin.licence == "none stated")
    if unstated:
        notes.append(f"No licence is stated for {unstated}: look at that before using the weights elsewhere.")
    notes.append("Rows of self-contained questions, made from the same sets, teach it to leave good queries alone.")
    return f"## Data\n\n{table}\n\n{' '.join(notes)}{_data_before(made.start)}"


def _data_before(card: str | None) -> str:
    """Return what the card of the editor that a model went on from says of its data, which is in the model too."""
    if card is None:
        return ""
    found = re.search(r"^## Data\n+(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    told = found[1].strip() if found else "It has no card that says what it was trained on."
    return f"\n\n### Data of the editor that it went on from\n\n{told}"


def _figures(made: Made) -> str:
    if not made.figures:
        return f"## Figures\n\nNot measured: nothing was held out. {_calibration(made)}"
    head = f"| held out | {' | '.join(_COLUMNS)} |\n| --- |{' ---: |' * len(_COLUMNS)}"
    rows = [f"| {name} | {_cells(figures)} |" for name, figures in made.figures.items()]
    return (
        "## Figures\n\nOf the weights as they are stored, by the command above; rewrites with a confidence under "
        f"{made.plan.threshold:g} are not used. {_calibration(made)}\n\n{head}\n" + "\n".join(rows)
    )


def _calibration(made: Made) -> str:
    if not made.calibrated:
        return "The confidence was calibrated on rows that trained, so that it says too much; its error: not measured."
    error = "not measured, too few of their rows tell" if made.error is None else f"{made.error:.3f}"
    return f"Expected calibration error over all sets that tuned it, five folds: {error}."


def _cells(figures: Figures) -> str:
    values = [getattr(figures, name) for name in _COLUMNS.values()]
    return " | ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values)


def _limits(made: Made) -> str:
    chat = "The Chinese pairs are everyday chat, not search. " if made.language is Language.ZH else ""
    return (
        f"## Limits\n\n{chat}It reads about {BUDGET} word pieces of a conversation, the newest turns first, and can "
        "say nothing that does not stand there: no dates worked out, no names that nobody mentioned. It may copy the "
        "wrong phrase; the confidence says how likely every word that it added belongs there. Two spans at most go "
        "into one gap."
    )


def _retrain(made: Made) -> str:
    return (
        "## Retrain on your own conversations\n\n"
        f"    querywright train editor --data PAIRS.jsonl --from THIS_FOLDER --out MODELS/{made.language}\n\n"
        'One object a line: `{"history": [{"role", "text"}], "query", "rewrite"}`; every tenth conversation is held '
        "out and measured. `QUERYWRIGHT_EDITOR=MODELS` puts it to use."
    )
