"""An Adam that leaves torch's compiler alone."""

from inspect import unwrap

import torch


class Adam(torch.optim.Adam):
    """Torch's Adam without the decorators that keep its methods out of torch.compile.

    Those import the compiler: 78 MiB and some seconds in every process that trains, and nothing here is compiled.
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
