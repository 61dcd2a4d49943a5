"""Profiles: small named sets of parameters, and the labelled features that each works on.

Everything that takes long is cached under `cache/` in the project, in folders named by what made
it, so any notebook can be run alone and finds or makes what it needs.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from os.path import exists, isfile  # of a text that can be no path it says no
from pathlib import Path

import numpy as np
import yaml

from mer_utils.corpus import demo
from mer_utils.data import LOADERS, Dataset, Labelled, load_folder, load_mulan
from mer_utils.evaluation import rivals
from mer_utils.sound import features, mert
from mer_utils.sound.cues import projector_input
from mer_utils.sound.encoders import ENCODERS, HUB, Encoder, load_encoder
from mer_utils.storage import CACHE, PROJECT, settings_hash, slug

_MULAN = {"cal500": "CAL500.arff", "emotions": "emotions.arff"}
FEWEST_TRACKS, FEWEST_GROUPS = 10, 5  # of a user's own dataset: for `supervised_reference`
# whose files are those that their authors publish, wherever they lie
KNOWN_LOADERS = {x.__name__ for x in LOADERS.values() if x.__module__.startswith("mer_utils.")}


@dataclass(frozen=True)
class Profile:
    """A named set of parameters.

    datasets: names of the datasets, in the order of every table.
    notebooks: the notebooks that it runs, by number.
    encoder: name of the audio encoder; None where the features come with the dataset.
    layers: which of its layers are stored; None for the encoder's default.
    size: pieces in each dataset of the built-in corpus; None where it is not used.
    parameters: notebook parameters that differ from the notebooks' own defaults.
    processes: of each notebook's long work; None for all cores (`pipeline.run`).
    shuffles_of_closed_forms: trainings of these on shuffled labels, in notebook 05.
    """

    name: str
    description: str
    datasets: tuple[str, ...]
    notebooks: tuple[str, ...]
    encoder: str | None = None
    layers: tuple[int, ...] | None = None
    size: int | None = None
    parameters: dict = field(default_factory=dict)
    processes: int | None = None
    shuffles_of_closed_forms: int = 20


_ENTRIES = yaml.safe_load(Path(__file__).with_name("profiles.yml").read_text(encoding="utf-8"))
PROFILES = {
    name: Profile(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()})
    for name, entry in _ENTRIES.items()
}


def get(name: str) -> Profile:
    """The profile of that name; ValueError lists the names there are."""
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]


def choose(name: str, encoder: str = "", csv: str = "") -> Profile:
    """A profile, changed for one run.

    encoder: another audio encoder than the profile's (`sound.load_encoder`).
    csv: a dataset of the user's own that joins the others, and is predicted too: a CSV
        (`data.load_folder`; a relative path is looked for in the project, then here), or a name
        in `data.LOADERS`.
    Raises ValueError for an unknown profile, and for one whose features come with the datasets.
    """
    profile = get(name)
    if (encoder or csv) and profile.encoder is None:
        raise ValueError(
            f"profile {name!r} has ready-made features and no audio: neither an encoder nor a "
            f"dataset of your own ({encoder or csv!r}) can be chosen; take another profile"
        )
    if encoder and encoder != profile.encoder:
        profile = replace(profile, encoder=encoder, layers=None)
    if csv and not csv.endswith(".csv") and exists(PROJECT / csv):
        raise ValueError(f"csv={csv!r}: expected a file of commas, of a name that ends in .csv")
    if csv:
        places = [PROJECT / csv, Path(csv).absolute()]
        own = str(next(filter(isfile, places), places[0]))
        own = own if csv.endswith(".csv") else csv
        if name_of(own) in profile.datasets:
            raise ValueError(
                f"{csv!r} has the name of a dataset of the profile, {name_of(own)}; rename the file"
            )
        profile = replace(profile, datasets=(*profile.datasets, own))
    return profile


def name_of(dataset: str) -> str:
    """What a dataset of a profile is called: a CSV's stem, else its name in `data.LOADERS`."""
    return Path(dataset).stem if dataset.endswith(".csv") else dataset.rpartition(":")[2]


def check_target(profile: Profile, target: object) -> None:
    """Refuse a target that is none of the profile's datasets."""
    targets = [name_of(dataset) for dataset in profile.datasets]
    if target not in targets:
        raise ValueError(f"no target {target!r}; there are {', '.join(targets)}")


def data_folder(name: str) -> Path:
    """Where a real dataset lies: `name` in $MER_DATA, data/ or, beside the project, shared/data/.

    name: "mtg_jamendo", "cal500", "emotify", "audio_emotion_4q", "mirex_mood" or "mulan".
    Raises FileNotFoundError with the places that were tried.
    """
    roots = [PROJECT / "data", PROJECT.parent / "shared" / "data"]
    if os.environ.get("MER_DATA"):
        roots.insert(0, Path(os.environ["MER_DATA"]))
        if not roots[0].is_dir():
            raise FileNotFoundError(f"MER_DATA is {roots[0]}, which is no folder")
    for root in roots:
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(
        f"no folder {name}/ in any of {', '.join(str(r) for r in roots)}; docs/data.md says "
        "where to get it and what it must look like; then set MER_DATA to the folder above it"
    )


def data_folders(datasets: Sequence[str]) -> list[Path]:
    """The folders of the real ones among a profile's datasets; errors as `data_folder`."""
    if datasets and not set(datasets) - {*_MULAN}:
        return [data_folder("mulan")]
    return [data_folder(_folder_of(name)) for name in datasets if name in LOADERS]


def check_inputs(profile: Profile, checkpoint: str = "", accept_licence: bool = False) -> None:
    """Stop before any work if the encoder's weights or a real dataset's folder are not there.

    accept_licence: of MERT's weights, which are then downloaded (`sound.mert.find_checkpoint`).
    Raises FileNotFoundError that says where they are to be had, and all errors of `load_folder`.
    """
    if profile.encoder in mert.PUBLISHED:
        mert.find_checkpoint(profile.encoder, checkpoint or None, accept_licence)
    for name in profile.datasets:
        if name.endswith(".csv"):
            own = load_folder(name)
            groups = own.tracks["group"].nunique()
            if len(own) < FEWEST_TRACKS or groups < FEWEST_GROUPS:
                raise ValueError(
                    f"{name}: {len(own)} tracks of {groups} groups (artists, if they are given); "
                    f"expected {FEWEST_TRACKS} of {FEWEST_GROUPS} or more, to cross-validate"
                )
        elif name not in demo.DEMO_DATASETS and profile.encoder:
            LOADERS[name]  # an unknown one is an error
    if profile.encoder and not profile.encoder.startswith(HUB):
        ENCODERS[profile.encoder]
    data_folders(profile.datasets)


def load_datasets(profile: Profile) -> dict[str, Dataset]:
    """The profile's datasets by name; the built-in corpus is composed if it is not there yet."""
    if profile.name == "mulan":
        return {name: labelled.dataset for name, labelled in load_labelled(profile).items()}
    datasets = [load_dataset(name, profile.size) for name in profile.datasets]
    return {dataset.name: dataset for dataset in datasets}


def load_dataset(name: str, size: int | None = None) -> Dataset:
    """A dataset by name, with the tracks that have audio: copies of CAL500 lack two songs, for one.

    name: one of the built-in corpus, a name in `data.LOADERS`, or the path of a CSV.
    size: pieces, of the built-in corpus.
    Raises FileNotFoundError that says where a real dataset, or all its audio, was looked for.
    """
    if name in demo.DEMO_DATASETS:
        return demo.build(name, size=size, seed=0, folder=CACHE / "demo_corpus")
    if name.endswith(".csv"):
        return load_folder(name)
    load, folder = LOADERS[name], data_folder(_folder_of(name))
    dataset = load(folder, audio="skip")
    if dataset.name != name_of(name):
        raise ValueError(f"the loader {name!r} gives a dataset called {dataset.name!r}")
    tracks = dataset.tracks.dropna(subset=["audio"])
    if tracks.empty:
        return load(folder, audio="require")  # stops with the loader's own error
    return replace(dataset, tracks=tracks)


def is_own(dataset: str) -> bool:
    """Whether a dataset of a profile is the user's: a CSV, or from a file of theirs."""
    return dataset.endswith(".csv") or ".py:" in dataset


def _folder_of(dataset: str) -> str:
    """The folder of a dataset below that of all data."""
    return name_of(dataset).replace("-", "_")


def load_labelled(
    profile: Profile,
    checkpoint: str | None = None,
    executor: Executor | None = None,
    jobs: int | None = None,
) -> dict[str, Labelled]:
    """The profile's datasets with their features, extracted if they are not there yet.

    checkpoint: folder with the encoder's weights, for an encoder that needs one.
    executor, jobs: for the extraction, as in `sound.extract`.
    """
    if profile.name == "mulan":
        folder = data_folder("mulan")
        return {name: Labelled(*load_mulan(folder / _MULAN[name])) for name in profile.datasets}
    encoder = load_encoder(profile.encoder, checkpoint=checkpoint or None, layers=profile.layers)
    labelled = {}
    for name, dataset in load_datasets(profile).items():
        store = feature_store(profile, dataset, encoder)
        extracted = features.extract(dataset, encoder, store, executor, jobs=jobs)
        labelled[name] = Labelled(dataset, projector_input(extracted))
    return labelled


def load_synthetic(profile: Profile, checkpoint: str | None = None) -> list[Labelled]:
    """The built-in corpus of the profile "demo", heard by another profile's encoder.

    Raises ValueError for a profile without an encoder, and for one that has the corpus already.
    """
    if profile.encoder is None or {*profile.datasets} & {*demo.DEMO_DATASETS}:
        raise ValueError(
            f"synthetic: profile {profile.name!r} has no audio encoder, or the built-in corpus "
            "itself; take another profile, or synthetic=false"
        )
    same = {"encoder": profile.encoder, "layers": profile.layers}
    return [*load_labelled(replace(get("demo"), **same), checkpoint).values()]


def audio_state(dataset: Dataset) -> list:
    """Path, size and time of each audio file: what tells a user's own files apart."""
    files = [Path(path) for path in dataset.tracks["audio"].dropna()]
    states = [(str(file), file.stat()) for file in files if file.is_file()]
    return [[path, state.st_size, state.st_mtime_ns] for path, state in states]


def feature_store(profile: Profile, dataset: Dataset, encoder: Encoder) -> Path:
    """Folder of a dataset's features, named by all that decides them, code too, but rounding."""
    settings = encoder.settings()
    decisive = {k: v for k, v in settings.items() if k not in ("device", "torch", "transformers")}
    made_by = {"dataset": dataset.source, "encoder": decisive, "code": features.code_hash(encoder)}
    if dataset.name not in demo.DEMO_DATASETS and dataset.source.get("loader") not in KNOWN_LOADERS:
        made_by["audio"] = audio_state(dataset)
    name = slug(f"{dataset.name}-{profile.encoder}")
    return CACHE / "features" / f"{name}-{settings_hash(made_by)}"


def oracles(profile: Profile, loaded: Mapping[str, Dataset]) -> dict[str, np.ndarray]:
    """The best possible scores of the built-in corpus, (tracks, labels) each; none of real data."""
    built_in = [name for name in profile.datasets if name in demo.DEMO_DATASETS]
    return {name: demo.oracle_scores(loaded[name]) for name in built_in}


def clap_scores(
    profile: Profile, loaded: Mapping[str, Dataset], checkpoint: str
) -> dict[str, np.ndarray]:
    """What CLAP says of the datasets that have audio, (tracks, labels) each; none without it.

    checkpoint: folder or Hub repository of a CLAP; "" for none.
    """
    if not checkpoint:
        return {}
    if profile.encoder is None:
        raise ValueError(f"profile {profile.name!r} has no audio for CLAP ({checkpoint!r}) to hear")
    encoder, scores = load_encoder(f"hf:{checkpoint}"), {}
    for name, dataset in loaded.items():
        store = feature_store(replace(profile, encoder="clap"), dataset, encoder)
        part = Labelled(dataset, features.extract(dataset, encoder, store))
        scores[name] = rivals.clap_scores(part, encoder)
    return scores


LOADERS.reserved.update({*demo.DEMO_DATASETS, *_MULAN} - {*LOADERS})
