"""Files: written whole or not at all, and read without running anything.

Every file is written under a temporary name in its own folder and then moved, so neither a run that
is killed nor a loss of power leaves half a file. Formats: JSON, npy, parquet/CSV, safetensors; no
pickle.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save

PROJECT = Path(__file__).resolve().parents[1]
CACHE = PROJECT / "cache"  # what takes long to make, in files and folders named by what made them
Shape = Sequence[int | None]  # None for any size
MEND = "delete it and make or get it again"  # what to do about a file that is not what was written
CHANGED = "its bytes have changed since it was written"
_adapter = cache(TypeAdapter)
BATCH = "MER_UTILS_BATCH"  # in the environment of kernels whose notebooks are to be read
LOCK = ".lock"  # the file in a folder that only one process at a time may hold
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
_MENDS = {
    "ENOSPC EDQUOT": "free some space, or choose another disk",
    "EROFS EACCES EPERM": "choose a place that you may use, or change its permissions",
    "ENAMETOOLONG": "choose a shorter name",
    "ENOTDIR EEXIST": "something else has this name, or a part of it: choose another",
    "EISDIR": "name a file",
    "ELOOP": "links lead in a circle: remove one",
    "EMFILE ENFILE": "close other programs, or raise the limit (ulimit -n)",
    "EFBIG": "the file is too large for this disk, or for the limit (ulimit -f)",
    "ENOENT": "check the spelling, or make it first",
}


def told(error: BaseException) -> str:
    """What an error says; of one of the system, path and mend instead of its number."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    paths = [str(x) for x in (error.filename, error.filename2) if x is not None]
    name = errno.errorcode.get(error.errno)
    mend = next((_MENDS[x] for x in _MENDS if name in x.split()), "mend it, then try again")
    return f"{' to '.join(paths) or 'a file'}: {error.strerror}; {mend}"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a new, empty temporary file in the folder of `path`; move it if the block succeeds.

    The folder is made if it is missing. If the block raises, nothing is left behind; what a killed
    process leaves is removed by the next one that writes into the folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent.absolute())
    temporary = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.tmp")
    try:
        with _locked_file(temporary) as held:
            yield temporary
            os.fsync(held)
            os.replace(temporary, path)
    except OSError as error:
        if error.errno and error.filename in (None, temporary, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked_file(path: Path) -> Iterator[BinaryIO]:
    """Make a file, locked while this process lives: `_clear` of another sees by it that it does."""
    with open(path, "xb") as file:
        with suppress(OSError):  # of a disk without locks: there nothing is cleared
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            yield file
            return
    with _locked_file(path) as file:  # the first was cleared before it was locked
        yield file


def is_ours(path: Path) -> bool:
    """Whether a file is a lock or a temporary file of this module."""
    return path.name == LOCK or bool(_TEMPORARY.fullmatch(path.name))


@cache
def _clear(folder: Path) -> None:
    """Remove temporary files of processes that were killed, once a folder and process."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            with suppress(OSError), open(path, "rb") as file:  # an error: its writer lives
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


@contextmanager
def locked(folder: str | Path, name: str = LOCK) -> Iterator[None]:
    """Let only one process at a time work on a folder; the others wait and say so, but in BATCH.

    The folder is made if it is missing, and a file `name` stays in it. The lock goes with the
    process that holds it, however that ends. A folder that cannot be written to needs none.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        yield
        return
    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if BATCH not in os.environ:
            print(f"{str(folder)!r}: another process is at work here; waiting", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file; what UTF-8 cannot say, of a file's name say, as JSON escapes it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


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
    """Write one array as npy; its SHA-256 follows it, where other programs do not look."""
    content = io.BytesIO()  # numpy does not tell of a disk that is full in the middle of a file
    np.save(content, array, allow_pickle=False)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())


def read_array(path: str | Path, shape: Shape, memory_map: bool = False) -> np.ndarray:
    """Read one npy array of floating point; errors as `check`, and for a damaged file.

    memory_map: leave it on disk, without a look at its numbers; else `write_array` has to have
        written it: one whose SHA-256 is not that of its bytes is damaged.
    """
    with reading(path, "npy"):  # mapped: never more than the file holds, whatever it claims
        array = np.lib.format.open_memmap(path, mode="r")
        if not memory_map:
            whole = Path(path).read_bytes()
            content, digest = whole[:-32], whole[-32:]
            fits = array.offset + array.nbytes == len(content)
            if not fits or hashlib.sha256(content).digest() != digest:
                raise ValueError(CHANGED)
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
        checked = torch.as_tensor(found) if finite and "float" in str(found.dtype) else None
        if checked is not None and not checked.float().isfinite().all():  # in single precision
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
            temporary.write_bytes(table.to_parquet(write_page_checksum=True))
        else:
            index = not isinstance(table.index, pd.RangeIndex)
            table.to_csv(temporary, index=index, errors="backslashreplace")


def write_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors as safetensors, with the metadata or, without any, their SHA-256."""
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    # not beside other metadata: safetensors writes that in any order, and files are to be the same
    metadata = metadata or {"sha256": tensors_hash(plain)}
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain, metadata))  # `save_file` has a temporary file of its own


def read_table(
    path: str | Path, numbers: Sequence[str] = (), texts: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table from parquet; ValueError, naming the file, for a damaged or another one.

    numbers, texts: columns that it has to have: of finite numbers, of text.
    """
    with reading(path, "parquet"):
        table = pd.read_parquet(path, page_checksum_verification=True)
        found = [np.isfinite(table[column]).all() for column in numbers]
        found += [all(isinstance(x, str) for x in table[column]) for column in texts]
        if not all(found):
            raise ValueError(f"expected numbers in {numbers}, texts in {texts}")
    return table


def read_tensors(
    path: str | Path, shapes: Mapping[str, Shape] | None = None
) -> dict[str, torch.Tensor]:
    """Read named tensors from a safetensors file; errors as `check`, and for a damaged file."""
    with reading(path, "safetensors"):
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("sha256")
        if written and written != tensors_hash(tensors):
            raise ValueError(CHANGED)
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


def tensors_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of named tensors: their names, types, shapes and values."""
    return hashlib.sha256(save(dict(tensors))).hexdigest()


def settings_hash(settings: Mapping) -> str:
    """A short hash of JSON-able settings, the same for the same settings in any order."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
