"""What a notebook shows of a problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.report import Number
from thalweg.report.notebook import card

LONGEST = 200  # letters of a model


def problem_card(about: Mapping[str, Any], count: int) -> str:
    """Its model, data and loss, and how large they are; nothing is computed.

    Args:
        about: As `Problem.describe` gives it.
        count: Of its parameters.
    """
    numbers = [Number("parameters", count)]
    if "examples" not in about:
        name = str(about.get("function", "")).rpartition(".")[2] or str(about.get("kind", ""))
        return card("Problem", name.replace("_", " "), numbers=numbers)
    data = about.get("data", {})
    source = str(data.get("name", "examples")) if isinstance(data, dict) else "examples"
    sizes = " × ".join(map(str, about.get("inputs", [])))
    numbers += [Number("examples", int(about["examples"])), Number("inputs of an example", sizes)]
    if "outputs" in about:
        numbers.append(Number("outputs", int(about["outputs"])))
    over = f"{about.get('reduction', '')} over examples"
    numbers.append(Number("loss", str(about.get("loss", "")), note=over))
    model = " ".join(str(about.get("model", "")).split())
    model = model if len(model) <= LONGEST else f"{model[:LONGEST]}..."
    return card("Problem", f"{model} on {source}", numbers=numbers)
