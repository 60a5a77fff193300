"""Operator recurrent networks and boundary control of the wave equation, rerun."""

from __future__ import annotations

from thalweg.lab.card import Card

CARD = Card(
    title="Operator recurrent networks for nonlinear inverse problems",
    source=(
        "M. V. de Hoop, M. Lassas, C. A. Wong: Deep learning architectures for nonlinear operator "
        "functions and nonlinear inverse problems. Mathematical Statistics and Learning 2022, "
        "arXiv:1912.11090"
    ),
    question=(
        "Can a network that applies its input as an operator, again and again, do what the solver "
        "of an inverse problem does?"
    ),
    minutes={"quick": 3.0, "full": 40.0},
    paper_size="part",
    full=(
        "Ten times the media for the solver; nets are trained on up to 8000 media, not on 30000 as "
        "that of the paper's program. "
        "C7, C7d and C8 hold at quick scale and fail there: one draw, one number of media and one "
        "of eight seeds are beyond what they ask."
    ),
    answer=(
        "The solver itself is exact to rounding: from the sound at the end of a half line it finds "
        "every cell's speed, by one factorisation for all depths, and its iteration converges at "
        "the rate of its spectrum. A penalty costs in proportion, and noise asks for one. A net "
        "with the solver's weights is the solver, and trained from there it is far better in as "
        "few applications of the map. From random weights it learns volumes from 200 media with a "
        "sixth of the error of an MLP, and hardly over-fits; with 2000 the MLP is ahead, if it "
        "starts small and reads no rounding, and far behind if not. A penalty on its rank-one "
        "factors leaves an eighth of them and less than half of the gap."
    ),
    deviates=(
        "The paper has no tables: the experiments are those of a specification that follows its "
        "sections and the program that goes with it.",
        "The wave equation is solved on a grid of travel time, where it is exact, beside the grid "
        "of the program; sources are impulses, not smooth bumps.",
        "The net has a fifth of an MLP's error at 2000 media, and a twentieth at 200, only beside "
        "the MLP of the specification: Glorot's start, and entries that are rounding scaled up "
        "with the others. Beside one with neither it is not reproduced, see C7c and C7d.",
        "The bound on the gap is given in its form with constants of our own; it is vacuous at "
        "these sizes.",
        "The net of the program has 10 layers on 126 times and 30000 media, 4 GB of maps; here it "
        "has 5 on 40 times.",
    ),
)
