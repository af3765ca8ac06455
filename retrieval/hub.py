"""Models of sentence-transformers by name: from this machine where they are here, else from the hub."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .. import InputError, StorageError


def read_model(kind: str, what: str, name: str, source: str) -> Any:  # noqa: ANN401 - a class of the library
    """Return the model called `name`, of the library's class `kind`; `what` says in errors what it is for.

    Nothing is unpickled. Raises StorageError for a folder that holds no readable model, InputError for a name that
    neither this machine nor the hub knows now.
    """
    # Its bars would run through whatever the caller prints.
    bars = import_module("transformers.utils.logging")
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        return _read(getattr(import_module("sentence_transformers"), kind), f"{what} {name!r}", source)
    finally:
        if shown:
            bars.enable_progress_bar()


def _read(make: Any, whose: str, source: str) -> Any:  # noqa: ANN401
    options = {"model_kwargs": {"use_safetensors": True}, "trust_remote_code": False}
    # Weights that are no safetensors would be unpickled, by torch.load; the option above is for the transformer, the
    # layers after it are looked at here.
    for pickled in Path(source).rglob("pytorch_model.bin") if Path(source).is_dir() else ():
        if not pickled.with_name("model.safetensors").is_file():
            raise StorageError(f"{whose}: {pickled}: only weights in model.safetensors are read")
    try:
        return make(source, local_files_only=True, **options)
    except (OSError, ValueError) as error:
        if Path(source).is_dir():
            raise StorageError(f"{whose}: the folder holds no readable model in safetensors: {error}") from error
    try:
        return make(source, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"{whose}: neither a model's folder nor a model that the hub can give now: {error}") from error
