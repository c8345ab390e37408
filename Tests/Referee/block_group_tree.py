# SPDX-License-Identifier: LGPL-2.1-or-later
"""Gives a fresh image a block-group tree, for btrfs-progs that cannot (Debian 12's).

Moves the BLOCK_GROUP_ITEMs of an image just made by mkfs.btrfs out of the extent tree into a tree of
their own (root 11), in place: one new leaf, its extent item, its place in the free-space tree, the
root item, the feature bit, and the byte counts. That the result is right is for the kernel to say: it
refuses to mount an image whose trees disagree, and the referee mounts every one it converts.

Only for what a fresh image is: extent, root and free-space tree of one leaf each, sha256 checksums
(the one of btrfs's four that Python's library has under the same name), a free-space tree.
"""

import hashlib
import struct

from reference import SUPER_COPIES, Image, ReferenceError

HEADER, ITEM = 101, 25
EXTENT_TREE, FREE_SPACE_TREE, BLOCK_GROUP_TREE = 2, 10, 11
ROOT_ITEM, METADATA_ITEM, BLOCK_GROUP_ITEM, FREE_SPACE_INFO, FREE_SPACE_EXTENT = (
    132, 169, 192, 198, 199)
TREE_BLOCK_REF, FLAG_TREE_BLOCK = 176, 2
COMPAT_RO_BLOCK_GROUP_TREE = 8


class Leaf:
    """One leaf taken apart: its header and a list of [(objectid, type, offset), bytes]."""

    def __init__(self, raw):
        self.size, self.header = len(raw), bytearray(raw[:HEADER])
        count, self.level = struct.unpack_from("<IB", raw, 96)
        if self.level != 0:
            raise ReferenceError("a tree of more than one leaf cannot be converted")
        self.items = []
        for index in range(count):
            *key, offset, length = struct.unpack_from("<QBQII", raw, HEADER + index * ITEM)
            self.items.append([tuple(key), raw[HEADER + offset:HEADER + offset + length]])

    def item(self, *key):
        """The bytes of the first item whose key begins like this."""
        return next(body for have, body in self.items if have[:len(key)] == key)

    def packed(self):
        """The leaf's bytes, items in order of their keys, with its checksum."""
        self.items.sort(key=lambda item: item[0])
        raw = bytearray(self.size)
        end = self.size - HEADER
        struct.pack_into("<I", self.header, 96, len(self.items))
        for index, (key, body) in enumerate(self.items):
            end -= len(body)
            if end < (index + 1) * ITEM:
                raise ReferenceError("a leaf is too full to convert")
            struct.pack_into("<QBQII", raw, HEADER + index * ITEM, *key, end, len(body))
            raw[HEADER + end:HEADER + end + len(body)] = body
        raw[:HEADER] = self.header
        raw[:32] = hashlib.sha256(raw[32:]).digest()
        return raw


def convert(paths):
    """Converts the one-device image in place."""
    image = Image(paths)
    with open(paths[0], "r+b") as file:
        file.seek(SUPER_COPIES[0])
        block = bytearray(file.read(4096))
        if block[0xC4:0xC6] != b"\2\0":
            raise ReferenceError("only images with sha256 checksums are converted")
        root_address = struct.unpack_from("<Q", block, 0x50)[0]
        roots = Leaf(image.read(root_address, image.node))
        address = {tree: struct.unpack_from("<Q", roots.item(tree, ROOT_ITEM), 176)[0]
                   for tree in (EXTENT_TREE, FREE_SPACE_TREE)}
        extents = Leaf(image.read(address[EXTENT_TREE], image.node))
        free = Leaf(image.read(address[FREE_SPACE_TREE], image.node))
        generation = struct.unpack_from("<Q", roots.header, 80)[0]

        groups = Leaf(extents.packed())
        groups.items = [item for item in extents.items if item[0][1] == BLOCK_GROUP_ITEM]
        extents.items = [item for item in extents.items if item[0][1] != BLOCK_GROUP_ITEM]
        new = take_block(image, free)
        count_block(groups, new, image.node)
        struct.pack_into("<Q", groups.header, 48, new)
        struct.pack_into("<QQ", groups.header, 80, generation, BLOCK_GROUP_TREE)
        extents.items.append([(new, METADATA_ITEM, 0), struct.pack(
            "<QQQBQ", 1, generation, FLAG_TREE_BLOCK, TREE_BLOCK_REF, BLOCK_GROUP_TREE)])
        add_root(roots, new, generation, image.node)

        for leaf, logical in ((groups, new), (extents, address[EXTENT_TREE]),
                              (free, address[FREE_SPACE_TREE]), (roots, root_address)):
            for _, physical in image.chunk_at(logical).copies(logical):
                file.seek(physical)
                file.write(leaf.packed())
        used, compat_ro = (struct.unpack_from("<Q", block, at)[0] for at in (0x78, 0xB4))
        struct.pack_into("<Q", block, 0x78, used + image.node)
        struct.pack_into("<Q", block, 0xB4, compat_ro | COMPAT_RO_BLOCK_GROUP_TREE)
        file.seek(0, 2)
        length = file.tell()
        for copy in SUPER_COPIES:
            if copy + 4096 <= length:
                struct.pack_into("<Q", block, 48, copy)
                block[:32] = hashlib.sha256(block[32:]).digest()
                file.seek(copy)
                file.write(block)


def take_block(image, free):
    """Takes the first block of the last free run of a metadata group; returns its address."""
    kinds = {group["start"]: group["flags"] for group in image.groups}
    group = None
    found = None
    for index, (key, _) in enumerate(free.items):
        if key[1] == FREE_SPACE_INFO:
            group = key[0]
        elif key[1] == FREE_SPACE_EXTENT and "METADATA" in kinds.get(group, ""):
            if key[2] > image.node and key[0] % image.node == 0:
                found = index
    if found is None:
        raise ReferenceError("no metadata block is free")
    start, kind, length = free.items[found][0]
    free.items[found][0] = (start + image.node, kind, length - image.node)
    return start


def count_block(groups, logical, length):
    """Adds a block to the used bytes of the group that holds it."""
    for item in groups.items:
        start, _, size = item[0]
        if start <= logical < start + size:
            used = struct.unpack_from("<Q", item[1])[0]
            item[1] = struct.pack("<Q", used + length) + item[1][8:]


def add_root(roots, logical, generation, node):
    """Adds the root item of the new tree, made after the free-space tree's."""
    body = bytearray(roots.item(FREE_SPACE_TREE, ROOT_ITEM))
    struct.pack_into("<Q", body, 160, generation)
    struct.pack_into("<Q", body, 176, logical)
    struct.pack_into("<Q", body, 192, node)  # bytes_used
    body[238] = 0  # level
    struct.pack_into("<Q", body, 239, generation)  # generation_v2
    roots.items.append([(BLOCK_GROUP_TREE, ROOT_ITEM, 0), bytes(body)])
