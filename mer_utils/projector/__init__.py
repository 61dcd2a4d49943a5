"""From the features of a track to a point in the label space: losses, networks, ridge, training.

A `Method` says how a model is made; `fit` makes a `Model` of it from labelled datasets: a network
trained with the triplet loss and the alignment regularisation of Liu, Roy, Herremans (arXiv
2410.11522, section 3), or a ridge regression in closed form.

Conventions: features are (segments, layers, dim), targets are bool (segments, labels), label
vectors (labels, d); vectors are compared by cosine.
"""

from mer_utils.projector.losses import (
    LOSSES,
    alignment_loss,
    cluster_cosines,
    contrastive_loss,
    triplet_loss,
)
from mer_utils.projector.methods import (
    APPROACHES,
    Method,
    by_name,
    default_ridge,
    fit,
    paper_methods,
)
from mer_utils.projector.model import Model, load_model
from mer_utils.projector.networks import PROJECTORS, Projector, build_projector
from mer_utils.projector.ridge import fit_ridge
from mer_utils.projector.training import TrainingData, TrainingSettings, train
