"""Step 1, score: how alike are this query and this key?

A score takes queries (..., L, E) and keys (..., S, E) and returns one number for
each pair, (..., L, S). Anything that does so plugs into `attention(score=...)`.
"""

from typing import TYPE_CHECKING

from attn_examples.scores import additive, distance, dot_product, qk_norm, wrappers
from attn_examples.scores.additive import *
from attn_examples.scores.distance import *
from attn_examples.scores.dot_product import *
from attn_examples.scores.qk_norm import *
from attn_examples.scores.wrappers import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = additive.__all__ + distance.__all__ + dot_product.__all__
    __all__ += qk_norm.__all__ + wrappers.__all__
