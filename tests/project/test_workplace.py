"""Tests that need the developers' data skip everywhere else, whatever lies beside the checkout."""

from __future__ import annotations

import pytest

from support.paths import shared_path


def test_an_unrelated_folder_is_not_our_workplace(tmp_path):
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    with pytest.raises(pytest.skip.Exception, match=r"needs the project's \.\./shared/data/cifar10"):
        shared_path("data/cifar10", tmp_path)
    (tmp_path / "design.md").write_text("# Another project\n")
    with pytest.raises(pytest.skip.Exception):
        shared_path("data/cifar10", tmp_path)
    (tmp_path / "design.md").write_text("`timm_pushpull.PushPullConv2d`\n")
    assert shared_path("data/cifar10", tmp_path) == tmp_path / "data" / "cifar10"
    with pytest.raises(pytest.skip.Exception):
        shared_path("golden/corruptions.npz", tmp_path)
