"""Encoders and decoders (docs/science.md, section 5)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from sintro.basics.randomness import Generators, uniform


class MLP(nn.Module):
    """Linear layers with ReLU between them, one network or F of them side by side.

    With one generator the weights have PyTorch's usual shapes and ``forward`` maps ``[B, sizes[0]]`` to
    ``[B, sizes[-1]]``. With F generators every parameter has a leading axis F and ``forward`` maps
    ``[F, B, sizes[0]]`` to ``[F, B, sizes[-1]]``; network f sees only row f. Initialisation: uniform on
    +-1/sqrt(inputs), PyTorch's default for linear layers, drawn from the generators.
    """

    def __init__(self, sizes: Sequence[int], generators: Generators):
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for inputs, outputs in pairwise(sizes):
            bound = 1 / math.sqrt(inputs)
            self.weights.append(nn.Parameter((2 * uniform((outputs, inputs), generators) - 1) * bound))
            self.biases.append(nn.Parameter((2 * uniform((outputs,), generators) - 1) * bound))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = _linear(hidden, weight, bias)
            if layer < len(self.weights) - 1:
                hidden = functional.relu_(hidden)  # in place: a linear layer's backward does not need its output
        return hidden


def _linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    if weight.dim() == 2:
        return functional.linear(inputs, weight, bias)
    if inputs.dim() == weight.dim() == 3:
        return torch.baddbmm(bias.unsqueeze(-2), inputs, weight.mT)
    return inputs @ weight.mT + bias.unsqueeze(-2)


def mlp_pair(latent_size: int, data_size: int, generators: Generators, width: int = 256) -> tuple[MLP, MLP]:
    """The 2D encoder (data to mean and log-variance, 2 L outputs) and decoder of docs/science.md, section 5."""
    hidden = [width] * 4
    encoder = MLP([data_size, *hidden, 2 * latent_size], generators)
    decoder = MLP([latent_size, *hidden, data_size], generators)
    return encoder, decoder


class ImageNetwork(nn.Module):
    """An image encoder or decoder, whose layers compute in ``precision``.

    With bfloat16, convolutions and linear layers round their inputs to 8 bits of mantissa (autocast). Parameters, their
    gradients and batch-norm statistics stay float32, and so does every computation on the output (KL, squared errors,
    exponentials). It changes results by more than rounding: see docs/science.md.
    """

    precision = "float32"

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.compute(inputs).float()


class ResidualBlock(nn.Module):
    """3x3 conv, batch norm, LeakyReLU 0.2, 3x3 conv, batch norm, plus the identity, LeakyReLU 0.2.

    Convolutions have no bias; the identity passes a 1x1 convolution where the number of channels changes. Sums and
    activations are in place: no backward pass needs what a batch norm or a sum gave.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.identity = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu_(self.body(inputs).add_(self.identity(inputs)), 0.2)


class UpsamplingBlock(ResidualBlock):
    """A residual block on its inputs upsampled by 2 (nearest neighbours): ``[B, C, H, W]`` to ``[B, C', 2 H, 2 W]``.

    The 1x1 convolution comes before the upsampling, which does not change it. The upsampling and the first 3x3
    convolution, of kernel w, are one transposed convolution of stride 2 with 4 of 9 products: rows and columns of its
    4x4 kernel are (w_2, w_1 + w_2, w_0 + w_1, w_0). The sums are those of the plain layers in another order.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        first, *others = self.body
        sums = functional.avg_pool2d(first.weight, 2, stride=1, padding=1, divisor_override=1)
        kernel = sums.flip(-2, -1).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        hidden = functional.conv_transpose2d(inputs, kernel, stride=2, padding=1)
        for layer in others:
            hidden = layer(hidden)
        identity = functional.interpolate(self.identity(inputs), scale_factor=2)
        return functional.leaky_relu_(hidden.add_(identity), 0.2)


class ResidualEncoder(ImageNetwork):
    """IntroVAE's encoder: images ``[B, C, H, W]`` to ``[B, 2 L]``, H and W halved once per entry of ``channels``."""

    def __init__(self, event: Sequence[int], channels: Sequence[int], latent_size: int):
        super().__init__()
        layers = [nn.Conv2d(event[0], channels[0], 5, padding=2, bias=False), nn.BatchNorm2d(channels[0])]
        layers += [nn.LeakyReLU(0.2, inplace=True), nn.AvgPool2d(2)]
        for inputs, outputs in pairwise(channels):
            layers += [ResidualBlock(inputs, outputs), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*layers, ResidualBlock(channels[-1], channels[-1]))
        self.output = nn.Linear(math.prod(feature_shape(event, channels)), 2 * latent_size)

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(images).flatten(1))


class ResidualDecoder(ImageNetwork):
    """IntroVAE's decoder: latents ``[B, L]`` to images ``[B, C, H, W]``; linear output, no sigmoid."""

    def __init__(self, event: Sequence[int], channels: Sequence[int], latent_size: int):
        super().__init__()
        self.shape = feature_shape(event, channels)
        self.input = nn.Linear(latent_size, math.prod(self.shape))
        layers, inputs = [ResidualBlock(channels[-1], channels[-1])], channels[-1]
        for outputs in (*channels[-2::-1], channels[0]):
            layers += [nn.Identity(), UpsamplingBlock(inputs, outputs)]  # stored names count the identities
            inputs = outputs
        layers.append(nn.Conv2d(inputs, event[0], 5, padding=2))
        self.body = nn.Sequential(*layers)

    def compute(self, latents: torch.Tensor) -> torch.Tensor:
        first = functional.relu(self.input(latents)).unflatten(1, self.shape)
        return self.body(first.contiguous(memory_format=torch.channels_last))


def feature_shape(event: Sequence[int], channels: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width) of the smallest feature map: 128 x 7 x 7 for MNIST, 256 x 4 x 4 for CIFAR-10."""
    shrink = 2 ** len(channels)
    return channels[-1], event[1] // shrink, event[2] // shrink


def residual_pair(
    event: Sequence[int], channels: Sequence[int], latent_size: int, generator: torch.Generator
) -> tuple[ResidualEncoder, ResidualDecoder]:
    """The image encoder and decoder of docs/science.md, section 5, with PyTorch's default initialisation.

    PyTorch's layers draw their weights from the global generator, which is set from ``generator`` and restored here.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        return ResidualEncoder(event, channels, latent_size), ResidualDecoder(event, channels, latent_size)
