"""What long work says on the way."""

import os
import sys
import warnings

import pytest

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
