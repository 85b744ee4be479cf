"""The constants of the benchmark (Hendrycks and Dietterich, ICLR 2019), by preset, corruption and severity 1 to 5.

`imagenet-c` is the table of make_imagenet_c.py (224 px), `cifar10-c` that of make_cifar_c.py (32 px).
"""

SEVERITIES: dict[str, dict[str, tuple]] = {
    "imagenet-c": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation
        "shot_noise": (60, 25, 12, 5, 3),  # photons at full intensity
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),  # share of values replaced
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # added to the V of HSV
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # factor about the channel mean
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),  # factor on the side
        "jpeg_compression": (25, 18, 15, 10, 7),  # quality
    },
    "cifar10-c": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": (500, 250, 100, 75, 50),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": (80, 65, 58, 50, 40),
    },
}
