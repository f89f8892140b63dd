"""What tells attention about order.

The four steps treat their input as a set: shuffle it, and the output is shuffled the
same way. What is added here lets a position be told from another.
"""

from typing import TYPE_CHECKING

from attn_examples.positions import absolute
from attn_examples.positions.absolute import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = absolute.__all__
