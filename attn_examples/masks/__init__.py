"""Step 2, mask: which keys may this query look at?

A mask is a boolean tensor, True where attention is allowed, that lines up with the
scores (..., L, S). Combine masks with `&` (both must allow) and `|` (either may).
"""

from typing import TYPE_CHECKING

from attn_examples.masks import order, sequences, sparse
from attn_examples.masks.order import *
from attn_examples.masks.sequences import *
from attn_examples.masks.sparse import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = order.__all__ + sparse.__all__ + sequences.__all__
