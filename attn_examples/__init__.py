"""Attention mechanisms, each as short as its idea.

Needs torch alone. Figures are in `attn_examples.figures`, which needs matplotlib; the
trained model is in `attn_examples.pretrained`, which needs transformers.
"""

from typing import TYPE_CHECKING

from attn_examples import core, heads, masks, mixes, normalizers, positions, scores
from attn_examples.core import *
from attn_examples.heads import *
from attn_examples.masks import *
from attn_examples.mixes import *
from attn_examples.normalizers import *
from attn_examples.positions import *
from attn_examples.scores import *

__all__: list[str] = []
if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ += core.__all__ + scores.__all__ + masks.__all__ + normalizers.__all__
    __all__ += mixes.__all__ + heads.__all__ + positions.__all__
