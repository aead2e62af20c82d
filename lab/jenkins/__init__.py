"""A stand-in for a Jenkins server, since no package registry carries one.

It speaks the part of the REST interface that this project uses, as Jenkins 2.516 was measured to speak it, its
oddities included, and runs the jobs that Jenkins Job Builder wrote: `python -m lab.jenkins --home DIR --port N`.
What it does not know it refuses. It is for tests and for the lab: it isolates nothing.
"""
