"""Files: written whole or not at all, and read without running anything.

Every file is written under a temporary name in its own folder and then moved, so a run that is
killed never leaves half a file. Formats: JSON, npy, parquet/CSV, safetensors; no pickle.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

PROJECT = Path(__file__).resolve().parents[1]
CACHE = PROJECT / "cache"  # what takes long to make, in files and folders named by what made them
LOCK = ".lock"  # the file in a folder that only one process at a time may hold


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; move it to `path` if the block succeeds.

    The folder is made if it is missing. If the block raises, nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Let only one process at a time work on a folder; the others wait, and say so.

    The folder is made if it is missing, and a file `.lock` stays in it. The lock goes with the
    process that holds it, however that ends.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder}: another process is at work here; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write a JSON file (indented, keys in the given order, no NaN)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> object:
    """Read a JSON file; an unreadable one is an error that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: not readable as JSON ({error}); delete it and make it again"
        ) from error


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy a file."""
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write one array as npy."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: str | Path, memory_map: bool = False) -> np.ndarray:
    """Read one npy array, memory-mapped if asked."""
    return np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as parquet or CSV, by the ending of `path`."""
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{path}: a table is written as .parquet or .csv, not {path.suffix!r}")
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary)
        else:
            table.to_csv(temporary, index=not isinstance(table.index, pd.RangeIndex))


def write_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors as safetensors."""
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata)


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read named tensors from a safetensors file; an unreadable one is an error that names it."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not readable as safetensors ({error}); delete it and make it again"
        ) from error


def slug(name: str) -> str:
    """A name fit for a folder: lower case, letters, digits and dashes."""
    ascii_name = name.replace("λ", "lambda").lower()
    return re.sub(r"[^a-z0-9.]+", "-", ascii_name).strip("-")


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settings_hash(settings: Mapping) -> str:
    """A short hash of JSON-able settings, the same for the same settings in any order."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
