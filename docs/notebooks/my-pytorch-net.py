# %% [markdown]
# # My PyTorch net
#
# You have a module, data, and a loop of your own that you keep. Two questions: is the learning rate in a sane place,
# and what limits it? `torch` must be there: `pip install 'thalweg[torch]'`.

# %%
import numpy as np
import torch
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

import thalweg as tw

x, y = load_digits(return_X_y=True)
x, y = x[:200] / 16, y[:200]
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.GELU(), torch.nn.Linear(32, 10))

# %% [markdown]
# ## The same net, in JAX
#
# One line. At construction outputs, gradient and a Hessian product are held against PyTorch's own, in double precision.

# %%
model = tw.models.from_torch(net, x[:1])
model.agreement

# %% [markdown]
# ## Is this learning rate sane?

# %%
problem = tw.problem((x, y), model=net)
found = tw.diagnose(problem, tw.gradient_descent(0.5), until=40.0, records=30, out="torch-net")
found

# %% [markdown]
# ## The loop that you have
#
# A tracker measures beside it, on a copy: your net, optimizer and random state are left alone. Each value comes with
# its error: the true eigenvalue lies within it of the value.

# %%
inputs, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
loss = torch.nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
tracker = tw.torch.Tracker(net, loss, optimizer)
seen = []
for step in range(101):
    if step % 10 == 0 and step:
        record = tracker.measure((inputs, labels))
        now = record["preconditioned_sharpness"]
        seen.append((step, float(now.value), float(now.error), float(record.threshold)))
    optimizer.zero_grad()
    loss(net(inputs), labels).backward()
    optimizer.step()
print(record)

# %%
step, value, error, threshold = np.array(seen).T
figure, ax = plt.subplots(figsize=(4.2, 2.9), layout="constrained")
ax.errorbar(step, value, yerr=error, marker="o", label="preconditioned sharpness")
ax.plot(step, threshold, ":", color="0.3", label="threshold of Adam")
ax.set(xlabel="step", ylabel="1/learning rate", yscale="log")
ax.legend()
