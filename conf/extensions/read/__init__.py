"""What pages say that Sphinx does not understand by itself."""
