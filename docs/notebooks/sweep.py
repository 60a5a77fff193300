# %% [markdown]
# # A sweep
#
# You have a net that learns, and a learning rate that somebody chose. How far may it go up before training is
# something else? Nine step sizes, three seeds each, run as one program; gradient flow beside them says what they
# would do in the limit of small steps.

# %%
import numpy as np

import thalweg as tw

problem = tw.problem("digits", samples=100, model="mlp:16", activation="tanh", loss="squared-error")
sizes = np.geomspace(0.005, 0.3, 9)
swept = tw.sweep(problem, tw.gradient_descent, step_size=sizes, until=6.0, records=20, seeds=3)
swept

# %% [markdown]
# ## The map
#
# Each run gets the regime that `tw.compare` gives it. A point is a run, its height the distance from the flow as a
# share of the way that the flow travels.

# %%
regimes = swept.regimes(eps=0.05)
regimes

# %% [markdown]
# ## The answer
#
# Boundaries are brackets, as the grid has steps and seeds differ: up to the lower end it holds for every seed, from the
# upper end on for none. Between them a finer grid would tell.

# %%
for boundary in regimes.boundaries:
    low, high = boundary.bracket
    print(f"{boundary.name}: up to a step size between {low:.3g} and {high:.3g}")

# %% [markdown]
# ## Sharpness of all members
#
# What bounds them: each step size has its line 2/eta, and the sharpness of those that train cannot stay above it. Bands
# are the errors that were measured with the values; here they are hardly wider than the lines.

# %%
kept = tw.sweep(problem, tw.gradient_descent, step_size=[0.01, 0.06, 0.1], until=6.0, records=40)
ax = kept.plot("sharpness")
for step_size in (0.06, 0.1):
    ax.axhline(2 / step_size, color="0.5", linestyle=":")
