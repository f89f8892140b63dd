"""What no Sphinx extension does for us. Each module says which gap it fills."""
