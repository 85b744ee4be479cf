"""A layout of one's own: one module and one entry in the registry make it readable and writable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.generated import content, expected, make
from timm_pushpull.data.corrupted import LAYOUTS, open_corrupted
from timm_pushpull.data.corrupted.base import CorruptedSet, CorruptedSetWriter, Layout


class TextSet(CorruptedSet):
    """`<corruption>-<severity>.txt` with one line per image: its label, its sides and its pixels."""

    def __init__(self, place: str, manifest: dict) -> None:
        self.folder, self.manifest, self.name = Path(place), manifest, Path(place).name
        names = {tuple(path.stem.rsplit("-", 1)) for path in self.folder.glob("*-*.txt")}
        self.corruptions = tuple(sorted({name for name, _ in names}))
        self.severities = tuple(sorted({int(severity) for _, severity in names}))
        self.classes = tuple(manifest["classes"])
        self.lines = self._lines(self.corruptions[0], self.severities[0])
        self.labels = np.array([int(line[0]) for line in self.lines])

    def __len__(self) -> int:
        return len(self.lines)

    def _lines(self, corruption: str, severity: int) -> list[list[str]]:
        return [line.split() for line in (self.folder / f"{corruption}-{severity}.txt").read_text().splitlines()]

    def _read(self, corruption, severity, batches):
        lines = self._lines(corruption, severity)
        for indices in batches:
            chosen = [lines[index] for index in indices]
            images = [np.array(line[3:], np.uint8).reshape(int(line[1]), int(line[2]), 3) for line in chosen]
            yield images, self.labels[indices], indices


class TextWriter(CorruptedSetWriter):
    def begin(self) -> None:
        self.lines = {cell: [] for cell in self.job.cells}

    def encode(self, cell, rows, pixels):
        return [
            " ".join(map(str, (self.contents.labels[row], *image.shape[:2], *image.flat)))
            for row, image in zip(rows, pixels, strict=True)
        ]

    def add(self, cell, rows, encoded) -> None:
        self.lines[cell] += encoded

    def end_chunk(self, chunk: int) -> dict:
        lines, self.lines = self.lines, {cell: [] for cell in self.job.cells}
        return {"lines": [lines[cell] for cell in self.job.cells]}

    def finish(self, records, threads) -> dict[str, str]:
        for number, (name, severity) in enumerate(self.job.cells):
            lines = [line for chunk in sorted(records) for line in records[chunk]["lines"][number]]
            self.folder.write(self.folder.path / f"{name}-{severity}.txt", "\n".join(lines))
        return {}


TEXT = Layout(
    name="text",
    description="<corruption>-<severity>.txt",
    arrays=False,
    reader=TextSet,
    writer=TextWriter,
    matches=lambda folder: any(folder.glob("*-*.txt")),
    entries=lambda corruptions: [f"{name}-{severity}.txt" for name in corruptions for severity in range(1, 6)],
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(LAYOUTS, "text", TEXT)


def test_a_new_layout_is_written_resumed_and_read(tmp_path, image_folder):
    make(image_folder, tmp_path / "one", format="text")
    for shard in (2, 1):
        make(image_folder, tmp_path / "out", format="text", shard=(shard, 2))
    assert content(tmp_path / "out") == content(tmp_path / "one")
    corrupted = open_corrupted(tmp_path / "out")
    assert (type(corrupted), corrupted.corruptions) == (TextSet, ("contrast", "gaussian_noise"))
    ((images, labels, _),) = corrupted.batches("gaussian_noise", 4, 10)
    np.testing.assert_array_equal(images, expected(image_folder, "gaussian_noise", 4))
    assert labels.tolist() == [0] * 5 + [1] * 5


def test_a_new_layout_is_removed_by_overwrite_and_in_error_messages(tmp_path, image_folder):
    make(image_folder, tmp_path / "one", format="npy")
    make(image_folder, tmp_path / "out", format="text")
    make(image_folder, tmp_path / "out", format="npy", overwrite=True)
    assert content(tmp_path / "out") == content(tmp_path / "one")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected .*, or <corruption>-<severity>\.txt"):
        open_corrupted(tmp_path / "empty")
    with pytest.raises(ValueError, match="unknown format 'texts'; did you mean 'text'"):
        make(image_folder, tmp_path / "x", format="texts")
