"""What a reader takes along: a cell, a page, a mechanism."""
