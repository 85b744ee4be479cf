"""The tests' Hub against timm, transformers, datasets and the `hf` command, which read its address when they start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support.hub_client import WEIGHTS, write_files
from support.hub_server import TOKEN

pytestmark = pytest.mark.slow  # the other tests use each of these clients too

CLIENTS = """
import json, os, sys
import datasets, timm, torch, transformers
from huggingface_hub import ModelCard, ModelCardData

model = timm.create_model("test_resnet", num_classes=3).eval()
timm.models.push_to_hf_hub(model, "me/t", model_config={"tag": "x"}, safe_serialization=True, private=True)
x = torch.ones(1, 3, 64, 64)
again = timm.create_model("hf-hub:me/t", pretrained=True).eval()
assert torch.equal(model(x), again(x))
assert transformers.AutoConfig.from_pretrained("me/t").architecture == "test_resnet"

config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=2)
transformers.ResNetForImageClassification(config).push_to_hub("me/r")
assert transformers.AutoModelForImageClassification.from_pretrained("me/r").config.num_labels == 2

ModelCard.from_template(ModelCardData(license="mit"), model_id="m").push_to_hub("me/r")
assert ModelCard.load("me/r").data.license == "mit"

for name, kind in (("me/photos", datasets.Image), ("me/table", datasets.Value)):
    rows = datasets.load_dataset(name, split="train")
    assert len(rows) == 2, rows
    assert any(isinstance(feature, kind) for feature in rows.features.values()), rows
rows.push_to_hub("me/pushed")
assert len(datasets.load_dataset("me/pushed", split="train")) == 2
"""


def test_other_clients(hub, tmp_path):
    folder = write_files(tmp_path / "folder")
    photos, table = tmp_path / "p.png", tmp_path / "t.parquet"
    Image.new("RGB", (4, 4)).save(photos)
    pytest.importorskip("pandas").DataFrame({"a": [1, 2]}).to_parquet(table)
    names = ["train/dark/0.png", "train/light/1.png"]
    hub.add("me/photos", dict.fromkeys(names, photos.read_bytes()), kind="dataset")
    hub.add("me/table", {"data/train-00000-of-00001.parquet": table.read_bytes()}, kind="dataset")
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}
    environment.pop("HF_HUB_CACHE", None)  # HF_HOME is to say where
    hf = Path(sys.executable).with_name("hf")
    for command in (
        [sys.executable, "-c", CLIENTS],
        [hf, "upload", "me/cli", folder, "--commit-message", "by hf"],
        [hf, "download", "me/cli", "--local-dir", tmp_path / "back"],
    ):
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert process.returncode == 0, process.stderr
    assert hub["me/t"].private
    assert "model.safetensors" in hub["me/t"].files()
    assert json.loads(hub["me/t"].files()["config.json"])["architecture"] == "test_resnet"
    assert hub["me/cli"].log()[0].title == "by hf"
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == WEIGHTS
