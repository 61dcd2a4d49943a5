"""What notebooks assert holds on another profile than `smoke`, too: on real labels.

A sentence that only the built-in corpus shows is asked; one that is asserted must hold. They run
here and not in a kernel, without workers: `smoke` has both, and they take longer than the rest.
"""

import os
import runpy
from unittest import mock

import pytest
from test_notebooks import code_cells, parameters_cell

from mer_utils.batch import notebooks, profiles


@pytest.fixture(scope="module")
def real_labels(mulan_root, tmp_path_factory) -> dict[str, object]:
    """Parameters of the shortest run of profile `mulan`, in one folder for all its notebooks."""
    shortest = {"seeds": 1, "epochs": 1, "shuffles": 1, "resamples": 2, "weights": [1.0]}
    shortest |= {"width": 8, "profile": "mulan", "best_model": "all-MiniLM-L6-v2"}
    out = str(tmp_path_factory.mktemp("mulan") / "run")
    return {**profiles.get("mulan").parameters, **shortest, "out": out}


@pytest.mark.slow
@pytest.mark.parametrize("number", profiles.get("mulan").notebooks)
def test_what_a_notebook_asserts_holds_for_real_labels_too(number, real_labels, tmp_path):
    path, script = notebooks.notebook_path(number), tmp_path / "notebook.py"
    own, *others = [cell.source for cell in code_cells(path)]
    assert own == parameters_cell(path).source
    given = "\n".join(f"{name} = {value!r}" for name, value in real_labels.items())
    script.write_text("\n\n".join([own, given, *others]))
    with mock.patch.dict(os.environ, LOKY_MAX_CPU_COUNT="1", TQDM_DISABLE="1"):
        runpy.run_path(str(script))
