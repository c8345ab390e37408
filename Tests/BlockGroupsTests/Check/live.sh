#!/bin/bash
# Fills a mounted btrfs with all that makes its trees hard to check. Arguments: the mount point, then
# any of: balance delete quota.
set -eu
cd "$1"
shift
btrfs subvolume create s1
mkdir -p d/e/f s1/deep/er
for i in $(seq 150); do
	head -c $((i * 271 % 40000 + 1)) /dev/urandom >d/f"$i"
	head -c $((i * 37 % 3000 + 1)) /dev/zero >s1/deep/g"$i"
done
mkfifo d/pipe
mknod d/null c 1 3
ln -s f1 d/link
ln -s "$(head -c 900 /dev/zero | tr '\0' x)" d/longlink
for i in $(seq 300); do
	ln d/f1 d/e/hard_with_a_name_so_long_that_the_references_do_not_fit_"$i"
done
python3 - <<'PYTHON'
import os
for i in range(40):
    os.setxattr("d/f2", "user.a%d" % i, b"v" * i)
PYTHON
fallocate -l 3M d/preallocated
dd if=/dev/urandom of=d/preallocated bs=4k count=10 seek=100 conv=notrunc status=none
touch d/keepsize d/nocow
fallocate -n -l 5M d/keepsize
truncate -s 10M d/sparse
dd if=/dev/urandom of=d/sparse bs=4k count=3 seek=1000 conv=notrunc status=none
chattr +C d/nocow
dd if=/dev/urandom of=d/nocow bs=64k count=8 status=none
yes "compressible data" | head -c 3000000 >d/compressed || true
btrfs filesystem defragment -czstd d/compressed
yes "compressible data" | head -c 1000 >d/small || true
btrfs filesystem defragment -clzo d/small
cp --reflink=always d/f3 d/clone3
cp --reflink=always d/compressed s1/clone
sync -f .
btrfs subvolume snapshot s1 snap1
btrfs subvolume snapshot -r . snaproot
for i in $(seq 1 2 150); do
	rm s1/deep/g"$i"
	echo new >s1/deep/h"$i"
done
for i in $(seq 4 3 150); do rm d/f"$i"; done
sync -f .
btrfs subvolume snapshot s1 snap2
for i in $(seq 1 4 150); do
	dd if=/dev/urandom of=snap1/deep/g"$i" bs=4096 count=3 conv=notrunc status=none
done
btrfs subvolume create s1/nested
echo x >s1/nested/y
btrfs subvolume snapshot s1 snap3
sync -f .
for word in "$@"; do
	case $word in
	balance) btrfs balance start --full-balance . ;;
	delete) btrfs subvolume delete snap2 ;;
	quota) btrfs quota enable . ;;
	esac
done
