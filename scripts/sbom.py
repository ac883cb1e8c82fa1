"""Writes sbom.json (CycloneDX 1.5) from uv.lock: `make sbom`. The same lock makes the same bytes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

_ROOT: Final = Path(__file__).parents[1]
# What an installation has, with every extra; nothing of development.
_EXPORT: Final = ("export", "--quiet", "--frozen", "--all-extras", "--no-default-groups", "--format", "cyclonedx1.5")


def document() -> dict[str, Any]:
    """Without the time it was made, and with a serial number that stands for what is in it."""
    uv = str(Path(sys.executable).with_name("uv"))
    exported = subprocess.run([uv, *_EXPORT], capture_output=True, text=True, check=True, cwd=_ROOT)  # noqa: S603
    bom: dict[str, Any] = json.loads(exported.stdout)
    bom["metadata"].pop("timestamp", None)
    bom.pop("serialNumber", None)
    contents = json.dumps(bom, sort_keys=True)
    return {"serialNumber": uuid5(NAMESPACE_URL, contents).urn, **bom}


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "sbom.json"
    path.write_text(json.dumps(document(), indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
