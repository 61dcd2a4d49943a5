"""The kernels that notebooks run in: how they begin, in what environment, how they are ended.

Importing PyTorch, scikit-learn and the like takes a kernel three seconds. On Linux one process,
`python -m mer_utils.batch.kernels`, does it once and forks a kernel whenever it is asked for one.
It has no threads of its own and runs nothing, so a fork of it is sound. It ends with the process
that began it, and then its kernels end, too.
"""

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from unittest.mock import patch

import psutil
import torch
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from mer_utils import storage

# A fork of a process that a GPU's driver is loaded in could not use the GPU.
FORKED = sys.platform == "linux" and not torch.cuda.is_available()
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
ONE_AT_A_TIME = threading.Lock()
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
    """End the kernels that this process began, with their workers; they run in sessions of their
    own, where Ctrl-C does not reach them.
    """
    for kernel in running_kernels():
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
        """Fork one; `cmd` is what would begin it otherwise: python -m ipykernel_launcher …"""
        folder = os.fspath(settings.get("cwd") or os.getcwd())
        wanted = json.dumps({"arguments": cmd[3:], "folder": folder})
        with ONE_AT_A_TIME:
            environment = tuple(settings["env"].items())
            asked, process = _forker(environment)
            if process.poll() is not None:
                _forker.cache_clear()
                asked, process = _forker(environment)
            try:
                asked.sendall(wanted.encode() + b"\n")
                self.pid = self.pgid = int(asked.makefile().readline())
            except (OSError, ValueError):  # no answer
                raise ChildProcessError("what kernels are forked from has died") from None
        self.process, self.cwd = ForkedKernel(self.pid), folder
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


@lru_cache(maxsize=1)
def _forker(environment: tuple[tuple[str, str], ...]) -> tuple[socket.socket, subprocess.Popen]:
    """The process that forks kernels, and the way to it; the last one ends when another begins."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        pipes = {"pass_fds": [theirs.fileno()], "stdin": subprocess.DEVNULL}
        return ours, subprocess.Popen(command, env=dict(environment), **pipes)


def fork_kernels(asked: socket.socket) -> None:
    """Import, then fork a kernel for each line of JSON, until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who began this process stops the kernels
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # a kernel ends when its parent has ended
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    if not sys.flags.safe_path:
        del sys.path[0]  # the folder that this was begun in
    for module in IMPORTED:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a kernel
    gc.freeze()  # what is there now stays: the kernels share its memory
    with asked, asked.makefile() as lines:
        while (line := lines.readline()) and (pid := os.fork()):
            asked.sendall(f"{pid}\n".encode())
    if line:  # this is the fork
        _become_kernel(**json.loads(line))


def _become_kernel(arguments: list[str], folder: str) -> None:
    """What a kernel does that is begun by its command, in this process."""
    from ipykernel.kernelapp import IPKernelApp

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(folder)
    sys.argv = ["ipykernel_launcher", *arguments]
    IPKernelApp.launch_instance(arguments)


if __name__ == "__main__":
    fork_kernels(socket.socket(fileno=int(sys.argv[1])))
