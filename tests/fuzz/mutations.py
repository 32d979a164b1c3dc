"""Seeded damage: hostile values into trees of plain values, and bit flips, cuts and repeats into bytes."""

import copy

HOSTILE = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**400, 0.0, -0.0, 0.5, 1e9, -1e9, 1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", " ", "0", "1", "yes", "nan", "x" * 5000, "\0",
    "../../etc/hostname", "/dev/zero", "caf\u00e9", "e\u0301", "\ud800", "~~~~~~~~~~",
    [], [[]], [None], [[1, 2]],
    [1, 2, 3, 4],
    [float("nan")] * 6, [1e9] * 6, {}, {"": None}, {"size": [5, 5], "counts": [25]},
    {"size": [60, 83], "counts": "~~~~~~~~~~"}, {"size": [60, 83], "counts": [0, -5]},
    {"size": [60, 83], "counts": [1.5, 2]},
)  # fmt: skip


def hostile(random):
    """One value that nobody expects."""
    if random.random() < 0.05:
        value = random.choice(HOSTILE)
        for _ in range(random.choice((3, 40, 400))):
            value = random.choice(([value], {"a": value}))
        return value
    return copy.deepcopy(random.choice(HOSTILE))


def mutated(random, tree):
    """A copy of nested lists and mappings with one to three places changed."""
    tree = copy.deepcopy(tree)
    for _ in range(random.randint(1, 3)):
        place, key = random.choice(list(_places(tree)) or [(None, None)])
        if place is None:
            return hostile(random)
        action = random.random()
        if action < 0.7:
            place[key] = hostile(random)
        elif action < 0.85:
            del place[key]
        elif isinstance(place, list):
            place.append(copy.deepcopy(place[key]))
        else:
            place[hostile_key(random)] = place.pop(key)
    return tree


def hostile_key(random):
    """A key that nobody expects."""
    return random.choice(("", "type", "_base_", "Id", "\0", "x" * 300, "__class__"))


def damaged(random, encoded):
    """Bytes with a few of them changed, cut off, repeated or left out."""
    data = bytearray(encoded)
    for _ in range(random.choice((1, 1, 2, 5))):
        if not data:
            break
        at, action = random.randrange(len(data)), random.random()
        if action < 0.4:
            data[at] ^= 1 << random.randrange(8)
        elif action < 0.55:
            data[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif action < 0.7:
            del data[at:]
        elif action < 0.8:
            del data[at : at + random.choice((1, 4, 16))]
        elif action < 0.9:
            part = data[at : at + random.choice((1, 8, 64))]
            data[at:at] = part * random.choice((1, 3))
        else:
            data[at : at + 8] = random.choice((b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7))
    return bytes(data)


def _places(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)
