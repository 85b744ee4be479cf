# %% [markdown]
# # Measure a timm model under fog and noise
#
# `evaluate` takes any timm model. This one is trained here in a few seconds, on the handwritten digits that come with
# scikit-learn, so that the example needs no download.

# %%
import numpy as np
import timm
import torch

import timm_pushpull  # noqa: F401  # registers the networks
from timm_pushpull.benchmark import evaluate
from timm_pushpull.data import load_images, normalise

torch.manual_seed(0)
model = timm.create_model("resnet18_cifar", num_classes=10, layers=[1, 1, 1, 1], channels=[16, 16, 32, 32])
images = load_images("digits", "train").subset(400)
pixels = np.stack([np.asarray(images.read(row)) for row in images.indices])
x = normalise(pixels, model.pretrained_cfg["mean"], model.pretrained_cfg["std"])
y = torch.from_numpy(images.labels[images.indices])

# %%
optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
for _epoch in range(5):
    for batch in torch.randperm(len(y)).split(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()

# %% [markdown]
# Images are corrupted on the fly, with the constants of CIFAR-10-C. The table is in percent; Python values are
# fractions.

# %%
test_images = load_images("digits").subset(100)
evaluation = evaluate(model, test_images, preset="cifar10-c", corruptions=["fog", "gaussian_noise"])
print(evaluation)
print(f"fog at severity 5: {evaluation.errors['fog'][4]:.0%} of the images are wrong")

# %% [markdown]
# The results file is what `timm-pushpull info`, `compare`, `plot` and `report` read.

# %%
evaluation.save("measured.json", model)
