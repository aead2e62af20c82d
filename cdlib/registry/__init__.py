"""Registries, by the OCI Distribution specification: who we are, HTTP, repositories."""
