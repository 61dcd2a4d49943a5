"""The paper's rows as its authors ran them, the part that they score, and the map in the docs."""

import re
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import nbformat
import numpy as np
import pytest
import torch
from moods import MOODS, mood_dataset

from mer_utils import evaluation, projector
from mer_utils.data import Labelled
from mer_utils.evaluation import paper, tables
from mer_utils.labels import LabelSpace
from mer_utils.projector import TrainingSettings, methods

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def data() -> dict[str, Labelled]:
    return {name: mood_dataset(name) for name in MOODS}


def defined(**settings) -> LabelSpace:
    """The paper's label space for the made-up datasets, whose words have no definitions."""
    words = {label: f"Music that is {label}." for labels in MOODS.values() for label in labels}
    return LabelSpace("definition", definitions=words, **settings)


def test_rows_are_those_of_the_paper():
    rows = projector.paper_methods(["cal500", "mtg-jamendo"], (0.5, 2.5), ("contrast", "push"))
    alignments = [f"alignment {v} λ={w}" for v in ("contrast", "push") for w in (0.5, 2.5)]
    names = ["baseline 1 (labels)", "baseline 2 (clusters)", *alignments]
    assert [row.name for row in rows] == names
    # the triplet of the alignment aims at label vectors; only its regulariser sees clusters
    assert [row.aim for row in rows] == ["labels", "clusters", *["labels"] * 4]
    assert [row.needs_clusters for row in rows] == [False, *[True] * 5]
    assert {(row.space.style, row.weighting) for row in rows} == {("definition", "segments")}
    assert {row.clustering["quantile"] for row in rows} == {0.03}
    other = projector.paper_methods(["emotify", "cal500"])[1]  # goes with the training datasets
    assert other.clustering == {"method": "mean_shift", "quantile": 0.04}
    training = TrainingSettings()
    assert (training.epochs, training.batch_size, training.negatives) == (75, 256, 5)
    assert (training.learning_rate, training.weight_decay, training.margin) == (1e-4, 0.01, 1.0)


def test_alignment_trains_on_label_vectors_and_its_own_clusters(data):
    clustering = {"method": "agglomerative", "n_clusters": 4}
    settings = {"space": LabelSpace("name"), "clustering": clustering}
    rows = projector.paper_methods(["one", "two"], (1.0,), **settings)
    training = [data["one"], data["two"]]
    labels, centres, aligned = (methods.prepare(row, training)[0] for row in rows)
    for part in (*labels, *aligned):
        assert torch.equal(part.target_vectors, part.label_vectors)
    assert len(torch.cat([part.clusters for part in aligned]).unique()) == 4
    assert not torch.equal(centres[0].target_vectors, centres[0].label_vectors)


def test_departures_are_named(data):
    training = [data["one"], data["two"]]
    row = projector.paper_methods(["one", "two"], space=defined())[2]
    expected = {*paper.ALWAYS, "label texts", "encoder", "datasets", "clusters"}
    assert set(paper.departures(row, training).index) == expected
    settings = {"loss": "contrastive", "epochs": 2, "negatives": 1}
    fields = {"projector": "mlp", "weighting": "tracks", "projector_settings": {"width": 128}}
    space = defined(directions="antonym-pca", centre=True)
    changed = replace(row, training=replace(row.training, **settings), space=space, **fields)
    found = paper.departures(changed, training)
    assert set(found.index) - expected == {
        *("projector", "weighting", "width", "label space"),
        *(f"training: {k}" for k in settings),
    }
    assert found.loc["width", "here"] == "128"


def test_the_papers_own_setting_departs_only_where_its_code_errs(data, tmp_path):
    encoder = {"name": "mert-v1-95m", "layers": [3, 6, 9, 12]}
    training = [
        Labelled(replace(part.dataset, name=name), replace(part.features, encoder=encoder))
        for part, name in zip(data.values(), ("mtg-jamendo", "emotify"), strict=False)
    ]
    labels, file = [*MOODS["one"], *MOODS["two"]], tmp_path / "vectors.npz"
    np.savez(file, x_labels=np.array(labels), x_vectors=defined().vectors(labels))
    rows = projector.paper_methods(["mtg-jamendo", "emotify"], space=defined(file=str(file)))
    found = paper.departures(rows[2], training)
    assert set(found.index) == {*paper.ALWAYS, "clusters"}
    assert found.loc["clusters", "here"].startswith("8 of 8")  # no neighbour is asked for


def test_scored_segments_by_hand(data):
    part = data["one"]
    # 55 tracks of two segments, no official split: the last tenth begins within a track
    fewer = replace(part.dataset, tracks=part.dataset.tracks.iloc[:55])
    mask = paper.scored_segments(Labelled(fewer, part.features.only(np.arange(110))))
    assert np.flatnonzero(mask).tolist() == list(range(99, 110))
    split = ["test" if i in (3, 7) else "train" for i in range(60)]
    official = replace(part.dataset, tracks=part.dataset.tracks.assign(split=split))
    mask = paper.scored_segments(Labelled(official, part.features))
    assert np.flatnonzero(mask).tolist() == [6, 7, 14, 15]


def test_scores_of_the_test_part_are_those_of_its_tracks(data, tmp_path):
    ridge = methods.default_ridge("name", directions=None)
    outcomes = evaluation.run_study(data, [ridge], tmp_path, shuffles=1, targets=["three"], jobs=1)
    cut, parts = paper.on_test_part(outcomes, data)
    assert len(cut[0].scores[0]) == len(cut[0].shuffled[0]) == 12
    table = tables.results_table(cut, parts, resamples=20)
    assert table["tracks"].tolist() == [6] * 4
    assert len(data["three"].dataset) == 60  # untouched
    tracks = data["three"].dataset.tracks.assign(group="one artist")
    alone = replace(data["three"], dataset=replace(data["three"].dataset, tracks=tracks))
    parts = paper.on_test_part(outcomes, {"three": alone})[1]
    assert parts["three"].dataset.tracks["group"].is_unique  # then tracks are drawn
    single = data["three"].dataset.tracks.assign(split=["test"] + [None] * 59)
    single = replace(data["three"], dataset=replace(data["three"].dataset, tracks=single))
    assert paper.on_test_part(outcomes, {"three": single})[0] == []


def test_published_vectors_take_the_place_of_texts(tmp_path):
    texts = LabelSpace("name").vectors(["calm", "angry / aggressive", "tender"])
    file = tmp_path / "vectors.npz"
    other = np.roll(texts[:2], 1, axis=1)
    names = np.array(["calm", "angry, aggressive"])
    np.savez(file, cal500_labels=names, cal500_vectors=other)
    space = LabelSpace("name", file=str(file))
    np.testing.assert_array_equal(space.vectors(["calm", "angry / aggressive"]), other)
    with pytest.warns(UserWarning, match="tender"):
        both = space.vectors(["calm", "tender"])
    np.testing.assert_allclose(both, [other[0], texts[2]], atol=1e-5)  # batches round otherwise
    described = space.describe()
    assert LabelSpace.from_description(described) == space
    with pytest.raises(ValueError, match=r"vectors\.npz"):
        LabelSpace.from_description({**described, "file_sha256": "0" * 64})
    np.savez(file, cal500_labels=names, cal500_vectors=other[:, :9])  # another language model's
    with pytest.raises(ValueError, match=r"vectors\.npz"):
        space.vectors(["calm"])


# --- docs/paper.md ---


def test_every_function_and_heading_that_the_map_names_is_there():
    text = (PROJECT / "docs" / "paper.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    names = [name for row in rows for name in re.findall(r"`(\w+\.[\w.]+)`", row[1])]
    assert len(names) > 15
    for name in names:
        assert resolve_name(f"mer_utils.{name}") is not None
    for row in rows:
        number, heading = row[2].strip().split(": ", 1)
        (path,) = (PROJECT / "notebooks").glob(f"{number}_*.ipynb")
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        assert re.search(rf"^#+ (\d+ · )?{re.escape(heading)}$", text, re.MULTILINE), row[2]
