// A device in memory, for tests that change bytes thousands of times, and the tree blocks on it.

import BGDevices
import BGDiskFormat
import BGTrees
import Foundation
import Testing

final class MemoryDevice: BlockDevice, @unchecked Sendable {
    var bytes: [UInt8]
    /// Bytes read since the count was last set to 0.
    var readBytes = 0
    /// Where reads began, while this is not nil.
    var readPlaces: Set<Int>?

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The whole of an image's first device.
    convenience init(_ image: MkfsImage) throws {
        self.init(try readFile(image.paths[0]))
    }

    var byteCount: UInt64 { UInt64(bytes.count) }

    func read(
        physical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        try checkRange(physical: physical, length: buffer.count)
        readBytes += buffer.count
        let start = Int(physical)
        readPlaces?.insert(start)
        bytes.withUnsafeBytes { all in
            buffer.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: all[start..<start + buffer.count])
            )
        }
    }

    func write(physical: UInt64, from buffer: UnsafeRawBufferPointer) throws(FilesystemError) {
        throw FilesystemError(.readOnly, "memory device", "is only read")
    }

    func flush() throws(FilesystemError) {}

    /// Where each committed tree block of the file system lies: of every tree that a reader reads.
    func treeBlocks(_ superBlock: SuperBlock) -> [TreeBlockPlace] {
        let nodeSize = Int(superBlock.nodeSize)
        var places: [TreeBlockPlace] = []
        for physical in stride(from: 0, through: bytes.count - nodeSize, by: 4096) {
            let block = Array(bytes[physical..<physical + nodeSize])
            let span = block.span.bytes
            guard span.uuid(at: 32) == superBlock.metadataUUID, physical != 64 << 10,
                superBlock.checksumType.verify(block: span)
            else { continue }
            places.append(
                TreeBlockPlace(
                    physical: physical,
                    logical: span.u64(at: 48),
                    owner: span.u64(at: 88),
                    level: Int(span.u8(at: 100)),
                    itemCount: Int(span.u32(at: 96))
                )
            )
        }
        return places
    }

    /// Gives `count` bytes at `physical` the checksum that fits them.
    func seal(_ physical: Int, count: Int, _ type: ChecksumType) {
        var block = Array(bytes[physical..<physical + count])
        var span = block.mutableSpan
        var raw = span.mutableBytes
        type.seal(block: &raw)
        bytes.replaceSubrange(physical..<physical + count, with: block)
    }

    func put(_ value: UInt64, _ count: Int, at offset: Int) {
        for index in 0..<count {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
        }
    }
}

/// An image file whose reads are counted.
final class CountingDevice: BlockDevice, @unchecked Sendable {
    private let file: FileDevice
    private(set) var readCount = 0
    private(set) var readBytes = 0

    init(_ image: MkfsImage) throws {
        file = try image.paths[0].withCString { path throws(FilesystemError) in
            try FileDevice(path: path, writable: false)
        }
    }

    var byteCount: UInt64 { file.byteCount }

    func read(
        physical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        readCount += 1
        readBytes += buffer.count
        try file.read(physical: physical, into: buffer)
    }

    func write(physical: UInt64, from buffer: UnsafeRawBufferPointer) throws(FilesystemError) {
        throw FilesystemError(.readOnly, "counting device", "is only read")
    }

    func flush() throws(FilesystemError) {}
}

struct TreeBlockPlace {
    let physical: Int
    let logical: UInt64
    let owner: UInt64
    let level: Int
    let itemCount: Int
}

/// Numbers that come again for the same seed (splitmix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// From BG_SEED, or a new one; printed, so that a failure can be played again.
    static func printed(_ name: String) -> SeededGenerator {
        let environment = ProcessInfo.processInfo.environment
        let seed = environment["BG_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 1...999_999)
        print("\(name): BG_SEED=\(seed)")
        return SeededGenerator(state: seed)
    }
}
