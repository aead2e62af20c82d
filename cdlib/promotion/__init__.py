"""The way of an image from its build to a release, where the library's parts meet that know nothing of each other.

Images, rollouts, Gerrit and trust are each told here what the others have found: attestations are put beside images,
approvals on changes, and permits are issued, judged and spent.
"""
