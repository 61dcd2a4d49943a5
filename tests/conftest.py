"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# One thread a process: pytest's workers and the kernels that they start share the cores, and small
# networks wait more for one another's threads than they compute. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without Intel's AMX, whose bfloat16 convolutions can be wrong, which `load_encoder` refuses.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real datasets: $MER_DATA, data/ in the project or shared/data beside it."""
    candidates = [os.environ.get("MER_DATA"), PROJECT / "data", PROJECT.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    pytest.skip("no real data: set MER_DATA or make data/ (README, 'Data')")


@pytest.fixture(scope="session")
def mulan_root(data_root: Path) -> Path:
    """Mulan's CAL500.arff and emotions.arff."""
    return _part(data_root, "mulan")


@pytest.fixture(scope="session")
def emotify_root(data_root: Path) -> Path:
    """Emotify's data.csv and emotifymusic/ (perhaps not all mp3s)."""
    return _part(data_root, "emotify")


@pytest.fixture(scope="session")
def audio_emotion_4q_root(data_root: Path) -> Path:
    """The 4Q clips' metadata and annotations, and Q1/ to Q4/ (perhaps not all mp3s)."""
    return _part(data_root, "audio_emotion_4q")


@pytest.fixture(scope="session")
def mirex_root(data_root: Path) -> Path:
    """The MIREX-like mood clips' lists, and Audio/ (perhaps not all mp3s)."""
    return _part(data_root, "mirex_mood")


@pytest.fixture(scope="session")
def mtg_root(data_root: Path) -> Path:
    """MTG-Jamendo's metadata."""
    return _part(data_root, "mtg_jamendo")


def _part(data_root: Path, name: str) -> Path:
    if not (data_root / name).is_dir():
        pytest.skip(f"no real data: {name}/ is not in {data_root.name}/")
    return data_root / name
