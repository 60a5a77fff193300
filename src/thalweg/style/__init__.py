"""How pictures look in a paper: column widths, letters, fonts that publishers take, colours."""

from thalweg.style.columns import VENUES, Settings, paper

__all__ = ["VENUES", "Settings", "paper"]
