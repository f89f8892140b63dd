"""See to it that all has run, and say of what the site was built."""
