"""Acceptance rules: which drafts stand, one file each. A new file with an `AcceptanceRule` in it is found by itself."""
