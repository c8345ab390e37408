//===-- Hashes.swift - the hashes in keys, and one for names in memory ---------------------------===//
// btrfs puts CRC-32C into the keys of names and of data references, with seeds of its own and
// without the final inversion. It is computed here anew, so that a check does not rest on the code
// that wrote the keys.
//===-------------------------------------------------------------------------------------------===//

/// CRC-32C of one byte each.
private let table: [UInt32] = (0..<256).map { index in
    var value = UInt32(index)
    for _ in 0..<8 { value = value & 1 != 0 ? value >> 1 ^ 0x82f6_3b78 : value >> 1 }
    return value
}

private func crc32c(_ seed: UInt32, _ number: UInt64) -> UInt32 {
    var crc = seed
    for shift in 0..<8 {
        let byte = UInt8(truncatingIfNeeded: number >> UInt64(8 * shift))
        crc = crc >> 8 ^ table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)]
    }
    return crc
}

private func crc32c(_ seed: UInt32, _ bytes: RawSpan) -> UInt32 {
    var crc = seed
    for offset in 0..<bytes.byteCount {
        let byte = unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
        crc = crc >> 8 ^ table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)]
    }
    return crc
}

/// The offset in the keys of DIR_ITEM and XATTR_ITEM.
func nameHash(_ name: RawSpan) -> UInt64 {
    UInt64(crc32c(0xffff_fffe, name))
}

/// The offset in the keys of INODE_EXTREF.
func extendedRefHash(parent: UInt64, _ name: RawSpan) -> UInt64 {
    UInt64(crc32c(UInt32(truncatingIfNeeded: parent), name))
}

/// What the kernel orders the references to data by.
func dataReferenceHash(root: UInt64, inode: UInt64, offset: UInt64) -> UInt64 {
    let high = crc32c(.max, root)
    let low = crc32c(crc32c(.max, inode), offset)
    return UInt64(high) << 31 ^ UInt64(low)
}

/// 64 bits that stand for a name in the tables of a check (FNV-1a, then mixed).
func fingerprint(_ name: RawSpan) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for offset in 0..<name.byteCount {
        hash ^= UInt64(unsafe name.unsafeLoad(fromByteOffset: offset, as: UInt8.self))
        hash = hash &* 0x0000_0100_0000_01b3
    }
    hash ^= hash >> 32
    return hash &* 0x9e37_79b9_7f4a_7c15
}
