"""One environment for all kernels.

The gap: MyST-NB starts kernels with the builder's environment, whatever that is.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from jupyter_client.manager import KernelManager

from extensions.shared import ROOT

BUILD = Path(os.environ.get("ATTN_BUILD_DIR", ROOT / "build"))
EXECUTED = BUILD / "executed"  # what pages gave
LOG = EXECUTED / "kernels.log"
CONFIG = Path(__file__).with_name("kernel_config.py")
FILES = (  # outputs depend on them
    "conf/matplotlibrc",
    "conf/extensions/execute/kernel_config.py",
    "conf/extensions/execute/settings.py",
)

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
    shutil.copyfile(CONFIG, profile / "ipython_kernel_config.py")
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # such as PYTHONOPTIMIZE, with which no assertion fails
    os.environ.update(_ENVIRONMENT, IPYTHONDIR=str(ipython_dir))
    time.tzset()
    if not os.environ.get("ATTN_EXAMPLES_BERT"):  # who names a model may need to fetch it
        os.environ["HF_HUB_OFFLINE"] = "1"
    # without keys each kernel complains on stderr that others on this machine could listen
    KernelManager.transport_encryption.default_value = "auto"
