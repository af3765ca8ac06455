"""Catalog names for what was copied: whoever filled a gap, an entity is called as the catalog calls it.

A feature without its product finds the wrong manual. So beside an entity that was filled in stands what its intents
name with it, where the conversation or the profile says it and the query does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from .catalog import Catalog, Entity, Intent, Mention, Place
from .language import Language
from .query import Edit, Query, Source
from .scene import Scene
from .senses import choose_sense


def named(query: Query, edits: tuple[Edit, ...], catalog: Catalog) -> tuple[Edit, ...]:
    """Return `edits` with the catalog's names for copied entities, and beside each what belongs to it."""
    scene = Scene(catalog, query)
    said = {slot for piece in scene.pieces for slot in piece.slots}
    filled = said | {edit.slot for edit in edits}
    return tuple(made for edit in edits for made in _with_companions(scene, edit, filled))


def _with_companions(scene: Scene, edit: Edit, filled: set[str]) -> Iterator[Edit]:
    found = _entity(scene, edit)
    if found is None:
        yield edit
        return
    entity, lead = found
    own = replace(edit, slot=entity.slot, replacement=lead + entity.name[scene.language])
    before: list[Edit] = []
    after: list[Edit] = []
    for intent, place, leads in _places(scene, entity):
        if place.slot in filled:
            continue
        fill = scene.value_for(place.slot, intent, scene.calendar)
        if fill is None:
            continue
        filled.add(place.slot)
        text = fill.text + _space(scene.language) if leads else place.gap + fill.text
        at = edit.start if leads else edit.end
        made = Edit(edit.problem, place.slot, at, at, text, fill.evidence, edit.confidence)
        (before if leads else after).append(made)
    yield from (*before, own, *after)


def _space(language: Language) -> str:
    return " " if language is Language.EN else ""


_LEAD = re.compile(r"\s*(?:(?:of|for|in|with|about) )?", re.IGNORECASE)


def _entity(scene: Scene, edit: Edit) -> tuple[Entity, str] | None:
    """Return the one entity that an edit from the conversation writes and what leads to it, if it writes no more."""
    if edit.evidence.source is not Source.HISTORY:
        return None
    written = edit.replacement.rstrip()
    mentions = scene.catalog.mentions(written)
    lead = written[: mentions[0].start] if mentions else ""
    if not mentions:
        mentions, lead = _cut(scene, edit), ""
    elif mentions[0].end != len(written) or not _LEAD.fullmatch(lead):
        return None
    senses = tuple(entry for mention in mentions for entry in mention.candidates if isinstance(entry, Entity))
    if len(senses) > 1 and (chosen := choose_sense(scene.query, senses, scene.catalog)):
        senses = (chosen[0],)
    return (senses[0], lead) if len(mentions) == len(senses) == 1 else None


def _cut(scene: Scene, edit: Edit) -> list[Mention]:
    """Return the name that the conversation has where an edit copied only a part of it: 户画像 of 客户画像."""
    said = dict(scene.turns).get(int("".join(filter(str.isdigit, edit.evidence.where)) or -1))
    part = edit.replacement.strip()
    start = said.text.find(part) if said and part else -1
    if said is None or start < 0:
        return []
    found = scene.catalog.mentions(said.text)
    return [each for each in found if each.start <= start and start + len(part) <= each.end]


def _places(scene: Scene, entity: Entity) -> Iterator[tuple[Intent, Place, bool]]:
    """Yield the entity slots that patterns hold beside the entity's own, and whether they come before it."""
    types = {each.type for each in scene.catalog.entities}
    for intent in scene.catalog.intents:
        grammar = intent.grammars.get(scene.language)
        if intent.head != entity.slot or grammar is None:
            continue
        slots = grammar.slots()
        for i, place in enumerate(grammar.pattern):
            if place.slot != entity.slot and place.slot in types:
                yield intent, place, i < slots.index(entity.slot)
