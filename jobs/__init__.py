"""The commands: each reads options, calls `cdlib`, prints, and exits."""
