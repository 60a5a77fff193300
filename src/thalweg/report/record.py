"""Base of the records of a page: plain data, to JSON and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Self

from thalweg.core.errors import InputError, require, unknown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FLOAT = "$float"


class Record:
    """Base of the records: conversion to and from JSON, lists taken as tuples, names checked."""

    _choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    _names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for spec in fields(self):  # type: ignore[arg-type]
            value = getattr(self, spec.name)
            where = f"{type(self).__name__}.{spec.name}"
            if "of" in spec.metadata:
                object.__setattr__(self, spec.name, _items(value, spec.metadata["of"], where))
            elif isinstance(value, list):
                object.__setattr__(self, spec.name, tuple(value))
        for name, allowed in self._choices.items():
            require(getattr(self, name) in allowed, unknown(getattr(self, name), allowed, name))
        for name in self._names:
            check_name(getattr(self, name), f"{type(self).__name__}.{name}")

    def to_json(self) -> dict[str, Any]:
        """The record as a dictionary of JSON values."""
        return {f.name: _encode(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote.

        Raises:
            InputError: If a key is missing, unknown, or its value is not allowed.
        """
        title = cls.__name__
        require(isinstance(data, Mapping), f"{title} must be a JSON object, got {data!r:.60}.")
        specs = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        for key in data:
            require(key in specs, unknown(key, specs, f"{title} key"))
        for key, spec in specs.items():
            optional = spec.default is not MISSING or spec.default_factory is not MISSING
            require(key in data or optional, f"{title} lacks its key {key!r}; write it again.")
        return cls(**{key: _decode(value, specs[key].metadata) for key, value in data.items()})


def check_name(name: str, where: str) -> None:
    """Raise unless a name can be a file name and an HTML id everywhere."""
    require(
        isinstance(name, str) and _NAME.fullmatch(name) is not None,
        f"{where} is {name!r}; use letters, digits, '-' and '_' only, since it names a file.",
    )


def _items(value: Any, kind: type, where: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise InputError(f"{where} must be a list of {kind.__name__}, got {value!r:.60}.")
    for item in value:
        require(
            isinstance(item, kind), f"{where} must hold {kind.__name__} only, got {item!r:.60}."
        )
    return tuple(value)


def _encode(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if value is not None and not isinstance(value, (bool, int, float, str)):
        # A NumPy or JAX scalar; anything larger belongs into a dataset.
        require(
            getattr(value, "shape", None) == (),
            f"a page holds numbers and text only, got {value!r:.60}; store arrays in a dataset.",
        )
        value = value.item()
    if isinstance(value, float):
        value = float(value)
        if not math.isfinite(value):
            return {_FLOAT: str(value)}
    return value


def _decode(value: Any, metadata: Mapping[str, Any]) -> Any:
    of = metadata.get("of")
    if isinstance(value, list):
        if of is not None and issubclass(of, Record):
            return tuple(of.from_json(item) for item in value)
        return tuple(_decode(item, {}) for item in value)
    if isinstance(value, Mapping):
        if set(value) == {_FLOAT}:
            return float(value[_FLOAT])
        return {key: _decode(item, {}) for key, item in value.items()}
    return value
