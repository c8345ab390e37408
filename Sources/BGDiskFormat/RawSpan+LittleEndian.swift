//===-- RawSpan+LittleEndian.swift - numbers out of bytes -------------------------------------===//
// btrfs stores little-endian numbers without padding, so every load may be unaligned.
//
// Offsets are ours, never the device's: a parser compares the byte count with the size of the
// structure first (`require(_:…)`), so an offset outside the span is our own bug and traps.

extension RawSpan {
    /// The byte at `offset`.
    @inline(__always)
    package func u8(at offset: Int) -> UInt8 {
        unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt8.self)
    }

    /// The 16-bit number at `offset`.
    @inline(__always)
    package func u16(at offset: Int) -> UInt16 {
        UInt16(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// The 32-bit number at `offset`.
    @inline(__always)
    package func u32(at offset: Int) -> UInt32 {
        UInt32(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// The 64-bit number at `offset`.
    @inline(__always)
    package func u64(at offset: Int) -> UInt64 {
        UInt64(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// The 17-byte key at `offset`.
    @inline(__always)
    package func key(at offset: Int) -> Key {
        Key(u64(at: offset), KeyType(rawValue: u8(at: offset + 8)), u64(at: offset + 9))
    }

    /// The 16-byte UUID at `offset`.
    package func uuid(at offset: Int) -> FilesystemUUID {
        FilesystemUUID(
            high: u64(at: offset).byteSwapped,
            low: u64(at: offset + 8).byteSwapped
        )
    }

    /// A copy of the bytes in `range`.
    package func array(_ range: Range<Int>) -> [UInt8] {
        unsafe extracting(range).withUnsafeBytes { unsafe [UInt8]($0) }
    }

    /// Throws `.corrupt` unless there are at least `count` bytes.
    package func require(_ count: Int, _ subject: StaticString) throws(FilesystemError) {
        guard byteCount >= count else {
            throw FilesystemError(
                .corrupt,
                subject,
                "item of % bytes, expected at least %",
                UInt64(byteCount),
                UInt64(count)
            )
        }
    }

    /// Throws `.corrupt` unless there are exactly `count` bytes.
    package func requireExactly(
        _ count: Int,
        _ subject: StaticString
    ) throws(FilesystemError) {
        guard byteCount == count else {
            throw FilesystemError(
                .corrupt,
                subject,
                "item of % bytes, expected %",
                UInt64(byteCount),
                UInt64(count)
            )
        }
    }
}

extension UInt64 {
    /// Whether this is a multiple of `unit`, a power of two.
    @inline(__always)
    package func isAligned(to unit: UInt32) -> Bool {
        self & (UInt64(unit) &- 1) == 0
    }

    /// `self + length`, or nil where that passes the end of the address space.
    @inline(__always)
    package func end(adding length: UInt64) -> UInt64? {
        let (end, overflow) = addingReportingOverflow(length)
        return overflow ? nil : end
    }
}

extension UInt32 {
    /// Whether exactly one bit is set.
    package var isPowerOfTwo: Bool { nonzeroBitCount == 1 }
}
