"""The kernels that notebooks run in: how they begin, in what environment, how they are ended.

Importing PyTorch, scikit-learn and the like takes a kernel three seconds. On Linux one process,
`python -m mer_utils.batch.kernels`, does it once and forks a kernel whenever it is asked for one.
It computes nothing; what threads there are in it are libraries' that mind a fork (OpenBLAS's,
pyarrow's allocator's). It ends with the process that began it, and then its kernels end, too.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, Popen
from unittest.mock import patch

import numpy as np
import psutil
import torch
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from mer_utils import storage

# A fork of a process that a GPU's driver is loaded in could not use the GPU.
FORKED = sys.platform == "linux" and not torch.cuda.is_available()
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PACKAGE = Path(storage.__file__).parent
ANSWER_SECONDS = 600.0  # imports from a slow disk included
ONE_AT_A_TIME = threading.Lock()
FORKERS: dict[tuple, tuple[socket.socket, Popen]] = {}  # by code and environment; usually one
IMPORTED = (
    "ipykernel.kernelapp",
    "mer_utils.batch.profiles",
    "mer_utils.evaluation",
    "mer_utils.figures",
    "mer_utils.predict",
    "sentence_transformers",
    "sklearn.cluster",
    "transformers.models.hubert.modeling_hubert",
)


@contextmanager
def quiet_kernels(threads: int, processes: int) -> Iterator[None]:
    """An environment for the kernels that begin in it: so many threads each, and processes for
    their long work; no progress bars, which would fill the executed notebook.
    """
    limits = dict.fromkeys(THREADS, str(threads)) | {"LOKY_MAX_CPU_COUNT": str(processes)}
    limits["PYTHONWARNINGS"] = "ignore:A worker stopped while some jobs:UserWarning"  # joblib's
    with patch.dict(os.environ, limits | {"TQDM_DISABLE": "1", storage.BATCH: "1"}):
        yield


def running_kernels() -> list[psutil.Process]:
    """The kernels that this process began, forked or not."""
    own = psutil.Process().children()
    forked = [kernel for child in own if _is(child, __name__) for kernel in child.children()]
    return [child for child in own if _is(child, "ipykernel_launcher")] + forked


def _is(process: psutil.Process, module: str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return module in process.cmdline()
    return False


def stop_kernels() -> None:
    """End the kernels that this process began, with their workers, and what forks them; they run in
    sessions of their own, where Ctrl-C does not reach them.
    """
    forkers = [child for child in psutil.Process().children() if _is(child, __name__)]
    for kernel in forkers + running_kernels():
        with suppress(psutil.NoSuchProcess):
            workers = kernel.children(recursive=True)
            kernel.kill()
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()


class KernelManager(AsyncKernelManager):
    """Jupyter's, for kernels that are forked where they can be."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        if FORKED:
            self.provisioner = ForkedKernels(parent=self, kernel_spec=self.kernel_spec)


class ForkedKernels(LocalProvisioner):
    """Begins a kernel as a fork, which Jupyter then sees like any on this machine."""

    async def launch_kernel(self, cmd: list[str], **settings: object) -> dict:
        """Fork one, or begin it as usual where that fails.

        cmd: what begins it as usual: python -m ipykernel_launcher …
        """
        folder = os.fspath(settings.get("cwd") or os.getcwd())
        try:
            pid = _fork(json.dumps({"arguments": cmd[3:], "folder": folder}), settings["env"])
            self.process = ForkedKernel(pid)
        except (OSError, ValueError, psutil.NoSuchProcess):
            return await super().launch_kernel(cmd, **settings)
        self.pid = self.pgid = pid
        self.cwd = folder
        return self.connection_info


class ForkedKernel(psutil.Process):
    """What Jupyter asks of a `subprocess.Popen`, of a process that is no child of this one."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        """None while it runs, else 0: how it ended is not known."""
        with suppress(psutil.NoSuchProcess):
            if self.is_running() and self.status() != psutil.STATUS_ZOMBIE:
                return None
        return 0

    def send_signal(self, sig: int) -> None:
        """Raises ProcessLookupError, as a Popen does, if it is gone."""
        try:
            super().send_signal(sig)
        except psutil.NoSuchProcess as error:
            raise ProcessLookupError(self.pid) from error

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


@contextmanager
def prepared(quiet: AbstractContextManager) -> Iterator[None]:
    """Begin what forks kernels, so that it imports while the block checks; an error there ends it.

    quiet: `quiet_kernels` of the kernels to come.
    """
    if FORKED:
        with quiet, ONE_AT_A_TIME, suppress(OSError):
            _forker(dict(os.environ))
    try:
        yield
    except BaseException:
        with ONE_AT_A_TIME:
            _end_idle_forkers()
        raise


def _end_idle_forkers(but: tuple = ()) -> None:
    """End those that have no kernel, and forget those that have ended."""
    for key, (asked, process) in list(FORKERS.items()):
        ended = process.poll() is not None
        if ended or (key != but and not psutil.Process(process.pid).children()):
            asked.close()
            process.kill()
            process.wait()
            del FORKERS[key]


def _fork(wanted: str, environment: dict[str, str]) -> int:
    """The process id of a new kernel; OSError or ValueError if there is no answer."""
    with ONE_AT_A_TIME:
        asked, process = _forker(environment)
        try:
            asked.sendall(wanted.encode() + b"\n")
            return int(asked.makefile().readline())
        except BaseException:  # Ctrl-C too: the answer to come would be taken for that of the next
            process.kill()
            process.wait()
            raise


def _forker(environment: dict[str, str]) -> tuple[socket.socket, Popen]:
    """What forks kernels of this code with this environment, begun if need be, and the way to it.

    Others end that have no kernel.
    """
    code = max(path.stat().st_mtime_ns for path in PACKAGE.rglob("*.py"))
    key = (code, *sorted(environment.items()))
    _end_idle_forkers(but=key)
    if key in FORKERS:
        return FORKERS[key]
    ours, theirs = socket.socketpair()
    ours.settimeout(ANSWER_SECONDS)
    with theirs:
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        # in a session of its own, as a kernel: Ctrl-C is for who began it
        how = {"pass_fds": [theirs.fileno()], "stdin": DEVNULL, "start_new_session": True}
        FORKERS[key] = ours, Popen(command, env=environment, **how)
    return FORKERS[key]


def fork_kernels(asked: socket.socket) -> None:
    """Import, then fork a kernel for each line of JSON, until nobody is there to ask."""
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # a kernel ends when its parent has ended
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    if not sys.flags.safe_path:
        del sys.path[0]  # the folder that this was begun in
    for module in IMPORTED:
        with suppress(Exception):  # the cell that needs it says so
            importlib.import_module(module)
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a kernel
    gc.freeze()  # what is there now stays: the kernels share its memory
    with asked, asked.makefile() as lines:
        while (line := lines.readline()) and (pid := os.fork()):
            try:
                asked.sendall(f"{pid}\n".encode())
            except BrokenPipeError:  # who asked was killed
                return
    if line:  # this is the fork
        _become_kernel(**json.loads(line))


def _become_kernel(arguments: list[str], folder: str) -> None:
    """What a kernel does that is begun by its command, in this process."""
    from ipykernel.kernelapp import IPKernelApp

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    np.random.seed()  # noqa: NPY002 - else the global generator is the same in every kernel
    os.setsid()
    os.chdir(folder)
    sys.argv = ["ipykernel_launcher", *arguments]
    IPKernelApp.launch_instance(arguments)


if __name__ == "__main__":
    fork_kernels(socket.socket(fileno=int(sys.argv[1])))
