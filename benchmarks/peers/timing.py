"""How a function that is called again and again is timed, the same on every side of a comparison."""

import resource
import time


def time_calls(call, runs):
    """Calls once and then ``runs`` times.

    Returns:
        (what the last call gave, ``{"first_s", "ms": [...], "cpu_ms": [...] (of all threads), "peak_mb"}``),
        the first call apart from the others.
    """
    seconds, cpu = [], []
    for _ in range(runs + 1):
        start, used = time.perf_counter(), time.process_time()
        given = call()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = {"ms": [1000 * s for s in seconds[1:]], "cpu_ms": [1000 * s for s in cpu[1:]]}
    return given, {"first_s": seconds[0], "peak_mb": peak, **times}
