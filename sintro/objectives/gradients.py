"""Gradients that are taken before the whole loss is there, so that the memory of their graphs is free again."""

from collections.abc import Sequence

import torch
from torch.autograd.function import once_differentiable


class _Known(torch.autograd.Function):
    """A number whose gradients are known: number, weight and gradients in, the number out."""

    @staticmethod
    def forward(ctx, value: torch.Tensor, weight: float, gradients: Sequence[torch.Tensor], *_: torch.Tensor):
        ctx.weight = weight
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor):
        ratio = gradient / torch.full_like(gradient, ctx.weight)
        return (None, None, None, *(ratio * each for each in ctx.saved_tensors))


def leaf_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same values at which a graph can end; it asks for a gradient where ``tensor`` does."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def differentiate_now(
    value: torch.Tensor, places: Sequence[tuple[torch.Tensor, torch.Tensor]], weight: float = 1.0
) -> torch.Tensor:
    """Take the gradient of a number ``[]`` at once, and return the number with that gradient but without its graph.

    A loss that contains the number has the gradient that it would have with the graph. Of several numbers that are made
    one after the other, one graph is in memory at a time.

    Args:
        value: the number. Where it needs no gradient it is returned as it is.
        places: pairs of a tensor at which the graph of ``value`` ends, and the tensor that it stands for in the
            caller's graph (:func:`leaf_of`; a parameter stands for itself). Pairs that need no gradient are left out.
        weight: what the loss multiplies the number by. The gradient has the bits of an ordinary backward pass where
            the loss does just that, and is right up to rounding where it does something else.
    """
    places = [place for place in places if place[1].requires_grad]
    if not value.requires_grad or not places:
        return value
    ends, stand_for = zip(*places, strict=True)
    weight = weight or 1.0
    gradients = torch.autograd.grad(weight * value, ends, materialize_grads=True)
    return _Known.apply(value.detach(), weight, gradients, *stand_for)
