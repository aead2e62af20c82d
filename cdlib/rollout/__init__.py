"""Taking an image to a cluster and back: Helm applies, this package decides, records and returns."""
