"""Send readers what a page uses and no more."""
