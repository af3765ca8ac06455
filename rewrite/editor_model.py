"""The editor as a torch model: a MiniLM encoder under heads over the query's gaps, and its losses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # everybody's name for it
from transformers import BertConfig, BertModel

from .edit_script import LONGEST_SPAN
from .editor_weights import GAP, HIDDEN, LAYERS, NORMS, PARTS, POINTER, ROLES, Weights, base_weights

Batch = dict[str, Tensor]
"""What `collate` makes of examples."""

_TAG_SCALE = 5.0  # a conversation's tags count as much as five units would
_NEVER = -1e4


class EditorModel(nn.Module):
    """An encoder with the base encoder's weights, under heads that begin by leaving everything as it is.

    The base vocabulary's embeddings stay as they are; only `added` rows for further characters are trained.
    """

    def __init__(self, folder: Path, added: int, connectors: int) -> None:
        super().__init__()
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        # Torch's own attention spends 40 % of a step on a CPU in its backward pass; the plain one does not.
        config = BertConfig(**settings | {"attn_implementation": "eager"})
        self.bert = BertModel(config, add_pooling_layer=False)
        self.bert.embeddings.token_type_embeddings = nn.Embedding(ROLES, HIDDEN)
        self.connectors = connectors
        self.gap = nn.Linear(2 * HIDDEN, GAP)
        self.gap_norm = nn.LayerNorm(GAP)
        self.delete = nn.Linear(GAP, 1)
        self.connect = nn.Linear(GAP, 3 * connectors)
        self.none = nn.Linear(GAP, 2)
        self.asks = nn.Linear(GAP, 4 * POINTER)
        self.offers = nn.Linear(HIDDEN, 4 * POINTER)
        self.width = nn.Parameter(torch.zeros(2, LONGEST_SPAN))
        self.edit = nn.Linear(HIDDEN, 1)
        self.tag = nn.Linear(HIDDEN, 1)
        self.words.requires_grad_(requires_grad=False)
        load_weights(self, base_weights(folder))
        known = self.words.weight
        self.added = nn.Parameter(torch.empty(added, HIDDEN).normal_(known.mean().item(), known.std().item()))
        self._begin_by_keeping()

    @property
    def words(self) -> nn.Embedding:
        """The embeddings of the base vocabulary."""
        found = self.bert.embeddings.word_embeddings
        assert isinstance(found, nn.Embedding)  # noqa: S101 # tells the type
        return found

    def _begin_by_keeping(self) -> None:
        with torch.no_grad():
            self.none.bias.fill_(8.0)
            self.delete.bias.fill_(-3.0)
            self.connect.bias.view(3, self.connectors)[:, 0] = 5.0

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings of `ids`, (B, T, hidden)."""
        known = self.words.num_embeddings
        found: Tensor = self.words(ids.clamp(max=known - 1))
        if not len(self.added):
            return found
        added = F.embedding((ids - known).clamp(min=0), self.added)
        return torch.where((ids >= known)[..., None], added, found)

    def forward(self, ids: Tensor, roles: Tensor, mask: Tensor, gaps: Tensor, places: Tensor) -> dict[str, Tensor]:
        """Return the scores: `points` (B, 4, G, U) hold start and end of the first span, then of the second."""
        encoded = self.bert(inputs_embeds=self.embed(ids), token_type_ids=roles, attention_mask=mask)
        hidden: Tensor = encoded.last_hidden_state
        gap = self.gap_norm(F.gelu(self.gap(torch.cat([_at(hidden, gaps[..., 0]), _at(hidden, gaps[..., 1])], -1))))
        units = _at(hidden, places)
        size, count = gaps.shape[:2]
        asks = self.asks(gap).view(size, count, 4, POINTER).permute(0, 2, 1, 3)
        offers = self.offers(units).view(size, -1, 4, POINTER).permute(0, 2, 3, 1)
        return {
            "delete": self.delete(gap)[..., 0],
            "connect": self.connect(gap).view(size, count, 3, self.connectors),
            "none": self.none(gap),
            "points": (asks @ offers) / math.sqrt(POINTER),
            "edit": self.edit(hidden[:, 0])[:, 0],
            "tag": self.tag(units)[..., 0],
            "hidden": hidden,
        }


def _at(hidden: Tensor, index: Tensor) -> Tensor:
    return hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1]))


# ------------------------------------------------------------------------------------------ weights


def graph_weights(model: EditorModel) -> Weights:
    """Return the weights under the graph's names, linear ones as (inputs, outputs), float32."""
    words = torch.cat([model.words.weight, model.added])
    found: Weights = {"words": words.detach().cpu().numpy()}
    for name, parameter, scale in _named(model):
        value = parameter.detach().cpu().numpy() * np.float32(scale)
        found[name] = np.ascontiguousarray(value.T if _is_linear(name, parameter) else value, dtype=np.float32)
    return found


def load_weights(model: EditorModel, weights: Weights) -> None:
    """Copy what `weights` holds, under the graph's names, into the model."""
    with torch.no_grad():
        words = torch.from_numpy(weights["words"])
        model.words.weight.copy_(words[: model.words.num_embeddings])
        if len(words) > model.words.num_embeddings:
            model.added.copy_(words[model.words.num_embeddings :])
        for name, parameter, scale in _named(model):
            if name in weights:
                value = torch.from_numpy(weights[name]) / scale
                parameter.copy_(value.T if _is_linear(name, parameter) else value)


def _is_linear(name: str, parameter: Tensor) -> bool:
    return name.endswith(".weight") and parameter.ndim == 2


def _named(model: EditorModel) -> Iterator[tuple[str, Tensor, float]]:
    """Yield the graph's names of all parameters but the words, with what the graph multiplies them by."""
    embeddings = model.bert.embeddings
    yield "positions", embeddings.position_embeddings.weight, 1.0
    yield "roles_table", embeddings.token_type_embeddings.weight, 1.0
    layers: dict[str, nn.Module] = {"embedding_norm": embeddings.LayerNorm}
    for i in range(LAYERS):
        layer = model.bert.encoder.layer[i]
        layers |= {f"layer{i}.{ours}": layer.get_submodule(theirs) for ours, theirs in (PARTS | NORMS).items()}
    for name in ("gap", "gap_norm", "delete", "connect", "none", "asks", "offers", "edit", "tag"):
        layers[name] = model.get_submodule(name)
    for name, module in layers.items():
        scale = 1 / math.sqrt(POINTER) if name == "asks" else 1.0
        for part, parameter in module.named_parameters():
            yield f"{name}.{part}", parameter, scale


# ------------------------------------------------------------------------------------------- losses


def log_partition(points: Tensor, none: Tensor, width: Tensor, line_of: Tensor) -> Tensor:
    """Return the logarithm of the sum over all spans and "none", (B, 2, G).

    `points` (B, 4, G, U), `none` (B, G, 2), `width` (2, LONGEST_SPAN), `line_of` (B, U), -1 where there is no unit.
    A span lies within one line; all of them are summed as a product with a banded matrix, not one by one.
    """
    missing = (line_of < 0)[:, None, None, :]
    start, end = (points[:, side::2].float().masked_fill(missing, _NEVER) for side in (0, 1))
    top_start, top_end = (side.amax(-1, keepdim=True).detach() for side in (start, end))
    units = torch.arange(points.shape[-1], device=points.device)
    distance = units[None, :] - units[:, None]
    in_line = (line_of[:, :, None] == line_of[:, None, :]) & (line_of >= 0)[:, :, None]
    in_line &= (distance >= 0) & (distance < LONGEST_SPAN)
    allowed = width[:, distance.clamp(0, LONGEST_SPAN - 1)].exp()[None] * in_line[:, None]
    total = (torch.exp(start - top_start) @ allowed * torch.exp(end - top_end)).sum(-1)
    spans = total.clamp_min(1e-30).log() + top_start[..., 0] + top_end[..., 0]
    return torch.logaddexp(spans, none.float().transpose(1, 2))


def losses(out: dict[str, Tensor], batch: Batch, width: Tensor) -> dict[str, Tensor]:
    """Return the losses by name, each a weighted mean over the conversations of the batch."""
    weight = batch["weight"] / batch["weight"].sum()
    connect = F.cross_entropy(out["connect"].float().flatten(0, 2), batch["connect"].flatten(), reduction="none")
    connect = connect.view(batch["connect"].shape).sum(-1) * batch["gap_mask"]
    delete = _binary(out["delete"], batch["delete"]) * batch["delete_mask"]
    tag = _binary(out["tag"], batch["tag"]) * batch["unit_mask"]
    by_row = {
        "span": _span_loss(out, batch, width),
        "delete": delete.sum(1),
        "connect": connect.sum(1),
        "edit": _binary(out["edit"], batch["edit"]),
        "tag": _TAG_SCALE * tag.sum(1) / batch["unit_mask"].sum(1).clamp_min(1),
    }
    return {name: (value * weight).sum() for name, value in by_row.items()}


def _span_loss(out: dict[str, Tensor], batch: Batch, width: Tensor) -> Tensor:
    """Return what missing the gold spans costs, (B,): all places of a span's text are right."""
    partition = log_partition(out["points"], out["none"], width, batch["line_of"])
    none = out["none"].float().transpose(1, 2)
    empty = batch["gap_mask"][:, None] - batch["filled"]
    loss = ((partition - none) * empty).sum((1, 2))
    if not len(batch["where"]):
        return loss
    row, slot, gap = batch["where"].unbind(1)
    start, end = batch["span"].unbind(2)
    points = out["points"].float()
    gold = points[row[:, None], 2 * slot[:, None], gap[:, None], start.clamp_min(0)]
    gold = gold + points[row[:, None], 2 * slot[:, None] + 1, gap[:, None], end.clamp_min(0)]
    gold = gold + width[slot[:, None], (end - start).clamp(0, LONGEST_SPAN - 1)]
    gold = torch.logsumexp(gold.masked_fill(start < 0, -1e9), -1)
    return loss.index_add(0, row, partition[row, slot, gap] - gold)


def _binary(scores: Tensor, gold: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores.float(), gold, reduction="none")
