// A file system with nearly all space taken, by claims in memory, so that how much is left is known to a
// block; and files of very many extents, recorded without writing their bytes.

import BGAllocation
import BGDiskFormat
import BGTestSupport
import BGTrees
import Testing

@testable import BlockGroups

/// A new file system with one copy of everything.
func makeFilesystem(
    _ device: MemoryDevice,
    nodeSize: UInt32 = 16384,
    _ change: (inout FormatOptions) -> Void = { _ in }
) throws -> Filesystem {
    var options = FormatOptions()
    options.nodeSize = nodeSize
    options.metadataProfile = .single
    change(&options)
    try Filesystem.format(devices: [device], options)
    return try openFilesystem([device], readOnly: false)
}

/// A mixed file system with two files of `count` sectors each, in turn, and next to nothing free.
func makeScarceMixed(
    _ device: MemoryDevice,
    count: Int
) throws -> (filesystem: Filesystem, first: File, space: ScarceSpace) {
    let filesystem = try makeFilesystem(device, nodeSize: 4096) { $0.isMixed = true }
    let files = try ["/many", "/between"].map { try filesystem.createFile(FilePath($0)) }
    try filesystem.recordSectors(files, count: 2 * count, sumBytes: 4)
    try filesystem.commit()
    // As much as one of them has is left out, and comes back.
    let request = ClaimRequest(length: UInt64(count) * 4096, flags: [.data, .metadata])
    let spare = try filesystem.allocator.claim(request).commit()
    let space = try ScarceSpace(filesystem)
    space.takeMetadata()
    try filesystem.allocator.giveBack(spare)
    return (filesystem, files[0], space)
}

/// Claims that take up space.
final class ScarceSpace {
    let filesystem: Filesystem
    /// Of metadata, the smallest last.
    private(set) var held: [Extent] = []

    init(_ filesystem: Filesystem) throws {
        self.filesystem = filesystem
        try filesystem.cacheFreeSpace()
    }

    var freeBytes: UInt64 { filesystem.source.freeMetadataBytes(in: filesystem.allocator) }

    /// Claims all there is of data. No chunk is made that it does not take.
    func takeData() {
        guard !filesystem.isMixed else { return }
        _ = take(64 << 20, .data, least: filesystem.sectorSize)
    }

    /// The same with metadata.
    func takeMetadata() {
        let flags: BlockGroupFlags = filesystem.isMixed ? [.data, .metadata] : .metadata
        held += take(1 << 20, flags, least: nodeBytes)
    }

    private var nodeBytes: UInt64 { UInt64(filesystem.superBlock.nodeSize) }

    private func take(_ length: UInt64, _ flags: BlockGroupFlags, least: UInt64) -> [Extent] {
        var taken: [Extent] = []
        var length = length
        while length >= least {
            do throws(AllocationError) {
                let request = ClaimRequest(length: length, flags: flags)
                taken.append(try filesystem.allocator.claim(request).commit())
            } catch {
                length /= 2
            }
        }
        return taken
    }

    /// Frees metadata, a block at a time, until so much is left; false: no more is to be had.
    @discardableResult
    func makeRoom(_ bytes: UInt64) -> Bool {
        while freeBytes < bytes {
            guard let last = held.popLast() else { return false }
            let part = Extent(logical: last.logical, length: min(last.length, nodeBytes))
            if last.length > nodeBytes {
                held.append(
                    Extent(
                        logical: last.logical + nodeBytes,
                        length: last.length - nodeBytes
                    )
                )
            }
            do throws(AllocationError) {
                try filesystem.allocator.giveBack(part)
            } catch {
                return false
            }
        }
        return true
    }

    /// Frees whole claims that `choose` picks.
    func giveBack(where choose: (Extent) -> Bool) throws {
        for extent in held where choose(extent) { try filesystem.allocator.giveBack(extent) }
        held.removeAll(where: choose)
    }
}

extension Filesystem {
    /// References that the next commit changes.
    var pendingReferences: Int {
        get throws(FilesystemError) {
            try readTrees { (transaction) throws(FilesystemError) in transaction.pendingReferences }
        }
    }

    /// Records parts of a sector each behind the end of empty files, in turn, neighbours in one claim.
    ///
    /// - Parameters:
    ///   - count: of parts in all.
    ///   - stride: parts that follow one another in the files lie so many sectors apart, around the
    ///     claim; coprime with `count`.
    ///   - sumBytes: of a checksum; 0: none is recorded.
    func recordSectors(
        _ files: [File],
        count: Int,
        stride: Int = 1,
        sumBytes: Int
    ) throws {
        let perChange = 1000
        let type: BlockGroupFlags = isMixed ? [.data, .metadata] : .data
        let length = UInt64(count) * sectorSize
        // More than one claim can have: groups are neighbours.
        var claims: [Extent] = []
        var claimed: UInt64 = 0
        while claimed < length {
            let request = ClaimRequest(length: min(length - claimed, 32 << 20), flags: type)
            claims.append(try allocator.claim(request).commit())
            claimed += claims[claims.count - 1].length
        }
        let places = claims.flatMap { claim in
            (0..<claim.length / sectorSize).map { claim.logical + $0 * sectorSize }
        }
        let sum = [UInt8](repeating: 9, count: sumBytes)
        for low in Swift.stride(from: 0, to: count, by: perChange) {
            try changeFiles(itemBytes: UInt64(perChange) << 8) { (_) throws(FilesystemError) in
            } apply: { (change, _: Void) throws(FilesystemError) in
                let high = min(count, low + perChange)
                for index in low..<high {
                    let written = WrittenExtent(
                        extent: Extent(
                            logical: places[index * stride % count],
                            length: sectorSize
                        ),
                        start: UInt64(index / files.count) * sectorSize,
                        checksums: sum
                    )
                    _ = try change.insertExtent(
                        written,
                        of: files[index % files.count].inodeNumber
                    )
                }
                for file in files {
                    try change.updateInode(file.inodeNumber) {
                        $0.size = UInt64(high / files.count) * sectorSize
                        $0.byteCount = $0.size
                    }
                }
            }
        }
    }
}
