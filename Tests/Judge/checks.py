# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be asked of an image without the kernel: btrfs check, btrfs restore, bgctl check."""

import contextlib
import os
import re
import subprocess
import tempfile


class Failed(Exception):
    """The image is not sound; the text says why, the first line in short."""


class Skipped(Exception):
    """This cannot be tried here; the text says why."""


# Everything that btrfs check says about a sound file system (progs 6.2 to 6.19). A line that is not one
# of these is a complaint, whatever the exit status: several faults are only mentioned.
EXPECTED = [re.compile(pattern) for pattern in (
    r"Opening filesystem to check\.\.\.",
    r"Checking filesystem on .*",
    r"UUID: [0-9a-f-]{36}",
    r"\[[1-8]/[78]\] checking (log skipped \(none written\)|root items|extents|free space tree|"
    r"free space cache|fs roots|only csums items \(without verifying data\)|csums against data|"
    r"csums \(without verifying data\)|root refs|"
    r"(root refs|quota groups) .*skipped.*|quota groups|"
    r"root refs done with fs roots in lowmem mode, skipping)",
    r"there is no free space entry for .* \(nothing\)",
    # A space cache of the first kind that whoever wrote last does not keep: it says itself that it is stale.
    r"cache and super generation don't match, space cache will be invalidated",
    r"found \d+ bytes used, no error found",
    r"total csum bytes: \d+",
    r"total tree bytes: \d+",
    r"total fs tree bytes: \d+",
    r"total extent tree bytes: \d+",
    r"btree space waste bytes: \d+",
    r"file data blocks allocated: \d+",
    r" referenced \d+",
    r"",
)]


def output_of(*words, **options):
    """Runs a program; returns its status, and everything it printed in the order it came."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    return done.returncode, done.stdout


def command(*words):
    """Runs a program to its end; returns what it printed, or raises with its last words."""
    status, output = output_of(*words)
    if status != 0:
        last = "; ".join(output.strip().splitlines()[-2:])
        raise Failed(f"{' '.join(words[:4])}: status {status}: {last}")
    return output


def btrfs_check(device, mode, devices):
    """`device` is what btrfs check is given; `devices` are all of the file system."""
    words = ["btrfs", "check", "--mode", mode]
    if mode == "original":
        words.append("--check-data-csum")
    status, output = output_of(*words, device)
    complaints = [line for line in output.splitlines()
                  if not any(pattern.fullmatch(line) for pattern in EXPECTED)
                  and not is_about_another(line, devices)]
    if status != 0 or complaints:
        raise Failed("\n".join([f"status {status}, {len(complaints)} unexpected lines", *complaints]))
    found = re.search(r"found (\d+) bytes used, no error found", output)
    if not found:
        raise Failed("btrfs check did not say that it found no error")
    return f"{found[1]} bytes used"


def is_about_another(line, devices):
    """btrfs check looks at every block device there is; one may be going away just now."""
    found = re.fullmatch(r"ERROR: cannot scan (/dev/\S+): .*", line)
    return found is not None and found[1] not in devices


def bgctl_check(bgctl, paths):
    status, output = output_of(bgctl, "check", "--data", "--all-mirrors", *paths)
    if status != 0:
        raise Failed(f"status {status}\n{output.strip()}")
    return None


def attach(path, *flags):
    """A loop device over a file."""
    return command("losetup", "--find", "--show", *flags, path).strip()


def detach(loop):
    # The kernel remembers scanned devices by UUID; a stale one would be taken for the next copy's.
    output_of("btrfs", "device", "scan", "--forget", loop)
    command("losetup", "--detach", loop)


@contextlib.contextmanager
def as_devices(paths, refusal):
    """The paths as btrfs check wants them: it takes one device and finds the others of a file system
    among the block devices, so that several need loop devices."""
    if len(paths) == 1:
        yield paths
        return
    if refusal:
        raise Skipped(f"several devices must be loop devices: {refusal}")
    loops = []
    try:
        for path in paths:
            loops.append(attach(path, "--read-only"))
        yield loops
    finally:
        for loop in loops:
            detach(loop)


def restored(paths, at, expected, partial):
    """Reads the files with btrfs restore, which needs no root."""
    from trees import Tree, compare
    if len(paths) > 1:
        raise Skipped("btrfs restore reads several devices only where they are block devices")
    with tempfile.TemporaryDirectory(prefix="bg-judge-restored-") as folder:
        status, output = output_of("btrfs", "restore", "--metadata", "--symlink", paths[0], folder)
        if status != 0:
            raise Failed(f"status {status}\n{output.strip()}")
        found = Tree.of_folder(os.path.join(folder, at.strip("/")))
        if expected is not None:
            compare(expected, found, partial)
        return found.describe()
