"""An Adam that leaves torch's compiler alone."""

from inspect import unwrap

import torch

__all__ = ["Adam"]


class Adam(torch.optim.Adam):
    """Torch's Adam, step for step, without what hides its methods from torch's compiler.

    To hide them, torch imports the compiler: 78 MiB and some seconds of every process that trains. Nothing here is
    compiled.
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
