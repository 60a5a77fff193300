"""What differs between what is in a folder and what is asked for, in words.

Numbers keep the names of their arguments, which the command line turns into its options.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from thalweg.core.arguments import told

# What keys of a configuration stand for, where they are not words by themselves.
WORDS = {
    "digest": "data",
    "sha256": "data",
    "code": "objective",
    "functions": "functions of the model or the loss",
    "start": "initial parameters",
    "parameters of the start": "initial parameters",
    "records": "times of the records",
    "label": "name",
}
# A change in the first follows from one in the others, which say more.
FOLLOWS = {
    "digest": ("model", "data", "inputs", "examples", "targets", "function", "code", "kind"),
    "functions": ("model", "loss"),
    "start": ("model", "data", "inputs", "examples", "digest", "code", "seeds", "precision"),
    "parameters of the start": ("problem", "precision", "start"),
    "step_size": ("learning_rate", "schedule", "family"),
    "sha256": ("name", "rows", "source"),
    "code": ("function",),
}
LONGEST = 60  # characters of a value that a sentence holds
_DIGEST = re.compile(r"(?:[0-9a-f]{2}){8,32}")


def changes_between(
    old: dict[str, Any], new: dict[str, Any], above: Collection[str] = ()
) -> list[str]:
    """What differs between two configurations, each in words, as "step_size 0.1, now 0.2".

    Digests are told as "other data"; not at all where something that is told explains them.

    Args:
        old: What is there.
        new: What is asked for.
        above: Keys of the configuration around this part that differ, too.

    Examples:
        >>> from thalweg.driver.changes import changes_between
        >>> old = {"dynamics": {"name": "descent", "step_size": 0.1}, "seeds": [0]}
        >>> changes_between(old, {"dynamics": {"name": "descent", "step_size": 0.2}, "seeds": [0]})
        ['step_size 0.1, now 0.2']
    """
    changed = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    if "name" in changed:  # another kind of thing has other numbers
        changed = [key for key in changed if key == "name" or (key in old and key in new)]
    found: list[str] = []
    for key in changed:
        was, now = old.get(key), new.get(key)
        plain = not (_digested(was) or _digested(now))
        if key in FOLLOWS and not (plain and key == "step_size") and (
            {*changed, *above} & {*FOLLOWS[key]}
        ):  # fmt: skip
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            inner = changes_between(was, now, {*above, *changed})
            found += [_named(key, text) for text in inner]
        elif _digested(was) and _digested(now):
            found.append(f"other {WORDS.get(key, key)}")
        elif plain:
            found.append(_pair(key, was, now))
    if not found and changed and not above:  # digests on one side alone
        found = [f"other {WORDS.get(key, key)}" for key in changed[:1]]
    said = [text for text in found if not text.startswith("other ")]
    others = [text for text in dict.fromkeys(found) if text.startswith("other ")]
    return said + others


def _named(key: str, text: str) -> str:
    """What "name" names: a dynamics or data."""
    return re.sub(r"^name ", f"{key} ", text)


def _pair(key: str, was: Any, now: Any) -> str:
    if key == "probes":
        return _probes(was, now)
    words = [_value(value) for value in (was, now)]
    if words[0] == words[1] or max(map(len, words)) > LONGEST:
        return f"other {WORDS.get(key, key)}"
    return f"{key} {words[0]}, now {words[1]}"


def _probes(was: Any, now: Any) -> str:
    """What was measured and what is to be."""
    before, after = ([_probe(text) for text in side or ()] for side in (was, now))
    lost = [each for each in before if each not in after]
    added = [each for each in after if each not in before]
    parts = [f"now also measured: {_and(added)}"] if added else []
    parts += [f"no longer measured: {_and(lost)}"] if lost else []
    return "; ".join(parts) or "other settings of what is measured"


def _probe(text: str) -> str:
    """`SmallestEigenvalue() every 5, digest 7c2c...` in words."""
    found = re.match(r"(\w+)\((.*)\) every (\d+), digest", text, re.DOTALL)
    if found is None:
        return text
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", found[1]).lower()
    name = {"objective": "loss"}.get(name, name)
    return name if found[3] == "1" else f"{name} at every {found[3]} records"


def _value(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, list) and all(isinstance(each, int | float | str) for each in value):
        return _and([str(each) for each in value]) if len(value) <= 8 else f"{len(value)} of them"
    if isinstance(value, dict):
        return str(value.get("name", told(value)))
    return str(value)


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _digested(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
