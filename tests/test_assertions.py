"""What notebooks assert holds on another profile than `smoke`, too: on real labels.

A sentence that only the built-in corpus shows is asked; one that is asserted must hold. They run
here and not in a kernel, without workers: `smoke` has both, and they take longer than the rest.
"""

import os
import runpy
from unittest import mock

import pytest
from test_notebooks import code_cells

from mer_utils.batch import notebooks, profiles
from mer_utils.evaluation import chance, scoring
from mer_utils.evaluation.chance import chance_levels, stratified_folds


@pytest.fixture(scope="module")
def real_labels(mulan_root, tmp_path_factory) -> dict[str, object]:
    """Parameters of the shortest run of profile `mulan`, in one folder for all its notebooks."""
    shortest = {"seeds": 1, "epochs": 1, "shuffles": 1, "resamples": 2, "weights": [1.0]}
    shortest |= {"width": 8, "profile": "mulan", "best_model": "all-MiniLM-L6-v2"}
    out = str(tmp_path_factory.mktemp("mulan") / "run")
    return {**profiles.get("mulan").parameters, **shortest, "out": out}


@pytest.fixture
def short(monkeypatch):
    """Less of what takes most of the time, which no assertion looks at and no parameter sets."""
    monkeypatch.setattr(
        scoring, "chance_levels", lambda t, k, s, _, i: chance_levels(t, k, s, 2, i)
    )
    monkeypatch.setattr(chance, "stratified_folds", lambda t, g, _, i: stratified_folds(t, g, 2, i))
    with mock.patch.dict(os.environ, LOKY_MAX_CPU_COUNT="1", TQDM_DISABLE="1"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("number", profiles.get("mulan").notebooks)
def test_what_a_notebook_asserts_holds_for_real_labels_too(number, real_labels, short, tmp_path):
    own, *others = [cell.source for cell in code_cells(notebooks.notebook_path(number))]
    given = "\n".join(f"{name} = {value!r}" for name, value in real_labels.items())
    (tmp_path / "notebook.py").write_text("\n\n".join([own, given, *others]))
    runpy.run_path(str(tmp_path / "notebook.py"))
