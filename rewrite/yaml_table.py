"""YAML as plain data with the line of each part: scalars, lists and mappings, and nothing that can blow up.

Built from the parser's events rather than by `safe_load`: that one recurses in C as deep as a text nests, takes the
last of two equal keys without a word, and needs three times as long. Which scalars are numbers, dates and so on is
PyYAML's own safe schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

_DEPTH = 32
"""A catalog nests 6 deep."""

_COPIES = 100_000
"""What aliases (*name) repeat may hold so many parts in all: enough to share lists of cues, no bomb."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Steps = tuple[str | int, ...]


class YamlError(ValueError):
    """A text is not the YAML that catalogs are written in; `line` is where."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def yaml_table(text: str) -> tuple[Any, dict[Steps, int]]:
    """Return what `text` holds and the line of each part, by the keys and indexes that lead to it; raises YamlError."""
    loader = _Loader(text)
    try:
        builder = _Builder(loader)
        return builder.document(), builder.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(str(error.problem or error.context), mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        raise YamlError(error.reason, 1 + text.count("\n", 0, error.position)) from error
    finally:
        loader.dispose()


class _Builder:
    """Builds data from events, at most `_DEPTH` deep."""

    def __init__(self, loader: Any) -> None:  # noqa: ANN401 # PyYAML's two loaders share no typed base
        self.loader = loader
        self.lines: dict[Steps, int] = {}
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.copied = 0

    def document(self) -> Any:  # noqa: ANN401 # whatever the text holds
        events = self.events()
        next(events)
        first = next(events)
        if isinstance(first, yaml.StreamEndEvent):
            return None
        data, _ = self.node(next(events), (), events)
        next(events)
        extra = next(events)
        if not isinstance(extra, yaml.StreamEndEvent):
            raise YamlError("expected one document, got several", extra.start_mark.line + 1)
        return data

    def events(self) -> Iterator[Any]:
        while self.loader.check_event():
            yield self.loader.get_event()

    def node(self, event: Any, path: Steps, events: Iterator[Any]) -> tuple[Any, int]:  # noqa: ANN401 # an event
        """Return what begins with `event`, and how many parts it has with all that aliases repeat."""
        line = self.lines[path] = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, line)
        if len(path) > _DEPTH:
            raise YamlError("nested too deeply", line)
        if event.tag not in {None, "!"}:
            raise YamlError(f"expected no tag, got {event.tag}", line)
        if isinstance(event, yaml.ScalarEvent):
            built: tuple[Any, int] = self.scalar(event), 1
        elif isinstance(event, yaml.SequenceStartEvent):
            built = self.sequence(path, events)
        else:
            built = self.mapping(path, events)
        if event.anchor:
            self.anchors[event.anchor] = built
        return built

    def alias(self, event: Any, line: int) -> tuple[Any, int]:  # noqa: ANN401 # an event
        if event.anchor not in self.anchors:  # also inside what the anchor names: that would never end
            raise YamlError(f"*{event.anchor} stands for nothing above", line)
        data, size = self.anchors[event.anchor]
        self.copied += size
        if self.copied > _COPIES:
            raise YamlError(f"aliases repeat more than {_COPIES:,} parts", line)
        return data, size

    def scalar(self, event: Any) -> Any:  # noqa: ANN401 # an event
        tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag == "tag:yaml.org,2002:str":
            return event.value
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            return self.loader.construct_object(node)
        except ValueError as error:
            raise YamlError(str(error), event.start_mark.line + 1) from error

    def sequence(self, path: Steps, events: Iterator[Any]) -> tuple[list[Any], int]:
        found: list[Any] = []
        size = 1
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            data, parts = self.node(event, (*path, len(found)), events)
            found.append(data)
            size += parts
        return found, size

    def mapping(self, path: Steps, events: Iterator[Any]) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        size = 1
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise YamlError("expected a key that is one word", line)
            if event.value in found:
                raise YamlError(f"the key {event.value!r} stands there twice", line)
            found[event.value], parts = self.node(next(events), (*path, event.value), events)
            self.lines[*path, event.value] = line
            size += parts
        return found, size
