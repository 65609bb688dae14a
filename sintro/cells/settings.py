"""The settings of a cell: every hyper-parameter, resolved, and the digest that tells one set of them from another."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sintro.cells.components import PROTOCOLS

Protocol = Literal[PROTOCOLS]

# A revision grows when mending a fault makes the same settings give other numbers: results of before the repair then
# count as made with other settings.
REVISIONS = {
    1: "the first",
    2: "pseudo-inputs of images pass a hard tanh, which has no gradient at 0 and 1 (1: a clamp, which has one); in "
    "prior-encoder cooperation the prior also receives the gradients of R and of the soft exponential's target x_f",
    3: "with a target decoder, the decoder also learns through the fakes' latents and the target decoder (1, 2: the "
    "reconstruction of a fake was a constant)",
}


Decay = Annotated[float, Field(ge=0, lt=1)]  # of a running mean


class Settings(BaseModel):
    """Every resolved hyper-parameter of a cell. Lengths are counted in iterations, also for images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    objective: str
    beta_rec: PositiveFloat
    beta_kl: PositiveFloat
    beta_neg: PositiveFloat | None  # None: a vae has no fakes
    margin: PositiveFloat | None = None  # of IntroVAE's hinge, in nats; no other objective has one
    alpha: PositiveFloat
    gamma: NonNegativeFloat
    gamma_r: NonNegativeFloat
    scale: PositiveFloat  # 1 / D
    prior: str
    components: PositiveInt | None
    learned: bool  # the prior goes on learning after the warm-up
    contributions: bool  # the weights of the prior's components are parameters
    cooperation: Literal["decoder", "encoder"] | None  # the player with whom a learned prior steps
    # Conventions in which the released programs differ. None is a convention too: `origins.NONE_MEANS` names it.
    kl_of_normal: Literal["sampled"] | None = None  # the KL to a single Gaussian; None: in closed form
    fakes: Literal["reused"] | None = None  # the decoder's step takes the encoder's fakes; None: it draws its own
    adam_at_introspection: Literal["restarted"] | None = None  # when the warm-up ends; None: Adam's state is carried
    logits_at_conversion: Literal["weights", "log-weights"] | None
    clip: bool
    responsibility_weight: NonNegativeFloat
    network: Literal["mlp", "residual", "two-encoders"]
    channels: tuple[PositiveInt, ...]
    event: tuple[PositiveInt, ...]  # the shape of one datum: (2,) or (C, H, W)
    training_images: PositiveInt | None = None  # how many, chosen at random once; None: the whole training split
    mirror: Literal[True] | None = None  # images are mirrored with probability 1/2, anew in every epoch; None: never
    latent_size: PositiveInt
    class_latent_size: PositiveInt | None = None  # of the class code, before the content code; None: one code
    kl_weight_class: PositiveFloat | None = None  # of the class code's KL in the losses; None: 1, or one code
    kl_weight_content: PositiveFloat | None = None
    reconstruction: Literal["vgg16", "vgg16-raw"] | None = None  # rec of the losses; None: the squared error
    batch_size: PositiveInt
    samples: PositiveInt  # drawn from the posterior, for the KL to a mixture
    epochs: PositiveFloat | None  # None in 2D, where every batch is new
    iterations: PositiveInt
    warmup: NonNegativeInt  # of a vae: all iterations
    conversion: PositiveInt | None  # the iteration before which the VampPrior becomes a mixture
    milestones: tuple[PositiveInt, ...]
    snapshots: tuple[NonNegativeInt, ...]  # numbers of iterations after which the published code measures FID
    learning_rate: PositiveFloat
    learning_rate_factor: PositiveFloat  # by which every milestone multiplies the learning rate
    adam_beta1: Decay
    adam_beta2: Decay
    precision: Literal["float32", "bfloat16"] | None = None  # of the image networks in training; None in 2D
    revision: PositiveInt | None = None  # how the code carries the settings out (REVISIONS); None: the first way
    extension_sha256: str | None = None  # of the extension files that define parts of the cell; None: there are none
    seed: NonNegativeInt
    evaluation_points: NonNegativeInt  # 0 for images
    evaluation_bins: NonNegativeInt  # per axis, 0 for images
    evaluation_grid: NonNegativeInt  # per axis, 0 for images
    evaluation_images: NonNegativeInt  # 0 for 2D

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change when a hyper-parameter changes. A field that is None does not count."""
        canonical = json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
