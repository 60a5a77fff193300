"""Files that can be trusted: written whole, with checksums, held by one process at a time."""
