"""The DINOv2 network of FD-DINOv2: timm's architecture, its weights read from a file and never fetched.

ViT-L/14 at 224 pixels, class token, as in Stein et al. 2023 (their evaluation code, without its option for another
resizing). timm is an optional dependency: ``pip install 'sintro[dinov2]'``. docs/science.md, section 7.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from sintro import SintroError
from sintro.data.vision import optional
from sintro.data.weights import IMAGENET_DEVIATION, IMAGENET_MEAN, reading

ARCHITECTURE = "vit_large_patch14_dinov2"
DIMENSION = 1024
SIZE, PATCH = 224, 14  # pixels of a side of the image, and of a patch
OFFSET = 0.1  # added to the number of patches where the published code scales the positions


class Dinov2(nn.Module):
    """Images [B, 1 or 3, H, W] in [0, 1] to the class token [B, D]; other architectures and sizes are for tests only.

    An image is resized as a picture of 8 bits by PIL's bicubic filter. Its pixels are then scaled by ImageNet's mean
    and deviation. A grey image becomes one of three equal channels.
    """

    def __init__(self, architecture: str = ARCHITECTURE, size: int = SIZE):
        super().__init__()
        self.size = size
        timm = optional("timm", "DINOv2", "dinov2")
        self.network = timm.create_model(architecture, pretrained=False, num_classes=0, img_size=size)
        self.network.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1), persistent=False)

    def load_published(self, weights: dict[str, Tensor]) -> None:
        """Take over weights under their published names; positions are brought from their grid to this size's."""
        kept = {name: value for name, value in weights.items() if name != "mask_token"}  # of training alone
        kept["pos_embed"] = scaled_positions(kept["pos_embed"], self.size // PATCH)
        self.network.load_state_dict(kept)

    def forward(self, images: Tensor) -> Tensor:  # [B, D]
        pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()  # as they were: these images had 8 bits
        resized = torch.stack([_resized(image, self.size) for image in pixels]).to(images.device)
        return self.network((resized - self.mean) / self.deviation)


def scaled_positions(positions: Tensor, side: int) -> Tensor:
    """Bring position embeddings [1, 1 + N^2, D] to [1, 1 + side^2, D], as the published code does.

    Bicubic without antialiasing, scaled by (side + 0.1) / N; the first, of the class token, stays.
    """
    grid = int((positions.shape[1] - 1) ** 0.5)
    of_patches = positions[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)  # [1, D, N, N]
    scale = (side + OFFSET) / grid
    scaled = F.interpolate(of_patches, scale_factor=(scale, scale), mode="bicubic")
    if scaled.shape[-2:] != (side, side):
        raise SintroError(f"positions of a {grid} x {grid} grid became {tuple(scaled.shape[-2:])}, not {side} x {side}")
    return torch.cat([positions[:, :1], scaled.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def _resized(image: Tensor, size: int) -> Tensor:
    """Resize one uint8 image [C, H, W] to [3, size, size], float32 in [0, 1]."""
    pixels = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).to(torch.float32) / 255


def load(path: Path, architecture: str = ARCHITECTURE) -> Dinov2:
    """Load the network with the weights in ``path``. SintroError where they are not the weights of this network."""
    network = Dinov2(architecture)
    with reading(path, "DINOv2", f"DINOv2's {architecture}"):
        network.load_published(torch.load(path, map_location="cpu", weights_only=True))
    return network
