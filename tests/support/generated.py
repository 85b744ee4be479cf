"""What the tests of generated sets share: a small set, made here or in a process that dies."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import numpy as np

from support.processes import SERVER
from timm_pushpull import InputError
from timm_pushpull.corruptions import corrupt
from timm_pushpull.data.corrupted import generate
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import preset_geometry

FORMATS = ("npy", "imagefolder", "parquet")
SMALL = {
    "preset": "cifar10-c",
    "corruptions": ("contrast", "gaussian_noise"),
    "severities": (1, 4),
    "size": 32,
    "seed": 5,
    "chunk": 3,
    "command": "make",
    "progress": False,
}


def make(folder: Path, output: Path, **options):
    return generate(load_images(str(folder)), output, **{**SMALL, **options})


def make_process(folder: Path, output: Path, die_at: int = 0, file_limit: int = 0, **options) -> None:
    """The body of a process; it kills itself at its `die_at`-th rename, or can write no file beyond `file_limit`."""
    images = load_images(str(folder))
    renames, rename = iter(range(1, 10**6)), os.replace

    def rename_or_die(*paths) -> None:
        if next(renames) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*paths)

    os.replace = rename_or_die
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    try:
        generate(images, output, **{**SMALL, **options})
    except InputError as error:
        output.with_suffix(".error").write_text(str(error))
        raise SystemExit(2) from None


def start(*arguments, **options):
    process = SERVER.Process(target=make_process, args=arguments, kwargs=options)
    process.start()
    return process


def content(folder: Path) -> dict[str, bytes | dict]:
    """All files of a folder; of the manifest, what does not change when this checkout is committed."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name: path.read_bytes() for name, path in sorted(files.items())}
    if "manifest.json" in found:
        found["manifest.json"] = {**json.loads(found["manifest.json"]), "commit": None, "checksum": None}
    return found


def expected(folder: Path, name: str, severity: int) -> np.ndarray:
    images = load_images(str(folder))
    clean = np.stack([preset_geometry("cifar10-c", 32)(images.read(row)) for row in images.indices])
    return np.stack([corrupt(x, name, severity, "cifar10-c", seed=5, index=i) for i, x in enumerate(clean)])
