//===-- Filesystem+Reading.swift - data from a copy whose checksum is right --------------------------===//
// Reads from any copy that the devices can read, compares the checksums that are recorded, and where
// one is wrong looks at the copies one by one.
//
// Repair. A copy that cannot be read, or is wrong where another is right, is written anew. That happens
// with the tree mutex held and the checksum looked up once more: what is recorded is not written by
// anybody else, and cannot be freed and given to others meanwhile. After a failure nothing is repaired.
//
// Bounds: a sector is looked at on every copy, at most twice.
// Locks: none of these may be called with a lock held but a file's.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
public import BGDiskFormat
import BGTrees

/// Bytes that one look-up of checksums serves.
private let pieceBytes: UInt64 = 1 << 20

extension Filesystem {
    /// Reads bytes by logical address, from a copy whose checksum is right where one is recorded. On
    /// a file system opened for writing, a bad copy of data is repaired from a good one.
    ///
    /// - Throws: `.invalidArgument` where no chunk holds some of the range; `.io` where no copy can be
    ///   read, or none is right; `.corrupt` where the checksum tree is damaged.
    public func read(
        logical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        try unsafe read(logical: logical, into: buffer, requiresChecksums: false)
    }

    /// The same. With `requiresChecksums` data of which none is recorded is `.io`.
    func read(
        logical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer,
        requiresChecksums: Bool
    ) throws(FilesystemError) {
        guard let end = logical.end(adding: UInt64(buffer.count)) else {
            throw FilesystemError(.invalidArgument, "read", "passes the last address")
        }
        var from = logical
        while from < end {
            guard let chunk = reader.volume.chunk(at: from) else {
                throw FilesystemError(
                    .invalidArgument,
                    "address",
                    "no chunk holds it",
                    logical: from
                )
            }
            let stop = min(end, chunk.item.end, (from / pieceBytes + 1) * pieceBytes)
            let range = Int(from - logical)..<Int(stop - logical)
            let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[range])
            if chunk.item.flags.contains(.data) {
                try unsafe readVerified(from, piece, requiresChecksums)
            } else {
                try unsafe reader.read(logical: from, into: piece)
            }
            from = stop
        }
    }

    /// Fills `buffer` from `logical` on; see `read(logical:into:)`.
    package func readData(
        logical: UInt64,
        into buffer: inout MutableRawSpan
    ) throws(FilesystemError) {
        try unsafe buffer.withUnsafeMutableBytes { bytes throws(FilesystemError) in
            try unsafe read(logical: logical, into: bytes)
        }
    }

    /// Reads a piece of a data chunk, by way of whole sectors where it is not that.
    private func readVerified(
        _ logical: UInt64,
        _ buffer: UnsafeMutableRawBufferPointer,
        _ requiresChecksums: Bool
    ) throws(FilesystemError) {
        let first = logical & ~(sectorSize - 1)
        let head = Int(logical - first)
        let count = (head + buffer.count + Int(sectorSize) - 1) & ~Int(sectorSize - 1)
        guard head != 0 || count != buffer.count else {
            return try unsafe readSectors(first, buffer, requiresChecksums)
        }
        let whole = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
        defer { unsafe whole.deallocate() }
        try unsafe readSectors(first, whole, requiresChecksums)
        unsafe buffer.copyMemory(
            from: UnsafeRawBufferPointer(rebasing: whole[head..<head + buffer.count])
        )
    }

    private func readSectors(
        _ logical: UInt64,
        _ buffer: UnsafeMutableRawBufferPointer,
        _ requiresChecksums: Bool
    ) throws(FilesystemError) {
        let sums = try RecordedSums(self, logical, UInt64(buffer.count))
        let correctedBefore = reader.volume.correctedReads
        var failure: FilesystemError?
        do throws(FilesystemError) {
            try unsafe reader.volume.read(logical: logical, into: buffer)
        } catch {
            // Perhaps no copy has all of it, but each sector has one.
            failure = error
        }
        if let failure, !sums.hasAny { throw failure }
        // A device failed to read: its copy may want repair although the bytes are right.
        let looksAtAll = failure != nil || reader.volume.correctedReads != correctedBefore
        let sector = Int(sectorSize)
        for index in 0..<buffer.count / sector {
            let range = index * sector..<(index + 1) * sector
            let bytes = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[range])
            let at = logical + UInt64(range.lowerBound)
            guard let sum = sums.sum(index) else {
                if requiresChecksums {
                    throw FilesystemError(.io, "data", "no checksum is recorded", logical: at)
                }
                if failure != nil { try unsafe reader.volume.read(logical: at, into: bytes) }
                continue
            }
            if !looksAtAll, unsafe matches(UnsafeRawBufferPointer(bytes), sum) { continue }
            try unsafe readSector(at, sum, bytes)
        }
    }

    private func matches(_ bytes: UnsafeRawBufferPointer, _ sum: ArraySlice<UInt8>) -> Bool {
        let found = host.sums.type.checksum(of: unsafe bytes.bytes)
        var index = 0
        for byte in sum {
            if found.bytes[index] != byte { return false }
            index += 1
        }
        return true
    }

    /// Finds a copy of one sector that is right, and has the others repaired.
    private func readSector(
        _ logical: UInt64,
        _ sum: ArraySlice<UInt8>,
        _ buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        let mirrors = try reader.volume.mirrorCount(logical: logical)
        var bad: [Int] = []
        var isFound = false
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: buffer.count, alignment: 64)
        defer { unsafe copy.deallocate() }
        for mirror in 1...mirrors {
            do throws(FilesystemError) {
                try unsafe reader.volume.read(logical: logical, into: copy, mirror: mirror)
            } catch {
                if error.code != .missingDevice { bad.append(mirror) }
                continue
            }
            if unsafe matches(UnsafeRawBufferPointer(copy), sum) {
                if !isFound { unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(copy)) }
                isFound = true
            } else {
                host.sums.noteMismatch()
                bad.append(mirror)
            }
        }
        guard isFound else {
            // The extent may have been freed, and its space used anew, since the sum was looked up.
            let now = try RecordedSums(self, logical, sectorSize)
            guard now.sum(0) != sum else {
                throw FilesystemError(
                    .io,
                    "data",
                    "the checksum is wrong on every copy that can be read",
                    logical: logical
                )
            }
            return try unsafe reader.volume.read(logical: logical, into: buffer)
        }
        guard !bad.isEmpty else { return }
        reader.volume.noteCorrectedRead()
        if host.mayRepair { unsafe repair(logical, sum, bad, UnsafeRawBufferPointer(buffer)) }
    }

    /// Writes the right bytes over bad copies. What fails is left: the right bytes were read.
    private func repair(
        _ logical: UInt64,
        _ sum: ArraySlice<UInt8>,
        _ mirrors: [Int],
        _ bytes: UnsafeRawBufferPointer
    ) {
        do throws(FilesystemError) {
            try readTrees { (transaction) throws(FilesystemError) in
                let now = try RecordedSums(transaction, self, logical, self.sectorSize)
                guard host.mayRepair, now.sum(0) == sum else { return }
                for mirror in mirrors {
                    do throws(FilesystemError) {
                        try unsafe self.reader.volume.writeCopy(
                            logical: logical,
                            mirror: mirror,
                            from: bytes
                        )
                        self.host.sums.noteRepair()
                    } catch {
                        continue
                    }
                }
            }
        } catch {
            return
        }
    }
}

/// The checksums that are recorded of a range of sectors.
private struct RecordedSums {
    private let width: Int
    private var sums: [UInt8] = []
    private var known: [Bool] = []

    var hasAny: Bool { !known.isEmpty }

    init(
        _ filesystem: Filesystem,
        _ logical: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) {
        self = try filesystem.readTrees { (transaction) throws(FilesystemError) in
            try RecordedSums(transaction, filesystem, logical, length)
        }
    }

    init(
        _ transaction: Transaction,
        _ filesystem: Filesystem,
        _ logical: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) {
        let width = filesystem.host.sums.type.byteCount
        let sectorSize = filesystem.sectorSize
        let count = Int(length / sectorSize)
        var sums: [UInt8] = []
        var known: [Bool] = []
        try transaction.forEachChecksum(logical: logical, length: length) {
            (start, run) throws(FilesystemError) in
            if known.isEmpty {
                sums = [UInt8](repeating: 0, count: count * width)
                known = [Bool](repeating: false, count: count)
            }
            let first = Int((start - logical) / sectorSize)
            for index in 0..<run.byteCount / width {
                known[first + index] = true
                for byte in 0..<width {
                    sums[(first + index) * width + byte] = run.u8(at: index * width + byte)
                }
            }
        }
        self.width = width
        self.sums = sums
        self.known = known
    }

    /// The checksum of sector `index`; nil: none is recorded.
    func sum(_ index: Int) -> ArraySlice<UInt8>? {
        guard !known.isEmpty, known[index] else { return nil }
        return sums[index * width..<(index + 1) * width]
    }
}
