"""docs/serving.md has every option, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from ingot.serving.options import ModelOptions, ServerOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"


def test_the_page_has_every_key() -> None:
    table = PAGE.read_text(encoding="utf-8").split("## Options")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, flags=re.M)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    keys = {*ServerOptions.model_fields, *ModelOptions.model_fields}
    assert named == keys - {"default", "models"}
