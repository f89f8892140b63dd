"""What `nox` runs: build, serve, verify, record, pin, vendor."""
