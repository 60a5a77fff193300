"""What there is: `thalweg list`, `thalweg show NAME`, `thalweg studies`. Imports no JAX."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from thalweg.cli import catalogue, layout
from thalweg.cli.diagnose import comparison_options, problem_options, training_options
from thalweg.cli.streams import screen
from thalweg.core.aliases import plainly
from thalweg.core.errors import InputError

# What a list is of, for those that are no plain word.
KINDS = {
    "data": "data", "dynamics": "a process that moves parameters",
    "losses": "a loss", "studies": "a study",
    "margin-losses": "a loss of a margin",
    "activations": "an activation", "initialisers": "an initialiser", "optimisers": "an optimiser",
    "oracles": "an oracle", "options": "an option of thalweg diagnose",
}  # fmt: skip


def _lists(incomplete: str) -> list[str]:
    return [name for name in catalogue.LISTS if name.startswith(incomplete)]


def _names(incomplete: str) -> list[str]:
    every = catalogue.names_of(*catalogue.LISTS).values()
    return sorted({name for names in every for name in names if name.startswith(incomplete)})


def study_names(incomplete: str) -> list[str]:
    """The studies whose name begins so, for a shell."""
    from thalweg.studies import STUDIES

    return [slug for slug in STUDIES if slug.startswith(incomplete)]


def list_names(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="LIST",
            help=f"{', '.join(catalogue.LISTS)}; without one, how many of each there are.",
            autocompletion=_lists,
        ),
    ] = None,
) -> None:
    """List what there is by name, each with a line on what it is and what else people type.

    Example: `thalweg list optimisers`
    """
    console = screen()
    if what is None:
        rows = []
        for of, names in catalogue.names_of(*catalogue.LISTS).items():
            few = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            rows.append((of, f"{len(names)}: {few}"))
        layout.named(console, rows)
        console.print()
        layout.paragraph(
            console,
            "thalweg list probes: the names of one list; thalweg show sharpness: all about a name.",
        )
        return
    rows = []
    for entry in catalogue.entries(catalogue.list_named(what)):
        also = f" Also: {', '.join(entry.also)}." if entry.also else ""
        rows.append((entry.name, _sentence(entry.meaning) + also))
    layout.named(console, rows)


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A name that `thalweg list` shows, a unique beginning of one, or an option.",
            autocompletion=_names,
        ),
    ],
    of: Annotated[
        str | None,
        typer.Option(
            "--of", help="The list to look in, where several have it.", autocompletion=_lists
        ),
    ] = None,
) -> None:
    """Say what a name stands for: what it is, formula and units, parameters, source, an example.

    Example: `thalweg show sharpness --of probes`
    """
    console = screen()
    found = catalogue.named(name, of, _options)
    if len(found) > 1:
        kinds = ", ".join(f"{_kind(entry.of)} ({entry.name})" for entry in found)
        layout.paragraph(console, f"{name!r} is in several lists: {kinds}; --of takes one.")
    for j, entry in enumerate(found):
        if j or len(found) > 1:
            console.print()
        console.print(Text(f"{entry.name}, {_kind(entry.of)}", "bold"))
        layout.docstring(console, entry.text)
        if entry.of == "studies":
            _claims(console, entry.name)
        if entry.also:
            layout.paragraph(console, f"Also: {', '.join(entry.also)}.")
        for line in entry.use:
            if line.startswith("thalweg "):
                console.print(Text(f"$ {line}"))
            else:
                layout.paragraph(console, line, indent=2)


def _options() -> Iterator[catalogue.Entry]:
    """The options of `thalweg diagnose`, which are of no list: what is typed is looked up there."""
    for each in (*problem_options(), *training_options(), *comparison_options()):
        about = each.annotation.__metadata__[0]
        flags = [f for f in (about.default, *(about.param_decls or ())) if isinstance(f, str)]
        name, *also = [flag.removeprefix("--") for flag in flags] or [each.name]
        use = (f"thalweg diagnose digits --{plainly(name)} ...", "thalweg diagnose --help")
        if each.kind is each.KEYWORD_ONLY:
            yield catalogue.Entry(
                plainly(name), "options", partial(str, about.help), use, tuple(also)
            )


def _claims(console: Console, slug: str) -> None:
    """Size and claims of a study, the claims read off its source."""
    from thalweg.lab.card import PAPER_SIZE
    from thalweg.studies import STUDIES, card_of

    card = card_of(slug)
    quick, full = (f"{card.minutes[scale]:g} min" for scale in ("quick", "full"))
    size = f"Quick takes about {quick}, full about {full}: {PAPER_SIZE[card.paper_size]}."
    layout.paragraph(console, f"{size} {card.full}")
    console.print("\nClaims", style="bold")
    rows = catalogue.claims_of(f"{STUDIES[slug]}.claims")
    layout.named(console, rows)
    if card.deviates:
        console.print("\nWhere it departs from the paper", style="bold")
    for text in card.deviates:
        layout.paragraph(console, text)
    console.print()


def studies() -> None:
    """List the papers: what each asks, minutes and size at both scales, claims reproduced here."""
    from thalweg.lab.card import PAPER_SIZE, claims_held, default_folder
    from thalweg.studies import STUDIES, card_of

    console = screen()
    for slug in STUDIES:
        card = card_of(slug)
        try:
            held = claims_held(default_folder(slug, "quick"))
            tally = "not run here yet" if held is None else f"{held[0]} of {held[1]} reproduced"
        except InputError as error:
            tally = str(error)
        quick, full = (f"{card.minutes[scale]:g} min" for scale in ("quick", "full"))
        layout.paragraph(console, slug, style="bold")
        layout.paragraph(console, card.question, indent=4)
        about = f"quick about {quick}; full about {full}, {PAPER_SIZE[card.paper_size]}; {tally}"
        layout.paragraph(console, about, indent=4, style="dim")


def _kind(of: str) -> str:
    return KINDS.get(of, f"a {of.removesuffix('s')}")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
