"""An Adam that leaves torch's compiler alone."""

from inspect import unwrap

import torch

__all__ = ["Adam"]


class Adam(torch.optim.Adam):
    """Torch's Adam, step for step, without what hides from torch's compiler the methods that a training calls.

    To hide them, torch imports the compiler: 78 MiB and some seconds of every process that trains. Nothing here is
    compiled.
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
