"""Figures that answer when touched: each is a still picture that a script brings to life.

A figure is a function in a file of its own, which works out what the figure needs and
returns a `Moving`; beside it lies the script of the same name. `element.py` and `kit.js`
are what they share.
"""

from typing import TYPE_CHECKING

from attn_examples.figures.moving import element, explorer, head_explorer
from attn_examples.figures.moving.element import *
from attn_examples.figures.moving.explorer import *
from attn_examples.figures.moving.head_explorer import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = element.__all__ + explorer.__all__ + head_explorer.__all__
