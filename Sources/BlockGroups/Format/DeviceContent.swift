//===-- DeviceContent.swift - what is on a device before it is formatted --------------------------===//
// Knows the signatures of what people keep on devices, so that none of it is lost by mistake, and
// removes what an older file system would be found by.
//
// Not here: everything there is. A device that holds none of these may still hold something.

import BGDevices
import BGDiskFormat

/// Something that can be on a device, known by bytes at a place.
private struct Signature {
    /// What a refusal says.
    let words: StaticString
    let offset: UInt64
    let bytes: [UInt8]

    init(_ words: StaticString, _ offset: UInt64, _ bytes: [UInt8]) {
        self.words = words
        self.offset = offset
        self.bytes = bytes
    }

    init(_ words: StaticString, _ offset: UInt64, _ text: StaticString) {
        var bytes: [UInt8] = []
        bytes.append(text)
        self.init(words, offset, bytes)
    }
}

/// File systems come first: their boot sectors look like partition tables.
private let signatures: [Signature] = [
    Signature("holds a btrfs file system", 65536 + 64, "_BHRfS_M"),
    Signature("holds an ext2, ext3 or ext4 file system", 1024 + 56, [0x53, 0xef]),
    Signature("holds an xfs file system", 0, "XFSB"),
    Signature("holds a bcache or bcachefs device", 4096 + 24, [0xc6, 0x85, 0x73, 0xf6]),
    Signature("holds an f2fs file system", 1024, [0x10, 0x20, 0xf5, 0xf2]),
    Signature("holds an erofs file system", 1024, [0xe2, 0xe1, 0xf5, 0xe0]),
    Signature("holds a squashfs file system", 0, "hsqs"),
    Signature("holds an ntfs file system", 3, "NTFS    "),
    Signature("holds an exfat file system", 3, "EXFAT   "),
    Signature("holds a fat file system", 82, "FAT32   "),
    Signature("holds a fat file system", 54, "FAT1"),
    Signature("holds an iso9660 file system", 32769, "CD001"),
    Signature("holds a jfs file system", 32768, "JFS1"),
    Signature("holds a reiserfs file system", 65536 + 52, "ReIsEr"),
    Signature("holds an nilfs2 file system", 1024 + 6, [0x34, 0x34]),
    Signature("holds an hfs+ file system", 1024, "H+"),
    Signature("holds an hfs+ file system", 1024, "HX"),
    Signature("holds an hfs file system", 1024, "BD"),
    Signature("holds an apfs container", 32, "NXSB"),
    Signature("holds a refs file system", 0, [0, 0, 0, 0x52, 0x65, 0x46, 0x53, 0]),
    Signature("holds a udf file system", 32769, "BEA01"),
    Signature("holds an ocfs2 file system", 2 * 4096, "OCFSV2"),
    Signature("holds a gfs2 file system", 65536, [0x01, 0x16, 0x19, 0x70]),
    Signature("holds a ufs file system", 8192 + 1372, [0x54, 0x19, 0x01, 0]),
    Signature("holds a ufs file system", 65536 + 1372, [0x19, 0x01, 0x54, 0x19]),
    Signature("holds a befs file system", 512 + 32, "1SFB"),
    Signature("holds a bfs file system", 0, [0xce, 0xfa, 0xad, 0x1b]),
    Signature("holds a cramfs file system", 0, [0x45, 0x3d, 0xcd, 0x28]),
    Signature("holds a romfs file system", 0, "-rom1fs-"),
    Signature("holds a zonefs file system", 0, "SFOZ"),
    Signature("holds a minix file system", 1024 + 16, [0x7f, 0x13]),
    Signature("holds a minix file system", 1024 + 16, [0x8f, 0x13]),
    Signature("holds a minix file system", 1024 + 16, [0x68, 0x24]),
    Signature("holds a minix file system", 1024 + 16, [0x78, 0x24]),
    Signature("holds a minix file system", 1024 + 24, [0x5a, 0x4d]),
    Signature("holds a zfs pool", 131_072, [0x0c, 0xb1, 0xba, 0]),
    Signature("holds an encrypted LUKS volume", 0, [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]),
    Signature("holds an encrypted BitLocker volume", 3, "-FVE-FS-"),
    Signature("holds a Ceph BlueStore device", 0, "bluestore block device"),
    Signature("holds an LVM physical volume", 512, "LABELONE"),
    Signature("holds a part of an md array", 4096, [0xfc, 0x4e, 0x2b, 0xa9]),
    Signature("holds a part of an md array", 0, [0xfc, 0x4e, 0x2b, 0xa9]),
    Signature("holds swap space", 4086, "SWAPSPACE2"),
    Signature("holds swap space", 16374, "SWAPSPACE2"),
    Signature("holds swap space", 65526, "SWAPSPACE2"),
    Signature("holds a GPT partition table", 512, "EFI PART"),
    Signature("holds a GPT partition table", 4096, "EFI PART"),
    Signature("holds a partition table or boot sector", 510, [0x55, 0xaa]),
]

/// What begins and ends a device, where signatures lie, bytes.
private let edgeBytes: UInt64 = 1 << 20

/// What is known to be on a device, such as "holds swap space"; nil: nothing.
///
/// - Throws: `.io`.
func knownContent(of device: any BlockDevice) throws(FilesystemError) -> StaticString? {
    var start = [UInt8](repeating: 0, count: Int(min(edgeBytes, device.byteCount)))
    try readWhole(&start, from: device, physical: 0)
    for signature in signatures {
        let from = Int(signature.offset)
        guard from + signature.bytes.count <= start.count else { continue }
        var isFound = true
        for index in 0..<signature.bytes.count where start[from + index] != signature.bytes[index] {
            isFound = false
        }
        if isFound { return signature.words }
    }
    return nil
}

/// Makes zeros of what older contents are found by: the first and the last mebibyte, and every copy
/// of a btrfs super block, wherever the new file system will end. Durable when it returns.
///
/// What is zero already is not written: an image file keeps its holes.
func wipe(_ device: any BlockDevice) throws(FilesystemError) {
    let length = device.byteCount
    try clear(device, 0, min(edgeBytes, length))
    if length > edgeBytes { try clear(device, length - edgeBytes, edgeBytes) }
    for copy in 0..<SuperBlock.copyCount {
        let physical = SuperBlock.physical(ofCopy: copy)
        guard physical < length else { break }
        try clear(device, physical, min(UInt64(SuperBlock.byteCount), length - physical))
    }
    try device.flush()
}

private func clear(
    _ device: any BlockDevice,
    _ physical: UInt64,
    _ length: UInt64
) throws(FilesystemError) {
    var bytes = [UInt8](repeating: 0, count: Int(length))
    try readWhole(&bytes, from: device, physical: physical)
    guard bytes.contains(where: { $0 != 0 }) else { return }
    let zeros = [UInt8](repeating: 0, count: Int(length))
    try unsafe zeros.span.bytes.withUnsafeBytes { buffer throws(FilesystemError) in
        try unsafe device.write(physical: physical, from: buffer)
    }
}
