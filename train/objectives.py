"""What a network learns: the classes of images, or a hash that images of one class share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from settings import Settings
from timm_pushpull.benchmark.hashing import csq_loss, hash_targets


class Classes:
    """Cross-entropy; an output per class."""

    def __init__(self, settings: Settings) -> None:
        self.smoothing = settings.label_smoothing

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The sum of the images' losses."""
        return F.cross_entropy(outputs, labels, reduction="sum", label_smoothing=self.smoothing)

    def logits(self, outputs: Tensor) -> Tensor:
        """A number per class, (N, classes), whose largest says for which class an image is taken."""
        return outputs

    def classifier(self, network: nn.Module) -> nn.Module:
        """The network with `logits` as its outputs."""
        return network


class Hashes:
    """Central similarity quantization: an output per bit, driven to the hash of the image's class."""

    def __init__(self, settings: Settings) -> None:
        self.targets = hash_targets(settings.num_classes, settings.hash_bits)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return csq_loss(outputs, self._targets(outputs)[labels], reduction="sum")

    def logits(self, outputs: Tensor) -> Tensor:
        """Of a class, how many bits agree with its hash less how many do not: the nearest hash has the largest."""
        return outputs.sign().float() @ self._targets(outputs).T

    def classifier(self, network: nn.Module) -> nn.Module:
        return _Classifier(network, self)

    def _targets(self, outputs: Tensor) -> Tensor:
        self.targets = self.targets.to(outputs.device)
        return self.targets


class _Classifier(nn.Module):
    def __init__(self, network: nn.Module, objective: Hashes) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, images: Tensor) -> Tensor:
        return self.objective.logits(self.network(images))


def objective(settings: Settings) -> Classes | Hashes:
    """What the settings' task makes of outputs."""
    return Hashes(settings) if settings.task == "retrieval" else Classes(settings)
