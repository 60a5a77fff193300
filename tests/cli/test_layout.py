"""Tables fit the terminal, or are told in words; words stay whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.markup import escape

from thalweg.cli import rates
from thalweg.cli.layout import columns

ROW = {
    "method": "gradient descent", "assumption": "Polyak-Lojasiewicz mu", "step": "1/L",
    "complexity": "(L/mu) ln(1/eps_f)", "exponent": 0.05, "exponent_error": 0.004,
    "ratio": 0.988, "holds": True, "said": "holds",
}  # fmt: skip
WORDS = ("descent", "Polyak-Lojasiewicz", "ln(1/eps_f)", "0.0500±0.0040", "0.988", "holds")


def written(width: int, draw: object) -> list[str]:
    file = io.StringIO()
    draw(Console(file=file, width=width, highlight=False, soft_wrap=True))  # type: ignore[operator]
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 40, 80, 140])
def test_words_of_a_table_stay_whole(width: int) -> None:
    headings = ("optimiser", "best at", "final loss")
    rows = [["[green]momentum[/]", "0.1", "(0.8 ± 2.5)×10⁻⁸"], [escape("gd[x]"), "–", "diverged"]]
    lines = written(width, lambda console: columns(console, headings, rows, headings[:1]))
    assert max(map(len, lines)) <= width
    for word in ("momentum", "gd[x]", "×10⁻⁸", "diverged", "final loss"):
        assert any(word in line for line in lines), word
    assert lines[0].startswith("optimiser") == (width >= 36)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_words_of_the_table_of_rates_stay_whole(width: int) -> None:
    class Found:
        assumptions = ()
        folder = None

        @staticmethod
        def rows() -> list[dict[str, object]]:
            return [ROW, ROW | {"ratio": float("nan"), "exponent": float("nan"), "said": "quoted"}]

    console = Console(file=io.StringIO(), width=width, highlight=False, soft_wrap=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "screen", lambda: console)
        rates.show(Found)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    for word in (*WORDS, "quoted"):
        assert any(word in line for line in lines), word
