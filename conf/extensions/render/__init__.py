"""Turn what a page holds into what is seen, found and read by machines."""
