"""Captioned scenes: the world of the shipped image models. Captions, pictures, and their meaning."""
