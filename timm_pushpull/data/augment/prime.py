"""PRIME (Modas et al., ECCV 2022): chains of three random primitives, mixed with the image they came from.

    >>> images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    >>> augmented = prime(images, torch.Generator().manual_seed(0))

This follows the paper and its published configurations without the Jensen-Shannon loss: three chains of one to three
primitives each, all choices uniform; the chains are mixed with Dirichlet(1, 1, 1) weights, and their mixture is mixed
with the image with a Beta(1, 1) weight. There are two differences from the published code. Every image has its own
draws (there, a batch shares strengths and displacement fields), so the result for an image does not depend on the
others. The random filter is centred (there, the 1 of the identity is in a corner of the kernel, which shifts the image
by a pixel).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from timm_pushpull.data.augment import primitives
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.hardware import upload

WIDTH, DEPTH = 3, 3
_DIFFEOMORPHISM, _COLOUR, _FILTER = range(3)
# Pixels that a CPU thread works on at a time: 16 images of 32 px, or one larger image.
_PIXELS = 2**14


@dataclass(frozen=True)
class PrimeSettings:
    """The settings in which the published configurations differ.

    Attributes:
        diffeo_cut: Highest cut-off frequency of the displacement fields.
        colour_cut: Highest frequency of the colour curves.
        colour_temperature: Highest variance of a frequency's coefficient.
        colour_band: Number of frequencies in a curve; None for all up to its cut-off.
        filter_deviation: Highest standard deviation of a kernel's entries.
    """

    diffeo_cut: int
    colour_cut: int
    colour_temperature: float
    colour_band: int | None
    filter_deviation: float = 4.0


PRIME_PRESETS = {
    "imagenet": PrimeSettings(diffeo_cut=500, colour_cut=500, colour_temperature=0.05, colour_band=20),
    "cifar": PrimeSettings(diffeo_cut=100, colour_cut=100, colour_temperature=0.01, colour_band=None),
}


@dataclass(frozen=True)
class Choices:
    """The draws for N images except for the noise of the primitives, on the CPU.

    Attributes:
        depth: Number of primitives in each chain, int64 of shape (N, WIDTH).
        primitive: The primitive in each step of a chain, int64 of shape (N, WIDTH, DEPTH).
        strength: Uniform numbers that set its strength, float64 of shape (N, WIDTH, DEPTH, 3).
        weights: Weight of each chain in the mixture, float32 of shape (N, WIDTH).
        mix: Weight of the mixture in the output, float32 of shape (N,).
    """

    depth: Tensor
    primitive: Tensor
    strength: Tensor
    weights: Tensor
    mix: Tensor


def prime(
    images: Tensor, generator: torch.Generator | None = None, preset: str = "imagenet", *, keys: Tensor | None = None
) -> Tensor:
    """Augment a batch, on its device.

    Args:
        images: float32 of shape (N, C, side, side) in [0, 1], before normalisation.
        generator: Draws the key of each image; default: torch's global generator.
        preset: A name in `PRIME_PRESETS`.
        keys: The keys themselves, int64 of shape (N,), not negative. All draws of an image depend only on its key and
            on the type of device; up to rounding, so does the result.

    Returns:
        float32 of the same shape, contiguous, in [0, 1].

    Raises:
        InputError: An unknown preset, or images that are not square or too small.
    """
    if preset not in PRIME_PRESETS:
        raise unknown("PRIME preset", preset, PRIME_PRESETS)
    check_size(*images.shape[2:])
    if keys is None:
        device = generator.device if generator else "cpu"
        keys = torch.randint(2**63 - 1, (len(images),), generator=generator, device=device)
    settings, seeds = PRIME_PRESETS[preset], keys.tolist()
    output = torch.empty_like(images, dtype=torch.float32, memory_format=torch.contiguous_format)

    def augment(part: slice) -> None:
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            _augment(images[part].float().contiguous(), seeds[part], settings, output[part])

    if images.device.type == "cpu":
        some = max(1, _PIXELS // (images.shape[2] * images.shape[3]))
        _in_threads(augment, [slice(start, start + some) for start in range(0, len(images), some)])
    elif len(images):
        augment(slice(None))
    return output


def check_size(height: int, width: int) -> None:
    """Raise InputError for images that PRIME is not defined on."""
    if height != width or height < primitives.SHORTEST_SIDE:
        raise InputError(
            f"PRIME is defined on square images of at least {primitives.SHORTEST_SIDE} px; these have "
            f"{width}x{height}; use larger square crops"
        )


def _in_threads(work: Callable[[slice], None], parts: Sequence[slice]) -> None:
    """Process each part in a thread of its own, with as many threads as torch uses.

    The parts fit into a core's caches, and are too small to split each operation on them over several threads.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(work, parts))
    torch.set_num_threads(threads)  # the initializer also changed the default of threads started later


def choose(generators: list[torch.Generator]) -> Choices:
    """The choices for one image from each generator."""
    slots = WIDTH * DEPTH
    uniform = torch.stack([torch.rand(slots * 4 + WIDTH * 2 + 1, dtype=torch.float64, generator=g) for g in generators])
    primitive, strength, depth, weights, mix = uniform.split([slots, slots * 3, WIDTH, WIDTH, 1], dim=1)
    exponential = -(1 - weights).log()  # normalised, these are Dirichlet(1, 1, 1)
    return Choices(
        depth=1 + (depth * DEPTH).long(),
        primitive=(primitive * 3).long().view(-1, WIDTH, DEPTH),
        strength=strength.reshape(-1, WIDTH, DEPTH, 3),
        weights=(exponential / exponential.sum(dim=1, keepdim=True)).float(),
        mix=mix[:, 0].float(),
    )


def _augment(images: Tensor, keys: list[int], settings: PrimeSettings, output: Tensor) -> None:
    generators = [torch.Generator().manual_seed(key) for key in keys]
    choices = choose(generators)
    if images.device.type != "cpu":  # the noise is drawn on the device that uses it
        generators = [torch.Generator(images.device).manual_seed(key) for key in keys]
    chains = torch.empty(len(images), WIDTH, *images.shape[1:], device=images.device)
    flat = chains.flatten(0, 1)
    for step in range(DEPTH):
        # Noise is drawn chain by chain for every image, so that it does not depend on the batch.
        jobs: list[list[tuple[int, Tensor]]] = [[], [], []]
        drawing = [_Noise(generator, images, settings) for generator in generators]
        for slot in (step < choices.depth).flatten().nonzero().flatten().tolist():
            image, chain = divmod(slot, WIDTH)
            kind, strength = int(choices.primitive[image, chain, step]), choices.strength[image, chain, step]
            jobs[kind].append((slot, drawing[image](kind, strength)))
        for kind, work in enumerate(jobs):
            if not work:
                continue
            slots = torch.tensor([slot for slot, _ in work])
            strength = choices.strength[:, :, step].flatten(0, 1)[slots]
            slots = upload(slots, images.device)
            source = images.index_select(0, slots // WIDTH) if step == 0 else flat.index_select(0, slots)
            flat.index_copy_(0, slots, _PRIMITIVES[kind](source, strength, [noise for _, noise in work], settings))
    weights, mix = upload(choices.weights, images.device)[:, None], upload(choices.mix, images.device)
    mixture = (weights @ chains.flatten(2)).view(images.shape)
    torch.lerp(images, mixture, mix[:, None, None, None], out=output)


@dataclass(frozen=True)
class _Noise:
    """Draws the standard normal noise of one image's primitives."""

    generator: torch.Generator
    images: Tensor
    settings: PrimeSettings

    def __call__(self, kind: int, strength: Tensor) -> Tensor:
        shape: tuple[int, ...] = (3, 3)
        if kind == _DIFFEOMORPHISM:
            side = self.images.shape[-1]
            cut, _ = primitives.diffeo_strength(strength[None], side, self.settings.diffeo_cut)
            shape = (2, *[primitives.modes(side, int(cut))] * 2)
        elif kind == _COLOUR:
            shape = (self.images.shape[1], self.settings.colour_band or self.settings.colour_cut)
        return torch.randn(shape, generator=self.generator, device=self.images.device)


def _diffeomorphism(images: Tensor, strength: Tensor, noise: list[Tensor], settings: PrimeSettings) -> Tensor:
    cut, temperature = primitives.diffeo_strength(strength, images.shape[-1], settings.diffeo_cut)
    return primitives.diffeomorphism(images, cut.tolist(), temperature, noise)


def _colour(images: Tensor, strength: Tensor, noise: list[Tensor], settings: PrimeSettings) -> Tensor:
    first, count, temperature = primitives.colour_strength(
        strength, settings.colour_cut, settings.colour_temperature, settings.colour_band
    )
    used = torch.arange(noise[0].shape[-1]) < count[:, None]
    deviation = upload((temperature.sqrt()[:, None] * used).to(images.dtype), images.device)
    return primitives.smooth_colour(images, first, torch.stack(noise) * deviation[:, None], settings.colour_cut)


def _filter(images: Tensor, strength: Tensor, noise: list[Tensor], settings: PrimeSettings) -> Tensor:
    deviation = upload((settings.filter_deviation * strength[:, 0]).to(images.dtype), images.device)
    kernels = torch.stack(noise) * deviation[:, None, None]
    kernels[:, 1, 1] += 1
    return primitives.random_filter(images, kernels)


_PRIMITIVES = (_diffeomorphism, _colour, _filter)
