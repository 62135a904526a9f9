"""Small data sets that ship with the project; see ATTRIBUTION.md for their origin and licence."""
