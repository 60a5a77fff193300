"""One word, one thing: a public name is given once, and what a room exports is of its kind."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "thalweg"
OWN_WORDS = {"studies", "lab", "cli", "torch"}  # of a paper, checks, commands, PyTorch's loops


def public_names(text: str) -> list[str]:
    """Functions and classes that a module defines at its top, without those of its own use."""
    made = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = (node for node in ast.parse(text).body if isinstance(node, made))
    return [
        node.name
        for node in nodes
        if not node.name.startswith("_")
        and "overload" not in map(ast.unparse, node.decorator_list)  # signatures of what follows
    ]


def test_the_reader_sees_functions_and_classes_at_the_top_alone():
    text = "def f():\n    def inner(): ...\nclass C:\n    def m(self): ...\ndef _g(): ...\nx = 1"
    assert public_names(text) == ["f", "C"]


def test_a_public_name_is_given_once():
    places = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] not in OWN_WORDS:
            for name in public_names(path.read_text(encoding="utf-8")):
                places[name].append(str(inside))
    assert len(places) > 500
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
