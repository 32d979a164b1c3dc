"""Copies of the checkout, whose files may be made wrong."""

import hashlib
import pathlib
import shutil
import subprocess


def files(root: pathlib.Path) -> list[str]:
    """Paths of the checkout: what is committed, what is new, and the compiled ops."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    found = subprocess.run(listed, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    found += [str(path.relative_to(root)) for path in root.glob("kdet/ops/libkdet_ops.*")]
    return sorted(path for path in set(found) if path and (root / path).is_file())


def renew(root: pathlib.Path, copy: pathlib.Path) -> None:
    """Makes a copy hold what the checkout holds; files that are equal stay, and their bytecode with them."""
    wanted = set(files(root))
    for path in [path for path in copy.rglob("*") if path.is_file() and "__pycache__" not in path.parts]:
        if str(path.relative_to(copy)) not in wanted:
            path.unlink()
    for name in wanted:
        target = copy / name
        if not target.exists() or target.read_bytes() != (root / name).read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target)


def state(root: pathlib.Path) -> str:
    """A number of everything that decides whether a test passes."""
    digest = hashlib.sha256()
    for name in files(root):
        if name.split("/")[0] in ("kdet", "tests", "configs", "verification", "tools", "custom_ops"):
            if not name.startswith(
                ("verification/mutants", "verification/results", "verification/equivalent")
            ):
                digest.update(name.encode() + b"\0" + hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def commit(root: pathlib.Path) -> str:
    """The commit of the checkout, with a plus sign where its package or tests differ from it."""
    head, changes = (
        subprocess.run(["git", *command], cwd=root, check=True, capture_output=True, text=True).stdout.strip()
        for command in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "kdet", "tests"])
    )
    return head + ("+" if changes else "")
