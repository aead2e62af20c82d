"""Jenkins as a client meets it: builds triggered, adopted, followed to their end, and aborted.

It speaks HTTP by `requests` rather than by python-jenkins, which puts parameters into the URL (20 kB of them give
414, and secrets end up in logs), has no time limit of its own, and tells a missing job from a refusal by its text.
"""
