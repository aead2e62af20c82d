"""Gerrit: telling changes how their build, their tests or their deploy went."""
