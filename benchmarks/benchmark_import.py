"""How long `import kdet` takes, next to `import tensorflow`: ``python benchmarks/benchmark_import.py``.

CPU time of fresh processes, so that what else runs on the machine counts little; the least of several.
"""

import json
import subprocess
import sys

RUNS = 5
CODE = """
import json, sys, time
start = time.process_time()
import tensorflow
middle, known = time.process_time(), set(sys.modules)
import kdet
print(json.dumps([middle - start, time.process_time() - start, sorted(set(sys.modules) - known)]))
"""


def measure() -> tuple[float, float, list[str]]:
    """Seconds of TensorFlow's import and of both, and the modules that kdet adds, of one fresh process."""
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    tensorflow, both, added = json.loads(run.stdout)
    return tensorflow, both, added


def main() -> None:
    runs = [measure()[:2] for _ in range(RUNS)]
    tensorflow, both = (min(values) for values in zip(*runs, strict=True))
    print(f"tensorflow {tensorflow:.2f} s, kdet {both:.2f} s, ratio {both / tensorflow:.2f}")


if __name__ == "__main__":
    main()
