"""The shelf of methods that come with theorems: a file each, and a line in the table of `shelf`."""
