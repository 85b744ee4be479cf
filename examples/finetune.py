# %% [markdown]
# # Fine-tune a released network
#
# The weights of `resnet18_cifar_pushpull.cifar10` come with a clone of the repository. Here their last stage and a
# new head learn handwritten digits. For real work, `train/train.py --recipe finetune` does this with checkpoints and
# a card.

# %%
import numpy as np
import timm
import torch

import timm_pushpull
from timm_pushpull.benchmark import evaluate
from timm_pushpull.data import load_images, normalise

torch.manual_seed(0)
model = timm.create_model("resnet18_cifar_pushpull.cifar10", pretrained=True, num_classes=10)
model.reset_classifier(10)  # a new head: CIFAR-10 has ten classes too, but others
model.requires_grad_(False)
for part in (model.layer4, model.fc):
    part.requires_grad_(True)

# %%
images = load_images("digits", "train").subset(200)
pixels = np.stack([np.asarray(images.read(row)) for row in images.indices])
x = normalise(pixels, model.pretrained_cfg["mean"], model.pretrained_cfg["std"])
y = torch.from_numpy(images.labels[images.indices])
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.001)
model.eval()  # the frozen batch norms keep their statistics
for epoch in range(2):
    for batch in torch.randperm(len(y)).split(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.2f}")

# %%
evaluation = evaluate(model, load_images("digits").subset(50), preset="cifar10-c", corruptions=["fog"], severities=[3])
print(evaluation)
strengths = timm_pushpull.layers.push_pull.push_pull_units(model)[0].alpha
print(f"inhibition strengths from CIFAR-10: {strengths.min():.2f} to {strengths.max():.2f}")
