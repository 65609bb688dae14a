"""Two encoders, of class and of content, and a decoder that takes both codes (docs/science.md, section 5).

After the networks of LORD (Gabbay & Hoshen 2020), of which the project page of Soft-IntroVAE says that its image
translation has them. A latent is z = [c, t], the class code before the content code.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from sintro.objectives.networks import ImageNetwork

EPSILON = 1e-5  # beside the variances of AdaIN


class Widths(NamedTuple):
    """The sizes of a pair of networks.

    ``first``: size and channels of a convolution before the image is halved, or None. ``halvings``: channels of the
    4x4 convolutions of stride 2. ``hidden``: of the encoders' linear layers. ``content``: of the decoder's, the last of
    them the channels of 4x4 pixels. ``modulated``: channels of the 3x3 convolutions that AdaIN follows. ``doublings``:
    which of these an upsampling precedes. ``last``: sizes and channels of the convolutions after these.
    ``shuffles``: whether the last convolution gives four pixels in place of one. ``slope``: of the leaky ReLU.
    """

    first: tuple[int, int] | None
    halvings: tuple[int, ...]
    hidden: tuple[int, ...]
    content: tuple[int, ...]
    modulated: tuple[int, ...]
    doublings: tuple[bool, ...]
    last: tuple[tuple[int, int], ...]
    shuffles: bool
    slope: float


SMALL = Widths(None, (12, 24, 24), (128,), (64, 128, 48), (48, 48, 24), (False, True, True), ((3, 24),), True, 0.2)
FULL = Widths(
    (7, 64),
    (128, 256, 256, 256),
    (256, 256),
    (512, 1024, 256),
    (256, 256, 256, 256),
    (True, True, True, True),
    ((5, 64),),
    False,
    0.01,
)
WIDTHS = {32: SMALL, 64: FULL}  # by the side of the images
CORNER = 4  # pixels on a side of the smallest map of features
FINAL = {False: 7, True: 3}  # the size of the last convolution, without and with the shuffling of pixels


class Encoder(nn.Module):
    """Images [B, C, H, W] to the mean and the log-variances of one code, [B, 2 L]."""

    def __init__(self, event: Sequence[int], widths: Widths, latent_size: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = event[0]
        if widths.first is not None:
            size, before = widths.first
            layers += [nn.Conv2d(event[0], before, size, padding=size // 2), nn.LeakyReLU(widths.slope)]
        for after in widths.halvings:
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(widths.slope)]
            before = after
        layers.append(nn.Flatten())
        sizes = (before * CORNER**2, *widths.hidden)
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(widths.slope)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 2 * latent_size))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


class TwoEncoders(ImageNetwork):
    """Images [B, C, H, W] to [mu_c, mu_t, log_var_c, log_var_t], [B, 2 L]: one network for each code."""

    def __init__(self, event: Sequence[int], class_size: int, content_size: int):
        super().__init__()
        widths = WIDTHS[event[-1]]
        self.of_class = Encoder(event, widths, class_size)
        self.of_content = Encoder(event, widths, content_size)

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        halves = zip(self.of_class(images).chunk(2, -1), self.of_content(images).chunk(2, -1), strict=True)
        return torch.cat([code for half in halves for code in half], -1)


def adain(features: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Give every channel of every image [B, C, H, W] the mean ``shift`` and the deviation |``scale``|, [B, C] each.

    Huang & Belongie 2017, with the biased variance over the pixels plus 1e-5.
    """
    variance, mean = torch.var_mean(features, (-2, -1), correction=0, keepdim=True)
    normal = (features - mean) * torch.rsqrt(variance + EPSILON)
    return normal * scale[..., None, None] + shift[..., None, None]


class AdaINDecoder(ImageNetwork):
    """Latents [B, L] to images [B, C, H, W]: the content code is drawn, the class code modulates; linear output."""

    def __init__(self, event: Sequence[int], class_size: int, content_size: int):
        super().__init__()
        self.widths, self.class_size = WIDTHS[event[-1]], class_size
        *hidden, channels = self.widths.content
        sizes = (content_size, *hidden, channels * CORNER**2)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(self.widths.slope)]
        self.content = nn.Sequential(*layers, nn.Unflatten(1, (channels, CORNER, CORNER)))
        self.convolutions, self.modulations = nn.ModuleList(), nn.ModuleList()
        for outputs in self.widths.modulated:
            self.convolutions.append(nn.Conv2d(channels, outputs, 3, padding=1))
            self.modulations.append(nn.Linear(class_size, 2 * outputs))
            channels = outputs
        layers = []
        for size, outputs in self.widths.last:
            layers += [nn.Conv2d(channels, outputs, size, padding=size // 2), nn.LeakyReLU(self.widths.slope)]
            channels = outputs
        shuffles = self.widths.shuffles
        size, outputs = FINAL[shuffles], event[0] * (4 if shuffles else 1)
        layers.append(nn.Conv2d(channels, outputs, size, padding=size // 2))
        self.output = nn.Sequential(*layers, *([nn.PixelShuffle(2)] if shuffles else []))

    def compute(self, latents: torch.Tensor) -> torch.Tensor:
        c, t = latents[..., : self.class_size], latents[..., self.class_size :]
        features = self.content(t)
        layers = zip(self.widths.doublings, self.convolutions, self.modulations, strict=True)
        for doubles, convolution, modulation in layers:
            if doubles:
                features = functional.interpolate(features, scale_factor=2)
            features = functional.leaky_relu(convolution(features), self.widths.slope)
            shift, scale = modulation(c).chunk(2, -1)
            features = adain(features, shift, 1 + scale)
        return self.output(features)


def two_code_pair(
    event: Sequence[int], class_size: int, content_size: int, generator: torch.Generator
) -> tuple[TwoEncoders, AdaINDecoder]:
    """Return both encoders and the decoder for images of 32 or 64 pixels, with PyTorch's default initialisation.

    PyTorch's layers draw their weights from the global generator, which is set from ``generator`` and restored here.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        return TwoEncoders(event, class_size, content_size), AdaINDecoder(event, class_size, content_size)
