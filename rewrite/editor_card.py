"""The model card that is written beside a trained editor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    """All that the card says of a model: how it was made, from what, and how well it does."""

    language: Language
    command: str
    seconds: float
    data: TrainingData
    plan: Plan
    error: float
    figures: Mapping[str, Figures]
    start: bool


def model_card(made: Made) -> str:
    """Return the card, Markdown."""
    return "\n\n".join([_what(made), _how(made), _data(made), _figures(made), _limits(made), _retrain(made)]) + "\n"


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
    if made.plan.silver_pairs and made.data.texts:
        stages.insert(0, (f"{made.plan.silver_pairs} silver pairs an epoch from plain text", made.plan.silver))
    lines = "\n".join(f"- {name}: {_stage(stage)}" for name, stage in stages)
    started = " It went on from an editor that was trained before." if made.start else ""
    return f"## How it was made\n\n    {made.command}\n\n{made.seconds:.0f} s in all.{started}\n\n{lines}"


def _stage(stage: Stage) -> str:
    rates = f"{stage.layers:g} layers, {stage.embeddings:g} embeddings, {stage.heads:g} heads"
    return f"{stage.epochs} epochs, learning rates {rates}, about {stage.tokens} pieces a batch"


def _data(made: Made) -> str:
    rows = [f"| {origin.name} | {origin.rows} | {origin.licence} |" for origin in made.data.origins]
    if made.plan.silver_pairs:
        rows += [f"| {origin.name} | text | {origin.licence} |" for origin in text_origins(made.data)]
    table = "\n".join(["| set | rows that trained | licence |", "| --- | ---: | --- |", *rows])
    notes = ["The code is Apache-2.0; the data is not part of it, and the weights carry these notes."]
    unstated = ", ".join(origin.name for origin in made.data.origins if origin.licence == "none stated")
    if unstated:
        notes.append(f"No licence is stated for {unstated}: look at that before using the weights elsewhere.")
    notes.append("Rows of self-contained questions, made from the same sets, teach it to leave good queries alone.")
    return f"## Data\n\n{table}\n\n{' '.join(notes)}"


def _figures(made: Made) -> str:
    head = f"| held out | {' | '.join(_COLUMNS)} |\n| --- |{' ---: |' * len(_COLUMNS)}"
    rows = [f"| {name} | {_cells(figures)} |" for name, figures in made.figures.items()]
    return (
        "## Figures\n\nOf the weights as they are stored, by the command above; rewrites with a confidence under "
        f"{made.plan.threshold:g} are not used. Expected calibration error over all sets that tuned it, five folds: "
        f"{made.error:.3f}.\n\n{head}\n" + "\n".join(rows)
    )


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
        "out and measured. Some minutes for two hundred pairs on a laptop. `QUERYWRIGHT_EDITOR=MODELS` puts it to use."
    )
