"""How good predictions are, with intervals, chance and a ceiling: one study, its tables.

`run_study` fits methods and scores every target without training on it; `evaluate` scores
predictions, with intervals over songs and the variation between seeds; `reference_rows` says
what knowing nothing scores, `supervised_reference` what learning from the target itself does.

Conventions: scores and targets are (items, labels); items are segments, or songs (the votes and the
mean of a song's segments).
"""

from mer_utils.evaluation.chance import supervised_reference
from mer_utils.evaluation.latex import latex_table
from mer_utils.evaluation.scoring import compare, evaluate, reference_rows
from mer_utils.evaluation.study import Outcome, k_of, run_study
from mer_utils.metrics import vote
