"""The live view of a terminal: pure functions from a Report and what the user chose to lines, and from keys to choices."""
