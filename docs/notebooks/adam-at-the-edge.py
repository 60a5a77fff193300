# %% [markdown]
# # Adam at the edge
#
# Adam has no sharpness of 2/eta to fear: it rescales every parameter, and what counts is the curvature in its own
# metric. Does it have an edge of stability, where, and what is the smooth path that it would follow with tiny steps?

# %%
import thalweg as tw

problem = tw.problem("digits", samples=100, model="mlp:16", activation="tanh", loss="squared-error")
adam = tw.dynamics.optimiser("adam", 0.01, b1=0.5)
found = tw.diagnose(problem, adam, until=4.0, records=40, out="adam")
found

# %% [markdown]
# The flow beside Adam is its own continuous limit, the preconditioned flow with Adam's decays, not gradient flow. The
# two can be compared at equal time.

# %%
print(found.comparison)

# %% [markdown]
# ## Two curvatures
#
# On the left the sharpness, of which no threshold is known for Adam; beside it the preconditioned sharpness with the
# line that Adam's steps bear: the flow stays far above it, Adam comes down to it and stays. Bands are errors.

# %%
axes = found.plot("curvature")
axes[0].figure.set_size_inches(8, 3.4)

# %%
table = found.descent.dataset.isel(seed=0, time=slice(-5, None))
rule = found.comparison.rule
for value, error in zip(
    table["preconditioned_sharpness"].values,
    table["preconditioned_sharpness_error"].values,
    strict=True,
):
    print(f"{value:.1f} +- {error:.1f} of {rule.threshold:.1f} = {rule.formula}")

# %% [markdown]
# ## A smaller step

# %%
calm = tw.dynamics.optimiser("adam", 0.001, b1=0.5)
slow = tw.diagnose(problem, calm, until=0.4, records=40, out="calm")
print(slow.comparison.sentence)
slow.plot("curvature", panel="b")
