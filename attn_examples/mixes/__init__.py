"""Step 4, mix: in which order is the weighted sum computed?

The sum is one that `attention` can give too. What is here can add it up without the weights
of all pairs at once: by tiles, by a state of fixed size, or by a kernel that torch compiles.
"""

from typing import TYPE_CHECKING

from attn_examples.mixes import flex, linear, tiled
from attn_examples.mixes.flex import *
from attn_examples.mixes.linear import *
from attn_examples.mixes.tiled import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = tiled.__all__ + linear.__all__ + flex.__all__
