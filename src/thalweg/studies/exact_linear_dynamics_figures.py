"""stub"""

FIGURES = ()
