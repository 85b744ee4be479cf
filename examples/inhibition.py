# %% [markdown]
# # Convert a network and turn the inhibition knob
#
# `convert_stem` makes the first convolution of a network a push-pull unit, `set_inhibition` sets its strength alpha.
# Here a small network is converted, trained on handwritten digits with alpha = 1, and measured with other strengths.

# %%
import matplotlib.pyplot as plt
import numpy as np
import timm
import torch

import timm_pushpull
from timm_pushpull.benchmark import evaluate
from timm_pushpull.data import load_images, normalise

torch.manual_seed(0)
model = timm.create_model("resnet18_cifar", num_classes=10, layers=[1, 1, 1, 1], channels=[16, 16, 32, 32])
model = timm_pushpull.convert_stem(model, avg_size=3, alpha=1.0, trainable_alpha=False)
images = load_images("digits", "train").subset(400)
pixels = np.stack([np.asarray(images.read(row)) for row in images.indices])
x = normalise(pixels, model.pretrained_cfg["mean"], model.pretrained_cfg["std"])
y = torch.from_numpy(images.labels[images.indices])
optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
for _epoch in range(5):
    for batch in torch.randperm(len(y)).split(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()

# %%
strengths = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
options = {"preset": "cifar10-c", "corruptions": ["gaussian_noise"], "severities": [3], "progress": False}
measured = []
for alpha in strengths:
    timm_pushpull.set_inhibition(model, alpha)
    measured.append(evaluate(model, load_images("digits").subset(200), **options))

# %%
figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
axes.plot(strengths, [100 * one.clean_error for one in measured], "o-", label="clean images")
axes.plot(
    strengths, [100 * one.errors["gaussian_noise"][2] for one in measured], "s--", label="Gaussian noise, severity 3"
)
axes.axvline(1.0, color="grey", lw=1, ls=":", label="trained with this α")
axes.set(xlabel="inhibition strength α", ylabel="top-1 error (%)", ylim=(0, None))
axes.legend()
figure.savefig("inhibition.png", dpi=150)

# %% [markdown]
# A network errs least near the strength that it was trained with. What push-pull does shows between networks that are
# each trained with their own strength, as in the paper's Table 3, and on more images than these.
