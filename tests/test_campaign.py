"""Every kind of hostile try once; `make campaign` makes thousands."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.campaign
def test_a_try_of_every_kind_holds():
    command = [sys.executable, "-m", "tests.campaign", "--tries", "2"]
    subprocess.run(command, cwd=Path(__file__).resolve().parents[1], check=True)
