"""What a network is trained for: the classes of images, or a hash that images of one class share."""

from __future__ import annotations

import torch.nn.functional as F
from timm import loss
from torch import Tensor, nn

from timm_pushpull.benchmark.hashing import csq_loss, hash_targets
from timm_pushpull.utils.hardware import upload
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


class BinaryCrossEntropy(CrossEntropy):
    """Classification by one yes or no per class, as in timm and in "ResNet strikes back" (Wightman et al. 2021)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._loss = loss.BinaryCrossEntropy(
            smoothing=0, target_threshold=settings.bce_target_thresh, sum_classes=settings.bce_sum
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum over the images of the mean over the classes (or their sum); arguments as in `CrossEntropy`."""
        classes = outputs.shape[1]
        if not targets.is_floating_point():
            targets = F.one_hot(targets, classes).to(outputs.dtype)
        targets = targets * (1 - self.smoothing) + self.smoothing / classes
        return self._loss(outputs, targets) * len(outputs)


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
        self.targets = upload(self.targets, outputs.device)
        return self.targets


class _Classifier(nn.Module):
    def __init__(self, network: nn.Module, objective: CentralSimilarity) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, images: Tensor) -> Tensor:
        return self.objective.logits(self.network(images))


def create_objective(settings: Settings) -> CrossEntropy | CentralSimilarity:
    """The objective of the settings' task."""
    if settings.task == "retrieval":
        return CentralSimilarity(settings)
    return BinaryCrossEntropy(settings) if settings.bce_loss else CrossEntropy(settings)
