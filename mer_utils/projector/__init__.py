"""From the features of a track to a point in the label space: losses, networks, ridge, training.

A `Method` says how a model is made; `fit` makes a `Model` of it from labelled datasets: a network
trained with the triplet loss and the alignment regularisation of Liu, Roy, Herremans (arXiv
2410.11522, section 3), or a ridge regression in closed form.

Conventions: features are (segments, layers, dim), targets are bool (segments, labels), label
vectors (labels, d); vectors are compared by cosine.

A loss or a projector of your own takes one decorator on a function or class (`mer_utils.registry`):

    @projector.LOSSES.register("linear")
    def linear(projected, targets, vectors, settings, generator):
        return -(projected * (targets.float() @ vectors)).sum(1).mean()

    @projector.PROJECTORS.register("straight")
    class Straight(projector.Projector):
        def __init__(self, layers, dim, dimensions, width=0):
            super().__init__()
            self.leave = torch.nn.Linear(layers * dim, dimensions)

        def forward(self, values):  # (batch, layers, dim) -> (batch, dimensions)
            return self.leave(values.flatten(1))

    settings = projector.TrainingSettings(loss="linear")
    projector.Method("mine", projector="straight", training=settings)
"""

from mer_utils.projector.losses import (
    LOSSES,
    alignment_loss,
    centre_loss,
    cluster_cosines,
    follow_loss,
    triplet_loss,
)
from mer_utils.projector.methods import (
    APPROACHES,
    Method,
    by_name,
    default_ridge,
    fit,
    paper_methods,
    word_anchors,
)
from mer_utils.projector.model import Model, load_model
from mer_utils.projector.networks import PROJECTORS, Projector, build_projector
from mer_utils.projector.ridge import fit_ridge
from mer_utils.projector.training import TrainingData, TrainingSettings, train
