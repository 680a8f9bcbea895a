"""Drafters: where drafts come from, one file each. A new file with a `Drafter` in it is found by itself."""
