"""One environment for all kernels.

The gap: MyST-NB starts kernels with the builder's environment, whatever that is.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from jupyter_client.manager import KernelManager

from extensions.shared import ROOT

BUILD = Path(os.environ.get("ATTN_BUILD_DIR", ROOT / "build"))
EXECUTED = BUILD / "executed"  # what pages gave
LOG = EXECUTED / "kernels.log"
FILES = ("conf/matplotlibrc", "conf/extensions/execute/settings.py")  # outputs depend on them

_IPYTHON_CONFIG = """\
c = get_config()
c.InlineBackend.figure_formats = {"svg"}
c.HistoryManager.enabled = False
c.InteractiveShellApp.exec_PYTHONSTARTUP = False

# What a cell prints arrives in one piece, however busy the machine is
from ipykernel.iostream import OutStream
OutStream.flush_interval = 1e6

# Which files of the project does the page open?
import os, sys

def note(event, arguments, seen=set(), root=os.environ.get("ATTN_ROOT", "") + os.sep,
         trace=os.environ.get("ATTN_TRACE")):
    if event == "open" and isinstance(arguments[0], str) and arguments[0] not in seen:
        seen.add(arguments[0])
        path = os.path.abspath(arguments[0])
        if path.startswith(root) and not set(arguments[1] or "r") & set("wax"):
            file = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{path}\\n".encode())
            os.close(file)

if "ATTN_TRACE" in os.environ:
    sys.addaudithook(note)
"""

_ENVIRONMENT = {
    "ATTN_ROOT": str(ROOT),
    "COLUMNS": "100",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "LC_ALL": "C.UTF-8",
    "MATPLOTLIBRC": str(ROOT / "conf" / "matplotlibrc"),
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",  # sums are then added in one order on every machine
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": str(ROOT),
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm would like ipywidgets
    "SOURCE_DATE_EPOCH": "1767225600",  # the year in conf.py; no output shows another date
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TZ": "UTC",
}


def apply() -> None:
    """Set the environment that kernels inherit, with their configuration in the build folder."""
    ipython_dir = BUILD / "ipython"
    profile = ipython_dir / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    file = profile / "ipython_kernel_config.py"
    if not file.exists() or file.read_text() != _IPYTHON_CONFIG:
        file.write_text(_IPYTHON_CONFIG)
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # such as PYTHONOPTIMIZE, with which no assertion fails
    os.environ.update(_ENVIRONMENT, IPYTHONDIR=str(ipython_dir))
    time.tzset()
    if not os.environ.get("ATTN_EXAMPLES_BERT"):  # who names a model may need to fetch it
        os.environ["HF_HUB_OFFLINE"] = "1"
    # without keys each kernel complains on stderr that others on this machine could listen
    KernelManager.transport_encryption.default_value = "auto"
