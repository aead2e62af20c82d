"""What a command made, or how it failed: the JSON object of `--json` and of cd-result.json."""

from __future__ import annotations

from typing import Any

SCHEMA = "cd-result/1"
Result = dict[str, Any]  # what a command made; `text` is what stdout gets without --json
