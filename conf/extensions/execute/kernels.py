"""Start each kernel as a copy of one process that has torch and matplotlib loaded.

The gap: a kernel starts from nothing and imports torch and matplotlib anew, 2.7 s for
each page. Here one process imports them, does nothing else, and forks itself for each
page or notebook; jupyter_client reaches it through a provisioner. What a page does stays
in its own process, so nothing can leak from page to page.

Run as a script this file is that process. It reads one request a line from its standard
input (what else to load, arguments, folder, environment), loads that once, forks, and
answers with the process id. It ends
when its input ends or the builder does, and takes with it its kernels and what pages have
started in them.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

PRELOAD = ("IPython", "ipykernel.kernelapp", "matplotlib.pyplot", "torch", "attn_examples")
MORE = "ATTN_PRELOAD"  # in the environment of a kernel: another module to load before
HEAVY = "transformers.modeling_utils"  # the part that all of its models load: 1.8 s
NAME = "forked-from-a-loaded-process"
WORKS = sys.platform == "linux"  # elsewhere a fork of loaded libraries is not safe
AFTERWARDS = contextlib.ExitStack()  # what ends with the build, however it ends


class Loaded:
    """The process that has everything loaded, seen from the builder."""

    def __init__(self, log: Any, python: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [python, "-P", __file__, str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the builder to handle
            )
        self._channel = ours.makefile("rw")
        self._asking = threading.Lock()
        ours.close()

    def fork(self, **request: Any) -> int:
        """Start a kernel and return its process id."""
        with self._asking:
            print(json.dumps(request), file=self._channel, flush=True)
            answer = self._channel.readline()
        if not answer:
            raise RuntimeError("the process that kernels are forked from has died")
        return int(answer)

    def close(self) -> None:
        """End the process, and with it every kernel that still runs."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._channel.close()


class Forked:
    """A forked kernel, with what jupyter_client asks of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """Return None while it runs; how it ended is not known here."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 1
        return None

    def wait(self) -> int:
        """Return at once: jupyter_client waits by polling."""
        return 1

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


@functools.cache
def load(log: Path, python: str = sys.executable) -> Loaded:
    """Start the process, once for a build and a Python."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        loaded = Loaded(file, python)
    AFTERWARDS.callback(loaded.close)
    return loaded


def register(find: Callable[[str], Loaded | None]) -> None:
    """Make the provisioner known, and the one that is used by default.

    Parameters
    ----------
    find : callable
        Takes the Python that is to run a kernel; returns the process to fork, if there is one.
    """
    # here, for the script below runs without the builder's modules
    from jupyter_client.provisioning.factory import KernelProvisionerFactory
    from jupyter_client.provisioning.local_provisioner import LocalProvisioner

    class Provisioner(LocalProvisioner):
        """Asks the loaded process for a kernel; all else is as with any local kernel."""

        async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
            """Fork instead of starting `cmd`."""
            loaded = find(cmd[0])
            if loaded is None:
                return await super().launch_kernel(cmd, **kwargs)
            env = dict(kwargs["env"])
            pid = loaded.fork(
                more=env.pop(MORE, ""),
                argv=cmd[cmd.index("ipykernel_launcher") + 1 :],
                cwd=str(kwargs["cwd"]),
                env=env,
            )
            self.process = Forked(pid)  # type: ignore[assignment]
            self.pid = self.pgid = pid  # it leads its own group
            self.cwd = kwargs["cwd"]
            return self.connection_info

    global _provisioner
    _provisioner = Provisioner
    factory = KernelProvisionerFactory.instance()
    # an entry point as an installed package would bring it, but conf/ is not installed
    factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:_provisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = NAME


_provisioner: Any = None


def _main(parent: int) -> None:
    kernels: list[int] = []

    def reap(*_: object) -> None:  # what is waited for counts in the processor time of the build
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def end(*_: object) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for kernel in kernels:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(kernel, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    die_with(parent, signal.SIGTERM)
    signal.signal(signal.SIGCHLD, reap)
    channel = socket.socket(fileno=0)
    lines = channel.makefile("rw")
    preload(*PRELOAD)
    for line in lines:
        request = json.loads(line)
        preload(request.pop("more", ""))
        pid = os.fork()
        if pid == 0:
            _become_kernel(parent=os.getppid(), **request)
        kernels.append(pid)
        print(pid, file=lines, flush=True)
    end()


@functools.cache
def preload(*names: str) -> None:
    """Load modules that are there; a notebook may do without some."""
    for name in filter(None, names):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is loaded stays shared between the copies


def _become_kernel(parent: int, argv: list[str], cwd: str, env: dict[str, str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    die_with(parent)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # the channel to the builder
    os.close(nothing)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))  # a cell fails, not the machine
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    from ipykernel.kernelapp import launch_new_instance

    try:
        launch_new_instance(argv=argv)
    finally:
        os._exit(0)


def die_with(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to end this process when its parent ends, however it ends."""
    ctypes.CDLL(None).prctl(1, how)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
