"""One environment for all kernels, and a digest of what their outputs depend on.

The gap: MyST-NB starts kernels with the builder's environment, and its cache looks at a
page's cells alone, so that a change of the package leaves old outputs in place.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from jupyter_client.manager import KernelManager

_IPYTHON_CONFIG = """\
c = get_config()
c.InlineBackend.figure_formats = {"svg"}
c.HistoryManager.enabled = False

# What a cell prints arrives in one piece, however busy the machine is
from ipykernel.iostream import OutStream
OutStream.flush_interval = 1e6
"""

_ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MATPLOTLIBRC": str(Path(__file__).parent.parent / "matplotlibrc"),
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",  # sums are then added in one order on every machine
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm would like ipywidgets
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


def apply(ipython_dir: Path) -> None:
    """Set the environment that kernels inherit, with their configuration in `ipython_dir`."""
    profile = ipython_dir / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text(_IPYTHON_CONFIG)
    os.environ.update(_ENVIRONMENT, IPYTHONDIR=str(ipython_dir))
    if not os.environ.get("ATTN_EXAMPLES_BERT"):  # who names a model may need to fetch it
        os.environ["HF_HUB_OFFLINE"] = "1"
    # without keys each kernel complains on stderr that others on this machine could listen
    KernelManager.transport_encryption.default_value = "auto"


def digest(root: Path) -> str:
    """Name the state of all that outputs depend on besides a page's own cells."""
    files = [
        *sorted((root / "attn_examples").rglob("*.py")),
        *sorted((root / "docs").rglob("*.json")),
        root / "conf" / "pins.txt",
        root / "conf" / "matplotlibrc",
        root / "conf" / "extensions" / "kernel_settings.py",
    ]
    state = hashlib.sha256(f"{sys.version}{os.environ.get('ATTN_EXAMPLES_BERT')}".encode())
    for file in files:
        content = file.read_bytes()
        state.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode())
        state.update(content)
    return state.hexdigest()[:16]
