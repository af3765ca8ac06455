"""How the editor is trained: the plans for both languages, the loop, and checkpoints to go on from."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # everybody's name for it

from .editor_augmenting import Mixture
from .editor_data import KeepShares
from .editor_examples import Example, batches, collate
from .editor_model import Batch, EditorModel, losses
from .editor_weights import HIDDEN
from .gate import Gate
from .language import Language

_LOGGED = 50  # steps from one line of the log to the next
_MASKED = 0.15  # the share of the added characters that is hidden

Log = Callable[[str], None]
ExampleSource = Callable[[int], Sequence[Example]]
"""The examples of an epoch, counted from 0."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One pass of training: learning rates of the encoder's layers, of its embeddings and of the heads; loss weights.

    `tokens` are the pieces of a batch; `warm_up` the share of the steps in which the rates rise, `floor` what is left
    of them in the end.
    """

    epochs: int
    layers: float
    embeddings: float
    heads: float
    tokens: int
    tag: float
    edit: float = 0.5
    masked: float = 0.0
    warm_up: float = 0.06
    floor: float = 0.02

    def rate(self, done: float, step: float) -> float:
        """Return the share of the learning rates at `done` (0 to 1) of the stage, of which a step is `step`."""
        return min(1.0, (done + step) / self.warm_up) * max(self.floor, 1 - done)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is chosen for a language.

    `threshold` is the confidence below which a rewrite is not used; `silver` a first stage, on `silver_pairs` made
    from plain text in each of its epochs.
    """

    connectors: tuple[str, ...]
    mixture: Mixture
    pairs: Stage
    threshold: float
    silver: Stage | None = None
    silver_pairs: int = 0

    @property
    def uses_texts(self) -> bool:
        """Say whether anything is learnt from plain text, in a stage of its own or among the pairs."""
        return self.silver is not None or self.mixture.silver > 0


_EN_CONNECTORS = (
    *("besides", "aside from", "other than", "in addition to", "besides being", "along with", "apart from", "'", "'s"),
    *("of", "to", "in", "by", "on", "for", "from", "with", "the", "a", "and", "about", "after", "during", "before"),
    *("being", "that", "between", "at", "than", "as", "?", ",", "(", ")", "is", "was", "are", "when", "his", "her"),
    *("it", "against", "which", "their", "aside", "addition", "into", "one", "type of", "type", "there", "about the"),
    *("of the", "in the", "for the", "to the", "on the", "'s the", "i am", "i", "any", "there is", "there are", "not"),
    *("or", "using", "due to", "because of", "regarding", "compared to", "instead of", "rather than", "without"),
    *("within", "did", "do", "does"),
)
_ZH_CONNECTORS = (
    *("是", "的", "里", "我", "和", "把", "了", "有", "个", "就", "呢", "要", "很", "玩", "去", "吃", "说", "在"),
    *("里的", "你", "也", "都", "对", "中", "之", "被", "给", "和我", "，", "吗", "喜欢", "会", "用", "来", "看"),
    *("什么", "那", "这", "不", "到"),
)

PLANS: Mapping[Language, Plan] = {
    Language.EN: Plan(
        connectors=_EN_CONNECTORS,
        mixture=Mixture(
            keep=KeepShares(own=0.22, foreign=0.13, fluent=0.05),
            fronted=0.1,
            untitled=0.35,
            fragments=0.18,
            strangers=0.08,
            silver=2500,
        ),
        pairs=Stage(epochs=3, layers=1.5e-4, embeddings=3e-5, heads=6e-4, tokens=2500, tag=0.5, edit=1.0),
        threshold=Gate().min_confidence,
    ),
    Language.ZH: Plan(
        connectors=_ZH_CONNECTORS,
        mixture=Mixture(keep=KeepShares(own=0.11, foreign=0.07), swapped=0.3, fronted=0.15, silver=3000),
        pairs=Stage(epochs=7, layers=2e-4, embeddings=1e-3, heads=5e-4, tokens=2000, tag=0.3),
        threshold=Gate().min_confidence,
        silver=Stage(epochs=2, layers=2e-4, embeddings=1e-3, heads=1e-3, tokens=3000, tag=0.3, masked=0.5),
        silver_pairs=6_000,
    ),
}


def plan_for(language: Language, *, started: bool, epochs: int | None = None) -> Plan:
    """Return the plan of `language`; milder and without plain text for a model that was `started` elsewhere."""
    plan = PLANS[language]
    if started:
        milder = replace(plan.pairs, epochs=4, layers=5e-5, embeddings=2e-5, heads=2e-4)
        plan = replace(plan, pairs=milder, mixture=replace(plan.mixture, silver=0), silver=None, silver_pairs=0)
    return plan if epochs is None else replace(plan, pairs=replace(plan.pairs, epochs=epochs))


# ---------------------------------------------------------------------------------------- the loop


def seed_all(seed: int, *parts: object) -> random.Random:
    """Seed torch by `seed` and `parts`, and return a generator seeded alike: no state needs to be kept to go on."""
    rng = random.Random(":".join(map(str, (seed, *parts))))
    torch.manual_seed(rng.getrandbits(63))
    return rng


def fit(
    model: EditorModel,
    name: str,
    stage: Stage,
    source: ExampleSource,
    *,
    seed: int,
    mask: int,
    log: Log,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train `model` by `stage`, going on after the last epoch of it that `checkpoint` holds.

    `mask` is the piece that hides a character, where the stage asks to tell hidden ones.
    """
    masking = _Masking(model, mask, seed) if stage.masked and len(model.added) else None
    optimizer = torch.optim.AdamW(_groups(model, masking, stage), weight_decay=0.01, fused=True)
    parts = {"model": model, **({"masking": masking} if masking else {})}
    first = checkpoint.resume(name, parts, optimizer) if checkpoint else 0
    model.train()
    for epoch in range(first, stage.epochs):
        rng = seed_all(seed, name, epoch)
        groups = batches(source(epoch), stage.tokens, rng)
        meter = _Meter(f"{name}: epoch {epoch + 1}/{stage.epochs}", len(groups), log)
        for i, group in enumerate(groups):
            done, step = (epoch + i / len(groups)) / stage.epochs, 1 / len(groups) / stage.epochs
            _set_rate(optimizer, stage.rate(done, step))
            meter.add(_step(model, masking, collate(group, model.width.device), stage, optimizer))
        meter.say()
        if checkpoint:
            checkpoint.save(name, epoch + 1, parts, optimizer)


def _groups(model: EditorModel, masking: _Masking | None, stage: Stage) -> list[dict[str, object]]:
    """Return the parameters with their learning rates; embeddings of rare characters must not decay."""
    sorted_out: dict[str, list[nn.Parameter]] = {"layers": [], "embeddings": [], "heads": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            embeds = name == "added" or name.startswith("bert.embeddings")
            kind = "embeddings" if embeds else "layers" if name.startswith("bert.") else "heads"
            sorted_out[kind].append(parameter)
    sorted_out["heads"] += masking.parameters() if masking else []
    groups = [{"params": found, "base": getattr(stage, kind)} for kind, found in sorted_out.items()]
    groups[1]["weight_decay"] = 0.0
    return groups


def _set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * share


def _step(
    model: EditorModel, masking: _Masking | None, batch: Batch, stage: Stage, optimizer: torch.optim.Optimizer
) -> dict[str, float]:
    hidden = masking.hide(batch) if masking else None
    with torch.autocast(batch["ids"].device.type, dtype=torch.bfloat16):
        out = model(*(batch[name] for name in ("ids", "roles", "mask", "gaps", "places")))
        guesses = masking(out["hidden"][hidden.at]) if masking and hidden else None
    found = losses(out, batch, model.width)
    if hidden and guesses is not None and len(hidden.gold):
        found["masked"] = F.cross_entropy(guesses.float(), hidden.gold)
    weights = {"tag": stage.tag, "edit": stage.edit, "masked": stage.masked}
    loss = torch.stack([value * weights.get(name, 1.0) for name, value in found.items()]).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    return {name: float(value.detach()) for name, value in found.items()}


class _Meter:
    """Tells how an epoch goes: the losses, averaged over the last steps."""

    def __init__(self, name: str, steps: int, log: Log) -> None:
        self._name, self._steps, self._log = name, steps, log
        self._started = time.monotonic()
        self._step = 0
        self._means: dict[str, float] = {}

    def add(self, found: Mapping[str, float]) -> None:
        self._step += 1
        kept = min(0.98, 1 - 1 / self._step)
        for name, value in found.items():
            self._means[name] = kept * self._means.get(name, value) + (1 - kept) * value
        if self._step % _LOGGED == 0 and self._step < self._steps:
            self.say()

    def say(self) -> None:
        seconds = time.monotonic() - self._started
        means = ", ".join(f"{name} {value:.3f}" for name, value in self._means.items())
        self._log(f"{self._name}, step {self._step}/{self._steps}, {seconds:.0f} s: {means}")


# ------------------------------------------------------------------------------- hidden characters


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Which places of a batch were hidden, (B, T), and which added characters stood there, (n,)."""

    at: Tensor
    gold: Tensor


class _Masking(nn.Module):
    """Tells hidden characters from the rest of the text, so that the added ones get a meaning (Devlin et al., 2019)."""

    def __init__(self, model: EditorModel, mask: int, seed: int) -> None:
        super().__init__()
        seed_all(seed, "masking")
        self.head = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.LayerNorm(HIDDEN))
        self.bias = nn.Parameter(torch.zeros(len(model.added)))
        self._embeddings = (model.added,)  # in a tuple, so that they are not this module's own
        self._known = model.words.num_embeddings
        self._mask = mask
        self.to(model.width.device)

    def hide(self, batch: Batch) -> _Hidden:
        """Hide some of the added characters of the turns in `batch`, not those of the query."""
        ids = batch["ids"]
        chosen = torch.rand(ids.shape).to(ids.device) < _MASKED
        chosen &= (ids >= self._known) & (batch["roles"] > 0)
        gold = ids[chosen] - self._known
        batch["ids"] = ids.masked_fill(chosen, self._mask)
        return _Hidden(chosen, gold)

    def forward(self, hidden: Tensor) -> Tensor:
        guesses: Tensor = self.head(hidden) @ self._embeddings[0].T + self.bias
        return guesses


# ------------------------------------------------------------------------------------- checkpoints


class Checkpoint:
    """What was trained so far, in one safetensors file that is replaced after every epoch.

    `run` names the data, plan, code and seed: what another run left behind is not taken up, nor a damaged file.
    """

    def __init__(self, path: Path, run: str, log: Log) -> None:
        self._path, self._run, self._log = path, run, log
        self._notes = self._read_notes() if path.exists() else {}

    def done(self, name: str) -> bool:
        """Say whether the stage `name` is over: a later one has begun."""
        return self._notes.get("stage", name) != name

    def resume(self, name: str, parts: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> int:
        """Put what was saved of stage `name` into place; return how many of its epochs are done."""
        if self._notes.get("stage") != name:
            return 0
        with safe_open(self._path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 # it is no mapping
        with torch.no_grad():
            for key, value in _state(parts).items():
                value.copy_(tensors[key])
        optimizer.load_state_dict({**optimizer.state_dict(), "state": _moments(tensors)})
        self._log(f"{name}: going on after epoch {self._notes['epoch']}")
        return int(self._notes["epoch"])

    def save(self, name: str, epoch: int, parts: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
        """Write all that `resume` needs; the old file stays until the new one is whole."""
        tensors = {key: value.detach().cpu().contiguous() for key, value in _state(parts).items()}
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value.cpu().contiguous() for key, value in moments.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        half = self._path.with_suffix(".half")
        notes = {"run": self._run, "stage": name, "epoch": str(epoch), "sum": _sum(tensors)}
        save_file(tensors, half, notes)
        with half.open("rb+") as file:
            os.fsync(file.fileno())  # otherwise a crash may leave the new name with nothing behind it
        half.replace(self._path)
        self._notes = notes

    def remove(self) -> None:
        """Remove the file, once the model is written."""
        self._path.unlink(missing_ok=True)

    def _read_notes(self) -> dict[str, str]:
        """Return what the file says of itself; nothing where it is another run's, or damaged, which is logged."""
        try:
            with safe_open(self._path, "pt") as file:
                notes: dict[str, str] = file.metadata() or {}
                if notes.get("run") != self._run:
                    return {}
                whole = notes.get("sum") == _sum({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            self._log(f"{self._path}: not used, cannot be read: {error}")
            return {}
        if not whole:
            self._log(f"{self._path}: not used, damaged")
        return notes if whole else {}


def _sum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


_CODE = (
    *("edit_script", "editor", "editor_augmenting", "editor_data", "editor_examples", "editor_input", "editor_model"),
    *("editor_silver", "editor_training", "editor_weights", "language", "query"),
)


def code_digest() -> str:
    """Return the SHA-256 of the modules that what is learnt hangs on."""
    here = Path(__file__)
    return hashlib.sha256(b"".join(here.with_name(f"{name}.py").read_bytes() for name in _CODE)).hexdigest()


def _state(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return all tensors that training changes."""
    return {
        f"{part}.{name}": parameter
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def _moments(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return the optimizer's part of what was saved."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            found.setdefault(int(index), {})[key] = value
    return found
