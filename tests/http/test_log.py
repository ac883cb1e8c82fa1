"""Lines of the log, and where they go."""

import json
import os
import subprocess
import sys

_TELLS = """
import logging, sys
from app import log
log.configure("INFO", log_format="json")
ours = log.logger("app.test")
ours.debug("not told")
ours.info("told", tenant_id="acme")
try:
    raise ValueError("hunter2")
except ValueError:
    ours.exception("crashed")
logging.getLogger("theirs").warning("told by %s", "others")
"""


def _run(stderr: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", _TELLS], stderr=stderr, timeout=60, check=False)


def test_ours_and_those_of_libraries_are_json_lines_of_one_shape() -> None:
    done = _run(subprocess.PIPE)
    assert done.returncode == 0
    told, crashed, theirs = map(json.loads, done.stderr.splitlines())
    assert (told["event"], told["tenant_id"], told["level"], told["logger"]) == ("told", "acme", "info", "app.test")
    assert (crashed["event"], crashed["level"]) == ("crashed", "error")
    assert "ValueError: hunter2" in crashed["exception"]
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("told by others", "warning", "theirs")
    assert told.keys() == theirs.keys() | {"tenant_id"}


def test_a_log_that_nobody_reads_any_more_fails_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert _run(writing).returncode == 0
    finally:
        os.close(writing)
