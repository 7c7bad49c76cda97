"""Field names and types of published schemas (``schemas/``), and what of a document does not agree with them."""

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "schemas"
SIMPLE = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    # Google writes 64-bit integers as strings and takes numbers
    "int64": lambda v: isinstance(v, int) or (isinstance(v, str) and v.isdigit()),
    "quantity": lambda v: bool(re.fullmatch(r"[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?", str(v))),
    "any": lambda v: True,
}


class FieldLists:
    """Types of one or more schema files."""

    def __init__(self, *names):
        self.types, self.required, self.enums = {}, {}, {}
        for name in names:
            document = json.loads((FOLDER / f"{name}.json").read_text())
            self.types |= document["types"]
            self.required |= document.get("required", {})
            self.enums |= document.get("enums", {})

    def problems(self, value, kind, path="$"):
        """One sentence for each unknown or missing field and each wrong type."""
        if kind.endswith("[]"):
            if not isinstance(value, list):
                return [f"{path} is no list"]
            return [p for i, v in enumerate(value) for p in self.problems(v, kind[:-2], f"{path}[{i}]")]
        if kind.startswith("{"):
            if not isinstance(value, dict):
                return [f"{path} is no mapping"]
            return [p for k, v in value.items() for p in self.problems(v, kind[1:-1], f"{path}.{k}")]
        if kind in SIMPLE:
            return [] if SIMPLE[kind](value) else [f"{path} is {value!r}, no {kind}"]
        if kind in self.enums:
            return [] if value in self.enums[kind] else [f"{path} is {value!r}, none of {self.enums[kind]}"]
        if not isinstance(value, dict):
            return [f"{path} is {value!r}, no {kind}"]
        fields = self.types[kind]
        missing = [f"{path} lacks {name}" for name in self.required.get(kind, []) if name not in value]
        unknown = [f"{path} has no field {name} in {kind}" for name in value if name not in fields]
        known = [(k, v) for k, v in value.items() if k in fields]
        return missing + unknown + [p for k, v in known for p in self.problems(v, fields[k], f"{path}.{k}")]
