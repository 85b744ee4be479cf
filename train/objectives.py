"""What a network is trained for: the classes of images, or a hash that images of one class share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from timm_pushpull.benchmark.hashing import csq_loss, hash_targets
from train.settings import Settings


class CrossEntropy:
    """Classification: an output per class."""

    def __init__(self, settings: Settings) -> None:
        self.smoothing = settings.smoothing

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the losses of the images.

        Args:
            outputs: Shape (N, classes).
            targets: Classes, int64 of shape (N,), or probabilities of shape (N, classes).
        """
        return F.cross_entropy(outputs, targets, reduction="sum", label_smoothing=self.smoothing)

    def logits(self, outputs: Tensor) -> Tensor:
        """A number per class, shape (N, classes); the largest is that of the predicted class."""
        return outputs

    def classifier(self, network: nn.Module) -> nn.Module:
        """The network with `logits` as its outputs."""
        return network


class CentralSimilarity:
    """Retrieval by central similarity quantization (Yuan et al. 2020): an output per bit of the hash of the class."""

    def __init__(self, settings: Settings) -> None:
        assert settings.num_classes
        self.targets = hash_targets(settings.num_classes, settings.hash_bits)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The sum of the losses of the images, outputs of shape (N, bits)."""
        return csq_loss(outputs, self._targets(outputs)[labels], reduction="sum")

    def logits(self, outputs: Tensor) -> Tensor:
        """Per class, the bits that agree with its hash less those that do not: the nearest hash has the largest."""
        return outputs.sign().float() @ self._targets(outputs).T

    def classifier(self, network: nn.Module) -> nn.Module:
        return _Classifier(network, self)

    def _targets(self, outputs: Tensor) -> Tensor:
        self.targets = self.targets.to(outputs.device)
        return self.targets


class _Classifier(nn.Module):
    def __init__(self, network: nn.Module, objective: CentralSimilarity) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, images: Tensor) -> Tensor:
        return self.objective.logits(self.network(images))


def create_objective(settings: Settings) -> CrossEntropy | CentralSimilarity:
    """The objective of the settings' task."""
    return CentralSimilarity(settings) if settings.task == "retrieval" else CrossEntropy(settings)
