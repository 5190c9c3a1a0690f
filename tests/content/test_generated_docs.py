from __future__ import annotations

import subprocess
import sys

from bootstrap.content import content_root


def test_generated_pages_are_up_to_date() -> None:
    tool = content_root() / "tools" / "generate_docs.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"{done.stderr}run tools/generate_docs.py"
