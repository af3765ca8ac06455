"""The answer in one sentence: which comparison speaks for a data set, and what it says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from .arms import BASELINE
from .measures import MAIN_MEASURE

if TYPE_CHECKING:
    from .report import DatasetResult, LegResult

LEVEL = 0.05
"""A Holm-adjusted p-value under this is taken for a difference."""

_LAST = ("gold+orig", "gold", "concat", BASELINE)


class Verdict(StrEnum):
    """Whether rewriting helped."""

    YES = "Yes"
    NO = "No, it hurt"
    OPEN = "Not proven"


@dataclass(frozen=True, slots=True)
class Headline:
    """The comparison that speaks for a data set."""

    arm: str
    leg: str
    result: LegResult

    @property
    def verdict(self) -> Verdict:
        """Whether the arm helped, hurt, or neither can be told from noise."""
        versus = self.result["vs_none"]
        if versus["p_holm"] >= LEVEL or not versus["delta"]:
            return Verdict.OPEN
        return Verdict.YES if versus["delta"] > 0 else Verdict.NO

    @property
    def sentence(self) -> str:
        """What came out, in plain words."""
        versus, result = self.result["vs_none"], self.result
        before, after = result["none"][MAIN_MEASURE], result["measures"][MAIN_MEASURE]
        return (
            f"{self._claim()} {MAIN_MEASURE} went from {before:.3f} to {after:.3f} "
            f"({signed(versus['delta'])}, 95 % interval {signed(versus['low'])} to {signed(versus['high'])}, "
            f"{p_value(versus['p_holm'])} after Holm). Of {result['queries']} queries, {versus['helped']} "
            f"{'was' if versus['helped'] == 1 else 'were'} helped, {versus['hurt']} hurt and "
            f"{versus['tied']} left as good as before.{self._needed()}"
        )

    def _needed(self) -> str:
        """Return how large a difference these queries would show, where they show none."""
        if self.verdict is not Verdict.OPEN:
            return ""
        detectable = self.result["vs_none"]["detectable"]
        if detectable >= 1:
            return " So few differing conversations can show no difference at all."
        return f" These queries would show a true difference of {detectable:.3f} four times in five; smaller ones less."

    def _claim(self) -> str:
        what = f"{self.arm} on {self.leg}"
        match self.verdict:
            case Verdict.YES:
                return f"{what} finds better documents than the query as typed:"
            case Verdict.NO:
                return f"{what} finds worse documents than the query as typed:"
        return f"{what} cannot be told from the query as typed, the difference may be noise:"


def headline(dataset: DatasetResult) -> Headline | None:
    """Return the comparison that speaks for `dataset`; None where there is no arm but `none`.

    The arm is `auto`, or else the first one that needs no gold rewrite; the leg is the one that is best without
    rewriting, since a gain over a weak leg could be had by taking a better leg.
    """
    arms = dataset["arms"]
    name = _arm(arms)
    if name is None:
        return None
    legs = arms[name]
    leg = max(legs, key=lambda leg: legs[leg]["none"][MAIN_MEASURE])
    return Headline(name, leg, legs[leg])


def signed(value: float, digits: int = 3) -> str:
    """Return `value` with its sign, the minus as typography has it.

    >>> signed(0.25), signed(-0.1), signed(-0.0001)
    ('+0.250', '−0.100', '0.000')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if not float(text) else text.replace("-", "−")


def p_value(p: float) -> str:
    """Return a p-value as papers print it.

    >>> p_value(0.0004), p_value(0.0312), p_value(1.0)
    ('p < .001', 'p = .031', 'p = 1')
    """
    if p < 0.001:
        return "p < .001"
    return f"p = {f'{p:.3f}'.removeprefix('0')}" if p < 0.9995 else "p = 1"


def _arm(arms: Collection[str]) -> str | None:
    if "auto" in arms:
        return "auto"
    ours = next((arm for arm in arms if arm not in _LAST), None)
    return ours or next((arm for arm in _LAST if arm in arms and arm != BASELINE), None)
