// In place of Sphinx's own: a page that was found is shown as any other, and so is the next.
"use strict";
const SPHINX_HIGHLIGHT_ENABLED = false;
