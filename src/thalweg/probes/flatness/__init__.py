"""How flat the objective is about a point: measures side by side, each with its error and cost."""
