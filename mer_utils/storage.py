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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file, save_file

PROJECT = Path(__file__).resolve().parents[1]
CACHE = PROJECT / "cache"  # what takes long to make, in files and folders named by what made them
Shape = Sequence[int | None]  # None for any size
MEND = "delete it and make or get it again"  # what to do about a file that is not what was written
_adapter = cache(TypeAdapter)
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


def read_json(path: str | Path, schema: object = object, mend: str = MEND) -> Any:
    """Read a JSON file; ValueError names file, field, what was expected and what was found.

    schema: what it has to be, as pydantic takes it, such as a model that stands beside the noun
        that the file describes. mend: what to do if it is not.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=int)  # which NaN and infinity are not
        _adapter(schema).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "all of it"
        found = f"{first['msg']}, found {first['input']!r:.80}"
        raise ValueError(f"{path}: {field}: {found}; {mend}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); {mend}") from error
    return value


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy a file."""
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write one array as npy."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: str | Path, shape: Shape, memory_map: bool = False) -> np.ndarray:
    """Read one npy array of floating point, memory-mapped if asked; errors as `check`."""
    with reading(path, "npy"):  # mapped: never more than the file holds, whatever it claims
        array = np.lib.format.open_memmap(path, mode="r")
    array = array if memory_map else np.array(array)
    check(path, {"it": array}, {"it": shape}, finite=not memory_map)
    return array


@contextmanager
def reading(path: str | Path, form: str) -> Iterator[None]:
    """Turn what a library says of a damaged file, a dozen kinds, into one error that names it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and type(error) is not OSError:
            raise  # not there, not ours to read
        raise ValueError(f"{path}: not readable as {form} ({error}); {MEND}") from error


def check(
    path: object, values: Mapping[str, Any], shapes: Mapping[str, Shape] | None, finite: bool = True
) -> None:
    """Raise ValueError for arrays or tensors, by name, that are not what was kept in a file.

    shapes: of those of floating point that have to be there.
    finite: whether what is of floating point may hold neither NaN nor infinity.
    """
    for name, found in values.items():
        if isinstance(found, torch.Tensor):
            if found.layout != torch.strided or found.is_meta or found.is_quantized:
                raise ValueError(f"{path}: {name} is no plain tensor; {MEND}")
        elif not isinstance(found, np.ndarray):
            raise ValueError(f"{path}: {name} is {type(found).__name__}, no tensor; {MEND}")
        if finite and "float" in str(found.dtype) and not torch.as_tensor(found).isfinite().all():
            raise ValueError(f"{path}: {name} holds NaN or infinity, expected numbers; {MEND}")
    for name, shape in (shapes or {}).items():
        found = values.get(name, np.empty(0, dtype=bool))
        sizes = zip_longest(shape, found.shape, fillvalue=-1)
        if "float" not in str(found.dtype) or any(x not in (None, y) for x, y in sizes):
            there = f"{found.dtype} {tuple(found.shape)}" if name in values else "missing"
            raise ValueError(f"{path}: {name} is {there}, expected floats {(*shape,)}; {MEND}")


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


def read_table(
    path: str | Path, numbers: Sequence[str] = (), texts: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table from parquet; ValueError, naming the file, for a damaged or another one.

    numbers, texts: columns that it has to have: of finite numbers, of text.
    """
    with reading(path, "parquet"):
        table = pd.read_parquet(path)
        found = [np.isfinite(table[column]).all() for column in numbers]
        found += [table[column].map(type).eq(str).all() for column in texts]
        if not all(found):
            raise ValueError(f"expected numbers in {numbers}, texts in {texts}")
    return table


def read_tensors(
    path: str | Path, shapes: Mapping[str, Shape] | None = None
) -> dict[str, torch.Tensor]:
    """Read named tensors from a safetensors file; errors as `check`, and for a damaged file."""
    with reading(path, "safetensors"):
        tensors = load_file(path)
    check(path, tensors, shapes)
    return tensors


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
