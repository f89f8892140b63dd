"""Modules around the four steps: project, split into heads, attend, merge.

Each that attends returns `(output, weights)`. With `need_weights=False` it runs torch's
`scaled_dot_product_attention`, which picks a fused kernel where it can, in place of the
visible steps, where that gives the same, and returns `(output, None)`: the same numbers
but for rounding, and for what dropout draws.
"""

from typing import TYPE_CHECKING

from attn_examples.heads import adapters, cache, latent, mixed, multi_head, single_head
from attn_examples.heads.adapters import *
from attn_examples.heads.cache import *
from attn_examples.heads.latent import *
from attn_examples.heads.mixed import *
from attn_examples.heads.multi_head import *
from attn_examples.heads.single_head import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = (
        single_head.__all__
        + multi_head.__all__
        + mixed.__all__
        + latent.__all__
        + cache.__all__
        + adapters.__all__
    )
