"""One frozen set of settings, from a TOML file and QUERYWRIGHT_* environment variables."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from .. import InputError
from ..retrieval.dense_gpu import Device
from ..retrieval.fusion import Method
from ..retrieval.segment import LexicalEngine
from ..retrieval.spaces import DEFAULT_ENCODER
from .logs import LogFormat
from .schemas import first_problem, nearest

PREFIX = "QUERYWRIGHT_"

NO_SETTINGS = frozenset({f"{PREFIX}{name}" for name in ("SETTINGS", "API_KEY", "KEY")})
"""Variables that are known besides: the file of settings, the key of the clients, and that of the examples."""

_log = logging.getLogger(__name__)

MOST_THREADS = 256
"""More requests are never worked on at once."""


class Engine(StrEnum):
    """What holds collections."""

    LOCAL = "local"
    MILVUS = "milvus"


class Settings(BaseModel):
    """Everything that can be set. `Settings.load()` reads the environment; a variable beats the file.

    >>> Settings(budget_ms=500).budget_ms
    500
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # where collections live
    home: Path = Field(default_factory=lambda: Path.home() / ".querywright")
    engine: Engine = Engine.LOCAL
    """What holds collections: `local`, a folder of the home for each, or `milvus`, for several services at once."""
    milvus_uri: str | None = None
    """Where Milvus is: `http://HOST:19530`, with https for TLS; or a file `NAME.db`, which milvus-lite makes."""
    milvus_token: SecretStr | None = None
    """How it knows us: `USER:PASSWORD`, or a token of Zilliz Cloud."""
    milvus_seconds: float = Field(default=10, gt=0, le=600)
    """How long a call to it may take before it counts as unavailable."""

    # retrieval
    encoder: str = DEFAULT_ENCODER
    """`minilm` (embedded, English), `hanzi-1` (embedded, Chinese), a sentence-transformers name or a model's folder;
    several joined by `+`, of which the first that reads a text encodes it; `none` for no dense leg."""

    fusion: Method = Method.THEORETICAL
    """How ranked lists are fused: theoretical, min-max, z-score or rrf. A collection that was fitted has its own."""
    lexical_weight: float = Field(default=0.5, gt=0, lt=1)
    """What the lexical leg weighs where both legs read a text; the dense one has the rest."""
    rerank_model: str | None = None
    """A cross-encoder's name or folder, which orders the best hits anew; off unless set."""
    rerank_depth: int = Field(default=20, ge=1, le=1000)
    """How many of the best hits it reads."""
    rerank_ms: int = Field(default=2000, ge=1, le=60_000)
    """How long a search waits for it before it goes on without."""
    lexical_engine: LexicalEngine = LexicalEngine.BM25
    """`bm25`, the project's own, or `rank-bm25`, slow and for comparison."""
    device: Device = Device.AUTO
    """Where vectors are scanned: cpu, cuda, or auto, which is a GPU where one is seen."""
    bm25_k1: float = Field(default=1.5, ge=0, le=10)
    bm25_b: float = Field(default=0.75, ge=0, le=1)

    # rewriting
    catalog: Path | None = None
    """The catalog for collections without one of their own (`HOME/COLLECTION/catalog.toml`)."""
    editor: Path | None = None
    """A folder of trained editors in place of the project's own, which it need not have both of: `zh/`, `en/`."""
    llm: str | None = None
    """A chat model as LangChain names it, `openai:gpt-5-mini`; off unless set."""
    llm_base_url: str | None = None
    """An OpenAI-compatible endpoint, for models served elsewhere than the provider's own address."""
    llm_prompt: Path | None = None
    """What the chat model is told in place of the built-in prompt: a text file, or TOML with the keys en and zh."""
    budget_ms: int = Field(default=2000, ge=1, le=60_000)
    """How long a search waits for the rewriters before it goes on without them."""
    min_confidence: float = Field(default=0.2, ge=0, le=1)
    """Less confident rewrites are not used."""
    rewrite_share_base: float = Field(default=0.2, ge=0, le=0.95)
    rewrite_share_slope: float = Field(default=0.6, ge=0, le=0.95)
    """A rewrite's lists weigh base + slope x confidence beside the original's, at most .95."""
    rewrite_cache: int = Field(default=10_000, ge=0, le=10_000_000)
    """How many rewrites are remembered; 0 for none."""
    secret: SecretStr | None = None
    """Signs the tokens of questions back; by default a key that is kept in the home."""
    clarification_seconds: int = Field(default=3600, ge=1, le=30 * 86_400)
    """How long a question back can be answered."""
    timezone: str = "UTC"
    """Whose clock is used for queries without `now`."""

    # service
    default_collection: str = "demo"
    threads: int = Field(default=8, ge=1, le=MOST_THREADS)
    """How many requests are worked on at once; others wait."""
    queue: int = Field(default=64, ge=0, le=100_000)
    """How many wait; further ones are answered with 503."""
    queue_ms: int = Field(default=5000, ge=1, le=600_000)
    """How long one waits before it is answered with 503."""
    request_seconds: float = Field(default=30, gt=0, le=3600)
    """How long a request that only asks may take before it is answered with 503."""
    max_body_mb: int = Field(default=32, ge=1, le=1024)
    """A larger body is refused."""
    connections: int = Field(default=1000, ge=1, le=1_000_000)
    """How many connections are kept; read when the service starts, as are the settings below."""
    drain_seconds: float = Field(default=2, ge=0, le=8)
    """How long a service that is told to end goes on answering, not ready, so that balancers find out."""
    keys: Path | None = None
    """The file of API keys, HOME/keys.json by default; made by `querywright keys add`."""
    require_keys: bool = False
    """Whether keys are asked for on loopback too, as behind a reverse proxy; elsewhere they always are."""
    cors_origins: tuple[str, ...] = ()
    """Sites whose pages may call the service; in the environment separated by commas."""
    log_format: LogFormat = "text"
    """`text` for people: warnings only; `json` for machines: a line a record, and one for each request."""
    log_queries: bool = False
    """Whether logs and traces may hold the texts of queries; else nothing that a request says gets into them."""

    @property
    def indexed(self) -> tuple[object, ...]:
        """The settings that collections are opened with."""
        local = self.home, self.encoder, self.lexical_engine, self.device, self.bm25_k1, self.bm25_b
        return *local, self.engine, self.milvus_uri, self.milvus_token, self.milvus_seconds

    @property
    def secret_text(self) -> str | None:
        """The secret in the clear, None where none is set."""
        return self.secret.get_secret_value() if self.secret else None

    @field_validator("home", "catalog", "editor", "llm_prompt", "keys")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path else None

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, origins: str | Iterable[object]) -> object:
        listed = origins.split(",") if isinstance(origins, str) else origins
        if not isinstance(listed, Iterable):
            raise ValueError("expected a list of origins such as https://search.example.com")  # noqa: TRY004 # pydantic's
        # An origin has no path, not even an empty one.
        return tuple(filter(None, (str(one).strip().rstrip("/") for one in listed)))

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, KeyError) as error:  # some names are folders, unknown ones a KeyError
            raise ValueError("expected a time zone such as Asia/Shanghai") from error
        return name

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ, **given: Any) -> Settings:  # noqa: ANN401
        """Read QUERYWRIGHT_SETTINGS (a TOML file), then QUERYWRIGHT_NAME variables, then what is `given`.

        Variables that set nothing are told of in the log. Raises InputError that names the setting.
        """
        for problem in unknown_variables(environment):
            _log.warning("%s", problem)
        file = environment.get(f"{PREFIX}SETTINGS")
        values = _read(Path(file)) if file else {}
        for name in cls.model_fields:
            text = environment.get(PREFIX + name.upper())
            if text:
                values[name] = text
        values |= {name: value for name, value in given.items() if value is not None}
        if unknown := next((name for name in values if name not in cls.model_fields), None):
            raise InputError(f"setting {unknown}: there is none of that name{_meant(unknown)}")
        try:
            return cls(**values)
        except ValidationError as error:
            told = first_problem(error.errors(include_url=False, include_input=False))
            raise InputError(f"setting {told}") from error


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Say of each variable that begins as a setting's and is none, which one may have been meant.

    >>> unknown_variables({"QUERYWRIGHT_BUDGETMS": "500", "QUERYWRIGHT_BUDGET_MS": "500"})
    ['QUERYWRIGHT_BUDGETMS: there is no such setting; did you mean QUERYWRIGHT_BUDGET_MS?']
    """
    known = NO_SETTINGS | {PREFIX + name.upper() for name in Settings.model_fields}
    names = {name.removeprefix(PREFIX).lower(): name for name in known}
    found = []
    for variable in environment:
        if variable.startswith(PREFIX) and variable not in known:
            close = nearest(variable.removeprefix(PREFIX), names)
            found.append(f"{variable}: there is no such setting" + (f"; did you mean {names[close]}?" if close else ""))
    return found


def _meant(name: str) -> str:
    """Say which setting of a file `name` may mean, and how they are written there."""
    close = nearest(name.lower().removeprefix(PREFIX.lower()), Settings.model_fields)
    return f"; did you mean {close}? (lower case, without {PREFIX})" if close else f" (lower case, without {PREFIX})"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as TOML settings: {error}") from error
