"""A density in the plane: three blobs, to be changed into your own. docs/extending.md says more.

sintro show results/quick/NAME/soft-introvae/mog64-learned/clip/seed0     what would be trained, and why so
sintro train results/quick/NAME/soft-introvae/mog64-learned/clip/seed0    then evaluate; or add NAME to a study
"""

from sintro.components import SOFT, Density, Row, register


@register
class CLASS(Density):
    name = "NAME"  # in paths and studies
    title = "NAME"  # in tables and figures
    half_width = 3.0  # plots, histograms and grids span [-3, 3] in both coordinates
    labels, part = 3, "blob"  # how many parts (modes, arms, ...) there are, and what one is called
    # The published hyper-parameters of densities hold (sintro show names each one's source); rows here win over them.
    rows = (Row(SOFT, {"beta_rec": 0.2, "beta_kl": 0.3, "beta_neg": 0.9}, "chosen by hand"),)

    def sample(self, n, generator, device="cpu"):
        """Draw n points [n, 2] and their parts [n]; everything random comes from the generator, which is a CPU one."""
        import torch  # here, since names are read without torch

        labels = torch.randint(3, (n,), generator=generator)
        points = self.centres()[labels] + 0.1 * torch.randn(n, 2, generator=generator)
        return points.to(device), labels.to(device)

    def locate(self, points):
        """The part on which each point [..., 2] lies, or -1 where (practically) no data are."""
        distance = (points[..., None, :] - self.centres().to(points)).norm(dim=-1)  # [..., 3]
        nearest, label = distance.min(-1)
        return label.where(nearest < 0.4, -1)

    def centres(self):
        import torch

        return torch.tensor([[-1.5, -1.0], [1.5, -1.0], [0.0, 1.5]])
