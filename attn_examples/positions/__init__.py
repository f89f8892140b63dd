"""What tells attention about order.

Without a mask the four steps treat their input as a set: shuffle it, and the output is
shuffled the same way. What is added here lets a position be told from another.

Some positions are added to the tokens, before attention. Those that act inside it plug into
`MultiHeadAttention(positions=...)`, which calls them when the heads are split:

    query, key, bias = positions(query, key, offset)

`query` is (..., H, L, head_dim) and `key` (..., G, S, head_dim), before a cache takes it.
Key j stands at position offset + j: with a cache, offset is how many tokens it has taken,
else 0. The last query stands where the last key does, as in `causal_mask`. Positions may turn
both (rotary), may normalize them first (QK-norm), and may return what is added to the
scores of all keys, or None: (H, L, offset + S) where places alone count (ALiBi, T5),
(..., H, L, offset + S) where the tokens count too (relative vectors).
"""

from typing import TYPE_CHECKING

from attn_examples.positions import (
    absolute,
    biases,
    norms,
    relative,
    rotary,
    rotary_scaling,
)
from attn_examples.positions.absolute import *
from attn_examples.positions.biases import *
from attn_examples.positions.norms import *
from attn_examples.positions.relative import *
from attn_examples.positions.rotary import *
from attn_examples.positions.rotary_scaling import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = absolute.__all__ + biases.__all__ + relative.__all__
    __all__ += rotary.__all__ + rotary_scaling.__all__ + norms.__all__
