"""Step 3, normalize: turn the scores of one query into weights.

A normalizer takes scores (..., L, S) and returns weights of the same shape. It keeps
one promise: a score of minus infinity gets exactly the weight 0, also where a whole
row is minus infinity.
"""

from typing import TYPE_CHECKING

from attn_examples.normalizers import (
    choices,
    elementwise,
    exponential,
    sparse,
    wrappers,
)
from attn_examples.normalizers.choices import *
from attn_examples.normalizers.elementwise import *
from attn_examples.normalizers.exponential import *
from attn_examples.normalizers.sparse import *
from attn_examples.normalizers.wrappers import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = exponential.__all__ + wrappers.__all__ + sparse.__all__
    __all__ += elementwise.__all__ + choices.__all__
