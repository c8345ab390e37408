//===-- Checksum.swift - checksums of super blocks, tree blocks and data ----------------------===//
// The only file of this module that calls C.
//
// A super block and a tree block begin with their checksum, in a field of 32 bytes whatever its
// type; it covers every byte behind that field.

internal import CShim

/// A checksum in the 32 bytes that the format sets aside for it; unused ones are zero.
package struct Checksum: Equatable, Sendable {
    package var bytes: InlineArray<32, UInt8>

    package static func == (a: Checksum, b: Checksum) -> Bool {
        for index in 0..<32 where a.bytes[index] != b.bytes[index] { return false }
        return true
    }
}

/// Which checksum a file system uses; the raw value is the super block's `csum_type`.
public enum ChecksumType: UInt16, Sendable, CaseIterable {
    case crc32c = 0
    case xxhash64 = 1
    case sha256 = 2
    case blake2b = 3

    /// Bytes of the field before a block's checksummed part.
    package static let fieldBytes = 32

    /// Bytes of a checksum of this type, in the checksum tree and at the start of a block.
    public var byteCount: Int {
        switch self {
        case .crc32c: 4
        case .xxhash64: 8
        case .sha256, .blake2b: 32
        }
    }

    /// The name that btrfs-progs uses.
    public var name: StaticString {
        switch self {
        case .crc32c: "crc32c"
        case .xxhash64: "xxhash64"
        case .sha256: "sha256"
        case .blake2b: "blake2"
        }
    }

    /// The checksum of `data`.
    package func checksum(of data: RawSpan) -> Checksum {
        var result = Checksum(bytes: InlineArray(repeating: 0))
        var span = result.bytes.mutableSpan
        unsafe span.withUnsafeMutableBytes { out in
            unsafe data.withUnsafeBytes { bytes in
                let failed = unsafe bgs_checksum(
                    UInt32(rawValue),
                    bytes.baseAddress,
                    bytes.count,
                    out.baseAddress
                )
                precondition(failed == 0, "every case is known to the shim")
            }
        }
        return result
    }

    /// Whether a whole block (super block or tree block) begins with its right checksum.
    package func verify(block: RawSpan) -> Bool {
        guard block.byteCount > ChecksumType.fieldBytes else { return false }
        let expected = checksum(of: block.extracting(droppingFirst: ChecksumType.fieldBytes))
        for index in 0..<byteCount where block.u8(at: index) != expected.bytes[index] {
            return false
        }
        return true
    }

    /// Writes a block's checksum into its first 32 bytes.
    package func seal(block: inout MutableRawSpan) {
        precondition(block.byteCount > ChecksumType.fieldBytes)
        let sum = checksum(of: block.bytes.extracting(droppingFirst: ChecksumType.fieldBytes))
        for index in 0..<ChecksumType.fieldBytes {
            block.storeBytes(of: sum.bytes[index], toByteOffset: index, as: UInt8.self)
        }
    }
}
