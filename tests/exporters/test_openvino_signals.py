"""A process that has run OpenVINO still handles signals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13

PROGRAM = """
import gc, signal, sys, threading, time
from pathlib import Path
from exporters.openvino.engine import OpenvinoRunner
runners = [OpenvinoRunner(Path(sys.argv[1]), "fp32") for _ in range(2)]
while runners:
    runners.pop(0)  # the older one first
    gc.collect()
try:
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    print("handled")
"""


def test_ctrl_c_is_handled_after_engines_are_gone(tmp_path: Path) -> None:
    x = opset13.parameter([1, 4], np.float32)
    openvino.save_model(openvino.Model([opset13.relu(x)], [x], "relu"), str(tmp_path / "relu.xml"))
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "relu.xml")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
