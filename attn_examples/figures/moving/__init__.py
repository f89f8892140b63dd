"""Figures that answer when touched: each is a still picture that a script brings to life.

A figure is a function in a file of its own, which works out what the figure needs and
returns a `Moving`; beside it lies the script of the same name. `element.py` and `kit.js`
are what they share.
"""

from typing import TYPE_CHECKING

from attn_examples.figures.moving import (
    cache_walk,
    element,
    explorer,
    head_explorer,
    head_walk,
    mask_composer,
    online_softmax,
    positions,
    softmax_lab,
    stepper,
)
from attn_examples.figures.moving.cache_walk import *
from attn_examples.figures.moving.element import *
from attn_examples.figures.moving.explorer import *
from attn_examples.figures.moving.head_explorer import *
from attn_examples.figures.moving.head_walk import *
from attn_examples.figures.moving.mask_composer import *
from attn_examples.figures.moving.online_softmax import *
from attn_examples.figures.moving.positions import *
from attn_examples.figures.moving.softmax_lab import *
from attn_examples.figures.moving.stepper import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = []
    __all__ += cache_walk.__all__
    __all__ += element.__all__
    __all__ += explorer.__all__
    __all__ += head_explorer.__all__
    __all__ += head_walk.__all__
    __all__ += mask_composer.__all__
    __all__ += online_softmax.__all__
    __all__ += positions.__all__
    __all__ += softmax_lab.__all__
    __all__ += stepper.__all__
