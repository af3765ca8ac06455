"""Tokens of questions back: signed, expiring, and all that is known of a question, so that no server keeps any.

A token belongs to one query in one conversation. It holds the question and its options, readable, so that only an
option that was offered can be chosen; of the query, the conversation and the profile it holds a digest.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import orjson
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from .. import InputError
from ..rewrite.query import Clarification, Option, Query, Rewrite
from ..rewrite.questions import answered

SECRET_FILE = "secret"  # noqa: S105 # the name of the file that holds it
"""Where the key that signs is kept in the home, if no setting gives one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a token holds: the digest of the query that it is `of`, the question, labels and values of its options."""

    of: str
    question: str
    options: Sequence[tuple[str, str]]


class Questions:
    """Signs the questions of rewrites, and takes their answers.

    The key is `secret`, else the one in `home`, which is made when the first question is asked: so tokens survive a
    restart and are good at every process that shares the home. `seconds` is how long a question can be answered.
    """

    def __init__(self, home: Path, secret: str | None, seconds: int) -> None:
        self._home, self._secret, self._seconds = home, secret, seconds

    @cached_property
    def _serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            self._secret or _kept_secret(self._home),
            salt="clarification",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def signed(self, rewrite: Rewrite, query: Query) -> Rewrite:
        """Return `rewrite` with the token of its question, if it asks one of `query`."""
        asked = rewrite.clarification
        if asked is None:
            return rewrite
        told = _Told(_digest(query), asked.question, [(option.label, option.value) for option in asked.options])
        token = self._serializer.dumps(asdict(told))
        return replace(rewrite, clarification=Clarification(asked.question, asked.options, str(token)))

    def resumed(self, query: Query) -> Query:
        """Return `query` with the answer that it brings in its conversation.

        Raises InputError for a token that is not ours, too old or of another query, and for an answer not offered.
        """
        given = query.clarification
        if given is None:
            return query
        asked = replace(query, clarification=None)
        told = self._read(given.token)
        if told.of != _digest(asked):
            raise InputError("clarification.token: belongs to another query or conversation: send those it came with")
        for label, value in told.options:
            if given.value in {label, value}:
                return answered(asked, told.question, Option(label, value))
        offered = ", ".join(value for _, value in told.options)
        raise InputError(f"clarification.value: expected one of the options that were offered: {offered}")

    def _read(self, token: str) -> _Told:
        try:
            told = _Told(**self._serializer.loads(token, max_age=self._seconds))
        except SignatureExpired as error:
            raise InputError("clarification.token: expired: ask the query again") from error
        except BadSignature as error:
            raise InputError("clarification.token: not one that this service gave out: ask the query again") from error
        return told


def _digest(query: Query) -> str:
    """Name what was asked: text, conversation, profile; not the clock, which goes on meanwhile."""
    turns = [[turn.role, turn.text] for turn in query.history]
    profile = {key: list(query.profile_values(key)) for key in sorted(query.profile)}
    return hashlib.sha256(orjson.dumps([query.query, turns, profile])).hexdigest()[:32]


def _kept_secret(home: Path) -> str:
    """Return the key in `home`, made if there is none; whole before it has its name, whoever else makes one."""
    path = home / SECRET_FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_secret(path)
        kept = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("%s: cannot be used (%s): questions can be answered until this process ends", path, error)
        return secrets.token_hex(32)
    if not kept:
        _log.warning("%s: is empty: remove it; questions can be answered until this process ends", path)
    return kept or secrets.token_hex(32)


def _make_secret(path: Path) -> None:
    half = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        half.touch(mode=0o600, exist_ok=False)
        half.write_text(secrets.token_hex(32), encoding="ascii")
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(half)
    finally:
        half.unlink(missing_ok=True)
