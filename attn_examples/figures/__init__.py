"""Pictures of attention: maps, a sentence with arcs, the four steps, the flow of data.

Needs matplotlib. Text and lines that stand on no fill have one colour, `INK`, and the
background is left to matplotlib's settings, so a page can turn both around for dark mode. The
colour map, viridis, reads the same with the common kinds of colour blindness and in grey.
"""

from typing import TYPE_CHECKING

from attn_examples.figures import drawings, maps, moving, style
from attn_examples.figures.drawings import *
from attn_examples.figures.maps import *
from attn_examples.figures.moving import *
from attn_examples.figures.style import *

if not TYPE_CHECKING:  # mypy reads no sum, and takes what the stars bring
    __all__ = style.__all__ + maps.__all__ + drawings.__all__ + moving.__all__
