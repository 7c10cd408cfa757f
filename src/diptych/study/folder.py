"""The folder of a study: what it holds, who may read it, and the lock of the one process that serves it.

study.json      protocol, methods, texts, and which picture is what
pictures/       the pictures under random names, all of one format, size and number of bytes
secrets.json    the key that signs sessions and codes, and the hash of the owner's token
answers.sqlite  participants and answers, or database.json: where they are in PostgreSQL
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from diptych.errors import ConfigError, DataError, LockedError
from diptych.files import write_atomic
from diptych.messages import show
from diptych.schemas import MAPPING, Whole, checked, read_json
from diptych.study.protocol import Cards, Protocol

FORMAT = 1
REAL, CATCH, INPUT = "real", "catch", "input"  # what a picture is, when no method made it


class _Study(TypedDict):
    """The types in study.json; Protocol and Study check the rest."""

    format: int
    title: str
    protocol: dict[str, Any]
    methods: list[str]
    pictures: dict[str, dict[str, str]]
    consent: dict[str, str]
    invited_only: bool
    width: int
    height: int


class _Secrets(TypedDict):
    key: str
    owner: str


NUMBER = TypeAdapter(Whole)
STUDY: TypeAdapter[Any] = TypeAdapter(_Study)
SECRETS = TypeAdapter(_Secrets)


@dataclass(frozen=True)
class Picture:
    """A picture of a study: ``source`` is real, catch, input or the name of a method, ``name`` that of its file."""

    source: str
    name: str


@dataclass(frozen=True)
class Study:
    """A study as its folder describes it. ``pictures`` are by id, ``consent`` is the text to agree to, by language."""

    folder: Path
    title: str
    protocol: Protocol
    methods: tuple[str, ...]
    pictures: Mapping[str, Picture]
    consent: Mapping[str, str]
    invited_only: bool
    width: int
    height: int

    def named(self, source: str) -> dict[str, str]:
        """The ids of the pictures of one source, by name."""
        return {picture.name: id for id, picture in self.pictures.items() if picture.source == source}

    def cards(self) -> Cards:
        """The pictures to draw trials from."""
        fake = {method: self.named(method) for method in self.methods}
        return Cards(self.named(REAL), fake, self.named(CATCH), self.named(INPUT))

    def file(self, id: str) -> Path:
        """The file of a picture."""
        return self.folder / "pictures" / f"{id}.png"

    def check_pictures(self) -> None:
        """Raise DataError where the file of a picture is not there: participants would wait for it for ever."""
        if missing := [id for id in self.pictures if not self.file(id).is_file()]:
            raise DataError(
                f"{show(self.file(missing[0]))}: {len(missing):,} of {len(self.pictures):,} pictures are not there; "
                "restore the folder from a backup"
            )

    def consent_version(self, language: str) -> str:
        """A short hash of the text in this language, kept with each participant who agreed to it."""
        return hashlib.sha256(self.consent[language].encode()).hexdigest()[:12]

    def save(self) -> None:
        """Write study.json."""
        value = asdict(self) | {"format": FORMAT, "methods": list(self.methods)}
        del value["folder"]
        path = self.folder / "study.json"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # what is real is nobody else's to read; the mode stays
        write_atomic(path, json.dumps(value, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read a study. Raises ConfigError when the folder holds none, or one of a newer version."""
        path = folder / "study.json"
        try:
            value = read_json(path, MAPPING, "restore the folder from a backup", ConfigError)
            if checked(value.get("format"), NUMBER) > FORMAT:
                raise ConfigError(f"{show(path)}: was written by a newer diptych; update diptych to read it")
            value = checked(value, STUDY)
            del value["format"]
            value["protocol"] = Protocol(**value["protocol"])
            value["pictures"] = {id: Picture(**picture) for id, picture in value["pictures"].items()}
            return cls(folder, **value | {"methods": tuple(value["methods"])})
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConfigError(f"{show(folder)}: holds no study; make one with diptych study new {show(folder)}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{show(path)}: cannot be read as a study ({error})") from error


@dataclass(frozen=True)
class Secrets:
    """The key of sessions and codes, and the SHA-256 of the owner's token, which itself is kept nowhere."""

    key: bytes
    owner: str

    @property
    def study(self) -> str:
        """What the study's server calls it: a hash of the key, which tells studies apart and nothing about the key."""
        return hashlib.sha256(b"diptych study " + self.key).hexdigest()[:16]

    @classmethod
    def load(cls, folder: Path) -> Secrets:
        """Read secrets.json. Raises DataError when it is damaged."""
        try:
            value = read_json(folder / "secrets.json", SECRETS, "restore it from a backup")
            return cls(bytes.fromhex(value["key"]), value["owner"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{show(folder / 'secrets.json')}: cannot be read ({error}); restore it from a backup") from error


def new_token(folder: Path, key: bytes | None = None) -> str:
    """Make a new token for the owner, which replaces the former one; ``key`` is that of a new study."""
    token = secrets.token_urlsafe(24)
    value = {"key": (key or Secrets.load(folder).key).hex(), "owner": hash_of(token)}
    path = folder / "secrets.json"
    if not path.exists():  # so that a replacement keeps this mode and the file is never readable for others
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    write_atomic(path, json.dumps(value).encode())
    return token


def hash_of(token: str) -> str:
    """The SHA-256 of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Hold the lock of the one process that serves a study. Raises LockedError while another process holds it."""
    import fcntl

    with open(folder / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError(f"{show(folder)}: another process serves this study; stop it first") from error
        yield
