"""The command line that the peers of benchmarks/benchmark.py share."""

import argparse


def benchmark_parser(description, config):
    """Parser of what benchmarks/benchmark.py hands over; ``config``: help on the model's name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", help=config)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--width", type=int, default=1344)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    return parser
