"""`make loop`: the whole story, from a push to serving and back, on the loop's real servers."""
