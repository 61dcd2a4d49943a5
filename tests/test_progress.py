"""What long work says on the way."""

import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import distributed
import pytest

from mer_utils.batch import cli, profiles
from mer_utils.progress import only_python_on_stderr, warned_once


def test_each_warning_of_a_block_is_shown_once_though_python_forgets_what_it_showed():
    def warn(*texts):
        for text in texts:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
            warnings.warn(text, stacklevel=1)

    for block in (warned_once()(warn), warn):
        with pytest.warns(UserWarning, match="a|b") as found:
            block("a", "b", "a", "a")
        assert len(found) == (4 if block is warn else 2)
    show = warnings.showwarning
    with pytest.raises(KeyError), warned_once():
        raise KeyError
    assert warnings.showwarning is show


def test_libraries_in_c_are_quiet_on_stderr_and_python_is_not(capfd, monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    with only_python_on_stderr():
        os.write(2, b"a frame was mended")
        print("listening", file=sys.stderr)
    os.write(2, b" and after it")
    assert capfd.readouterr().err == "listening\n and after it"
    assert sys.stderr is sys.__stderr__
    monkeypatch.setattr(sys, "stderr", None)
    with only_python_on_stderr():  # nobody is there to be told
        pass


def test_a_song_is_heard_without_what_its_decoder_says(capfd, monkeypatch):
    monkeypatch.setattr(cli, "song_features", lambda *_: os.write(2, b"a frame was mended"))
    options = SimpleNamespace(over_time=False, hop=3.0)
    assert cli._listen([Path("song.mp3")], None, options) == ([18], [])
    assert capfd.readouterr().err == ""


def test_workers_that_are_lost_are_an_error(capsys, monkeypatch):
    monkeypatch.setattr(distributed, "Client", MagicMock())
    lost = MagicMock(side_effect=distributed.KilledWorker("shard", MagicMock(), 3))
    monkeypatch.setattr(profiles, "load_labelled", lost)
    assert cli.main(["extract", "--profile", "smoke", "--scheduler", "tcp://there:1"]) == 1
    assert "workers were lost" in capsys.readouterr().err
