#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The referee: is the free space we read the free space btrfs-progs and the kernel see?

For every image (images.py) three lists of block groups must be the same: by the reference's two
ways (reference.py), by `bgctl free-space --json`, and by `bgctl free-space --json --source extents`.

    referee.py --bgctl .build/debug/bgctl [--quick]
    referee.py --self                        # the reference's two ways against each other

One line for each image; the last line is 'N passed, N failed, N skipped'. Exit status 0: none failed.
Same seed, same cases, same images, but for UUIDs and what the kernel's own timing decides.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import images
from reference import Image, ReferenceError, first_difference

BGCTL_SECONDS_MAX = 300


class Skip(Exception):
    """The case cannot be tried here; the text says why."""


def by_bgctl(bgctl, paths, *words):
    """The list that bgctl prints, its devices given in an order that is not mkfs's."""
    arguments = [bgctl, "free-space", "--json", *words, *reversed(paths)]
    name = " ".join(["bgctl", *words])
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=BGCTL_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise ReferenceError(f"{name}: no end after {BGCTL_SECONDS_MAX} s")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["(silent)"])[-1]
        raise ReferenceError(f"{name}: status {done.returncode}: {last}")
    try:
        return json.loads(done.stdout)["block_groups"]
    except (ValueError, KeyError) as error:
        raise ReferenceError(f"{name}: bad JSON: {error!r}")


def compare(image, bgctl):
    """Raises at the first difference; returns words that describe the image."""
    reference = image.from_extents()
    lists = {}
    by_tree = image.from_free_space()
    if by_tree is not None:
        lists["free-space tree"] = by_tree
    if bgctl:
        lists["bgctl"] = by_bgctl(bgctl, image.paths)
        lists["bgctl --source extents"] = by_bgctl(bgctl, image.paths, "--source", "extents")
    for name, groups in lists.items():
        difference = first_difference("extent tree", reference, name, groups)
        if difference:
            raise ReferenceError(difference)
    runs = sum(len(group["free_extents"]) for group in reference)
    words = (f"{len(reference)} groups, {runs} free runs, {image.bitmap_count()} bitmaps, "
             f"{image.super_range_count()} super block ranges")
    return words if lists else words + ", extent tree only"


def try_case(case, options, mount_refusal):
    """Makes, ages and compares one case. Raises Skip or ReferenceError."""
    if case.ageing and mount_refusal:
        raise Skip(mount_refusal)
    rng = random.Random(f"{options.seed}/{case.name}")
    folder = options.keep or tempfile.mkdtemp(prefix="bg-referee-")
    try:
        os.makedirs(folder, exist_ok=True)
        paths = images.make_image(case, folder, rng)
        if case.ageing:
            images.age_image(case, paths, rng)
        image = Image(paths)
        image.check_itself(data_is_full=case.ageing == "full")
        return compare(image, options.bgctl)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bgctl", metavar="PATH", help="the program to judge")
    what.add_argument("--self", action="store_true", help="judge the reference against itself")
    what.add_argument("--list", action="store_true", help="print the cases and stop")
    what.add_argument("--why-skip", action="store_true",
                      help="print why aged images cannot be made here, or nothing; stop")
    parser.add_argument("--only", metavar="REGEX", default="", help="only cases of this name")
    parser.add_argument("--keep", metavar="DIR", help="leave the images there")
    parser.add_argument("--quick", action="store_true", help="the short list")
    parser.add_argument("--seed", type=int,
                        default=int(os.environ.get("BG_SEED") or random.randrange(1 << 32)))
    return parser.parse_args()


def why_no_images():
    missing = [tool for tool in ("mkfs.btrfs", "btrfs") if not shutil.which(tool)]
    return f"{' and '.join(missing)} not installed (btrfs-progs)" if missing else None


def main():
    # btrfs-progs and losetup live where an ordinary user's PATH does not reach.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    # A signal unwinds like an error, so that mounts and loops are undone.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    options = parse_arguments()
    chosen = [case for case in images.cases() if re.search(options.only, case.name)
              and (case.quick or not options.quick)]
    if options.list:
        for case in chosen:
            print(f"{case.name:24} {case.devices} x {case.size >> 20} MiB  {case.ageing or 'mkfs'}")
        return 0
    if missing := why_no_images():
        print(missing)
        return 0 if options.why_skip else 2
    mount_refusal = images.mount_refusal()
    if options.why_skip:
        print(mount_refusal or "", end="")
        return 0
    if options.bgctl and not os.access(options.bgctl, os.X_OK):
        print(f"referee: cannot run {options.bgctl}", file=sys.stderr)
        return 2
    print(f"referee: seed {options.seed}, {len(chosen)} images", flush=True)
    passed = failed = skipped = 0
    for case in chosen:
        started = time.monotonic()
        try:
            words = try_case(case, options, mount_refusal)
            passed += 1
            verdict = f"ok    {case.name:24} {words}"
        except Skip as reason:
            skipped += 1
            verdict = f"skip  {case.name:24} {reason}"
        except (ReferenceError, OSError) as error:
            failed += 1
            verdict = f"FAIL  {case.name:24} {error} (seed {options.seed})"
        print(f"{verdict} [{time.monotonic() - started:.1f} s]", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
