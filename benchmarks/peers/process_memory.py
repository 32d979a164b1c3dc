"""Peak memory of this process, from Linux' own account; used by both sides of benchmarks/benchmark.py."""

import pathlib

STATUS = pathlib.Path("/proc/self/status")


def forget_peak():
    """What was needed until now (filling a model with generated weights) counts no longer."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_memory():
    """``{"peak_mb": largest resident size since forget_peak, "library_mb": mapped from files}``.

    Pages mapped from files are libraries': they can be dropped under pressure and are shared by processes.
    """
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    megabytes = {name: int(lines[name].split()[0]) / 1024 for name in ("VmHWM", "RssFile")}
    return {"peak_mb": megabytes["VmHWM"], "library_mb": megabytes["RssFile"]}
