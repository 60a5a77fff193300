"""Who must be in a room's table: the classes of a kind that can be made there, and their makers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any


def classes_in(package: ModuleType, of: type) -> set[type]:
    """All classes of a kind that a package defines and that can be made, but for studies' own."""
    below = {kind for child in of.__subclasses__() for kind in {child} | classes_in(package, child)}
    return {
        kind
        for kind in below
        if kind.__module__.startswith(f"{package.__name__}.") and not inspect.isabstract(kind)
        if not kind.__module__.startswith("thalweg.studies.")
    }


def makers_in(room: ModuleType, of: Any) -> dict[str, Callable[..., Any]]:
    """The exported functions that are annotated to make one of a kind, or of several."""
    makers = {}
    for name in room.__all__:
        function = inspect.unwrap(getattr(room, name))
        if inspect.isfunction(function):
            made = inspect.get_annotations(function, eval_str=True).get("return")
            if inspect.isclass(made) and issubclass(made, of):
                makers[name] = function
    return makers
