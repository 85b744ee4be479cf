"""Batch norm over the images of all processes, also where torch has none: on CPUs."""

from __future__ import annotations

import torch
import torch.distributed.nn.functional as distributed
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn


def convert_sync_bn(model: nn.Module, device: torch.device) -> nn.Module:
    """Let the 2-d batch norms of a model take statistics from the batches of all processes; on CPUs in place."""
    if device.type != "cpu":
        return convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) in _ON_CPUS:
            module.__class__ = _ON_CPUS[type(module)]  # parameters, buffers and their names stay
    return model


class _SyncBatchNorm2d(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        shape = (1, -1, 1, 1)
        count = distributed.all_reduce(wide.new_tensor(float(x.numel() // x.shape[1])))
        mean = distributed.all_reduce(wide.sum((0, 2, 3))) / count
        centred = wide - mean.view(shape)
        variance = distributed.all_reduce(centred.square().sum((0, 2, 3))) / count
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class _SyncBatchNormAct2d(_SyncBatchNorm2d, BatchNormAct2d):
    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return BatchNormAct2d.forward(self, x)
        return self.act(self.drop(super().forward(x)))


_ON_CPUS = {nn.BatchNorm2d: _SyncBatchNorm2d, BatchNormAct2d: _SyncBatchNormAct2d}
