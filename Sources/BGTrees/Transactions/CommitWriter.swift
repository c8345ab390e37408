//===-- CommitWriter.swift - putting a commit on the devices ----------------------------------------===//
// The second stage: blocks, flush, super blocks. The order is what makes a crash harmless: until a
// super block is there, nothing on the devices leads to the new blocks, and they overwrite nothing that
// the commit before uses.
//
// Locks: the commit mutex. The tree mutex is free, and others change the next transaction meanwhile;
// what is written here never changes.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

struct CommitWriter {
    /// Neighbouring blocks are written together up to this many bytes.
    private static let writeBytesMax = 1 << 20

    let host: any TransactionHost
    let checksumType: ChecksumType

    func write(_ commit: FrozenCommit) throws(FilesystemError) {
        try writeBlocks(commit)
        try host.flush()
        try host.writeSuperBlocks(commit.superBlock, devices: commit.devices)
    }

    private func writeBlocks(_ commit: FrozenCommit) throws(FilesystemError) {
        var buffer: [UInt8] = []
        buffer.reserveCapacity(Self.writeBytesMax)
        var start: UInt64 = 0
        var groupsBelow = 0
        for block in commit.blocks {
            let next = start + UInt64(buffer.count)
            while groupsBelow < commit.groupEnds.count,
                commit.groupEnds[groupsBelow] <= block.logical
            {
                groupsBelow += 1
            }
            // Where the block starts a group, the last one was in another.
            let groupStart = groupsBelow > 0 ? commit.groupEnds[groupsBelow - 1] : 0
            let joins =
                block.logical == next && block.logical != groupStart
                && buffer.count + block.bytes.count <= Self.writeBytesMax
            if !joins {
                try write(buffer, at: start)
                buffer.removeAll(keepingCapacity: true)
                start = block.logical
            }
            append(block, to: &buffer)
        }
        try write(buffer, at: start)
    }

    private func write(_ buffer: [UInt8], at logical: UInt64) throws(FilesystemError) {
        guard !buffer.isEmpty else { return }
        try host.write(logical: logical, unsafe buffer.span.bytes)
    }

    /// Appends a block as it goes to the device: zeros where it holds nothing, and its checksum.
    private func append(_ block: TreeBlock, to buffer: inout [UInt8]) {
        let start = buffer.count
        buffer += block.bytes
        var span = buffer.mutableSpan
        var all = unsafe span.mutableBytes
        var raw = all._mutatingExtracting(start..<start + block.bytes.count)
        for offset in block.unusedRange { raw.store(UInt8(0), at: offset) }
        checksumType.seal(block: &raw)
    }
}
