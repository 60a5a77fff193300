"""Whether two runs of `thalweg verify --json` say the same: claims, verdicts, every check's number.

    python tools/same_claims.py before.json after.json [--relative 1e-6]

A study that was renamed is matched by what the package knows of former names, a part by its words.
Exits with 1 if a claim or a part is gone, a verdict has changed, or a number has moved by more
than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from thalweg.studies import FORMER


def rows(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Claims by study and id."""
    table = json.loads(path.read_text())
    return {(FORMER.get(row["study"], row["study"]), row["claim"]): row for row in table}


def numbered(row: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The checks of a claim by their words, and which of those that are called alike."""
    words = [part["what"] for part in row["parts"]]
    return {(w, words[:i].count(w)): row["parts"][i] for i, w in enumerate(words)}


def apart(a: Any, b: Any) -> float:
    """Relative distance of two numbers; 0 for equal texts, infinity for different ones."""
    try:
        x, y = float(a), float(b)
    except (TypeError, ValueError):
        return 0.0 if str(a) == str(b) else math.inf
    if x == y or (math.isnan(x) and math.isnan(y)):
        return 0.0
    return abs(x - y) / max(abs(x), abs(y))


def differences(old: dict[str, Any], new: dict[str, Any], relative: float) -> list[str]:
    """What a claim says otherwise than before."""
    said = []
    before, verdict = (row["verdict"].removesuffix(" at reduced scale") for row in (old, new))
    if before != verdict or old["statement"] != new["statement"]:
        said.append(f"{old['verdict']} -> {new['verdict']}, statement {old['statement']!r}")
    parts = numbered(new)
    for name_of, part in numbered(old).items():
        other = parts.get(name_of)
        if other is None:
            said.append(f"part {part['what']!r} is gone")
            continue
        if part["holds"] != other["holds"]:
            said.append(f"{part['what']}: holds {part['holds']} -> {other['holds']}")
        for name in ("measured", "expected", "tolerance"):
            moved = apart(part[name], other[name])
            tiny = name == "measured" and _rounding(part, other)
            if moved > relative and not tiny:
                said.append(f"{part['what']}: {name} {part[name]} -> {other[name]} ({moved:.1e})")
    return said


def _rounding(part: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both measure nothing but rounding: errors far below what they are held against."""
    try:
        return max(abs(float(part["measured"])), abs(float(other["measured"]))) < 1e-12
    except (TypeError, ValueError):
        return False


def main() -> None:
    """Compare two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--relative", type=float, default=1e-6)
    parser.add_argument("--study", default="", help="only studies whose name starts so")
    asked = parser.parse_args()
    before, after = rows(asked.before), rows(asked.after)
    before = {k: v for k, v in before.items() if k[0].startswith(asked.study)}
    failed = False
    for key, row in before.items():
        said = differences(row, after[key], asked.relative) if key in after else ["is gone"]
        failed |= bool(said)
        for text in said:
            print(*key, text)
    parts = sum(len(row["parts"]) for row in before.values())
    print(f"{len(before)} claims of {parts} checks compared: {'different' if failed else 'same'}")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
