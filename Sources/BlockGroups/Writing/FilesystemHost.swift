//===-- FilesystemHost.swift - what transactions need, on an allocator and a volume ---------------===//
// The one implementation of TransactionHost for real devices: claims of tree blocks from the file
// system's own allocator, chunk changes from its source, blocks and super blocks to its volume.
// Making a file system uses it, too, on devices that hold none yet.
//
// Invariants:
//   1. What a tree owns is neither free nor claimed in the allocator; `unpin` makes it free.
//   2. After `damage` was noted, nothing more is committed: the allocator no longer agrees with the
//      trees. After that, and after the trees failed, no copy is repaired either.
//
// Locks: TransactionHost says which calls come with the tree mutex held; none here takes it.
//===-------------------------------------------------------------------------------------------===//

package import BGAllocation
package import BGDevices
package import BGDiskFormat
package import BGTrees

package final class FilesystemHost: TransactionHost, @unchecked Sendable {
    package let volume: Volume
    package let allocator: Allocator
    let source: GroupSource
    /// Checksums of data that was written and that no tree records yet.
    let sums: RememberedSums
    private let blocks: VolumeTreeSource
    /// Claims for tree blocks in a file system with mixed groups come from those.
    private let isMixed: Bool
    private let nodeSize: UInt64
    let isWritable: Bool
    private let noted = Mutex(.sums)
    /// Under `noted`.
    private var firstDamage: FilesystemError?
    private var hasFailed = false

    /// On the groups and devices of a file system that exists.
    init(
        _ reader: FilesystemReader,
        _ source: GroupSource,
        _ allocator: Allocator,
        isWritable: Bool
    ) {
        volume = reader.volume
        self.allocator = allocator
        self.source = source
        self.isWritable = isWritable
        blocks = reader.source
        isMixed = reader.superBlock.incompat.contains(.mixedGroups)
        nodeSize = UInt64(reader.superBlock.nodeSize)
        sums = RememberedSums(reader.superBlock)
    }

    /// For making a file system: on devices that hold none, with no chunk and no group.
    ///
    /// - Parameters:
    ///   - volume: of `Volume.init(formatting:devices:items:)`, with the same super block.
    ///   - space: all of the devices.
    package init(
        formatting superBlock: SuperBlock,
        on volume: Volume,
        space: DeviceSpace
    ) throws(FilesystemError) {
        self.volume = volume
        source = GroupSource(formatting: superBlock, volume, space)
        do throws(AllocationError) {
            allocator = try Allocator(sectorSize: UInt64(superBlock.sectorSize), source: source)
        } catch {
            throw FilesystemError(allocation: error)
        }
        isWritable = true
        blocks = VolumeTreeSource(volume, superBlock)
        isMixed = superBlock.incompat.contains(.mixedGroups)
        nodeSize = UInt64(superBlock.nodeSize)
        sums = RememberedSums(superBlock)
    }

    /// Makes the first chunk of a type and profile: for making a file system, where no group tells
    /// the profile of the next. Data and metadata in one where groups are mixed.
    ///
    /// - Parameter lengthMax: see `DeviceSpace.planChunk`.
    /// - Throws: `.noSpace` where the devices are too small or too few.
    package func makeChunk(
        _ flags: ChunkFlags,
        lengthMax: UInt64 = .max
    ) throws(FilesystemError) {
        guard try source.makeChunk(flags, lengthMax: lengthMax, in: allocator) else {
            throw .noHole
        }
    }

    // MARK: TreeBlockSource

    package var geometry: TreeGeometry { blocks.geometry }

    package func mirrorCount(logical: UInt64) throws(FilesystemError) -> Int {
        try blocks.mirrorCount(logical: logical)
    }

    package func readBlock(
        logical: UInt64,
        mirror: Int,
        into bytes: inout [UInt8]
    ) throws(FilesystemError) {
        try blocks.readBlock(logical: logical, mirror: mirror, into: &bytes)
    }

    /// A block was good on a mirror after `badMirrors` others had failed; where the file system is
    /// writable, those are put right.
    package func noteCorrectedBlock(logical: UInt64, badMirrors: Int) {
        blocks.noteCorrectedBlock(logical: logical, badMirrors: badMirrors)
        guard mayRepair else { return }
        // Mirrors were tried in order, and none is missing: the first ones are the bad ones.
        var bytes = [UInt8](repeating: 0, count: Int(nodeSize))
        do throws(FilesystemError) {
            try blocks.readBlock(logical: logical, mirror: badMirrors, into: &bytes)
            for mirror in 0..<badMirrors {
                try unsafe bytes.span.bytes.withUnsafeBytes { copy throws(FilesystemError) in
                    try unsafe volume.writeCopy(
                        logical: logical,
                        mirror: mirror + 1,
                        from: copy
                    )
                }
                sums.noteRepair()
            }
        } catch {
            // It stays as it is: the good copy was read.
            return
        }
    }

    // MARK: space

    package func claimTreeBlock(
        _ type: ChunkFlags,
        hint: UInt64
    ) throws(FilesystemError) -> UInt64 {
        guard isWritable else { throw .openedReadOnly }
        var flags = BlockGroupFlags(rawValue: type.type.rawValue)
        if isMixed, type.contains(.metadata) { flags = [.data, .metadata] }
        var request = ClaimRequest(length: nodeSize, flags: flags)
        do throws(AllocationError) {
            let extent = try allocator.claimExtent(request)
            // Groups of tree blocks alone hand out nothing else, but a super block copy or odd
            // groups may shift them; no block may cross 64 KiB.
            if extent.logical & (nodeSize - 1) == 0 { return extent.logical }
            try allocator.giveBack(extent)
            request.alignment = nodeSize
            return try allocator.claimExtent(request).logical
        } catch {
            throw FilesystemError(allocation: error)
        }
    }

    package func own(logical: UInt64, length: UInt64) {
        do throws(AllocationError) {
            try allocator.own(Extent(logical: logical, length: length))
        } catch {
            noteDamage(FilesystemError(allocation: error), logical)
        }
    }

    package func giveBack(logical: UInt64, length: UInt64) {
        do throws(AllocationError) {
            try allocator.giveBack(Extent(logical: logical, length: length))
        } catch {
            noteDamage(FilesystemError(allocation: error), logical)
        }
    }

    package func prepareToFree(logical: UInt64, length: UInt64) throws(FilesystemError) {
        guard let group = allocator.group(at: logical), length <= group.length,
            logical - group.logical <= group.length - length
        else {
            throw FilesystemError(.corrupt, "extent", "lies in no block group", logical: logical)
        }
        do throws(AllocationError) {
            try group.cache()
        } catch {
            throw source.cacheFailure(ofGroupAt: group.logical)
                ?? FilesystemError(allocation: error).located(logical: logical)
        }
    }

    package func unpin(logical: UInt64, length: UInt64) {
        guard let group = allocator.group(at: logical) else {
            let lost = FilesystemError(.corrupt, "freed extent", "its block group is gone")
            noteDamage(lost, logical)
            return
        }
        do throws(AllocationError) {
            try group.addFreeSpace(logical: logical, length: length)
        } catch {
            // The image's free space contradicts its extents.
            let twice = FilesystemError(.corrupt, "freed extent", "some of it was free already")
            noteDamage(twice, logical)
        }
    }

    /// What makes allocator and trees disagree, if anything did.
    package var damage: FilesystemError? { noted.withLock { firstDamage } }

    package func didFail() { noted.withLock { hasFailed = true } }

    /// Whether bad copies may be written anew. It stays so while the tree mutex is held, unless a commit
    /// that is being written fails just then.
    var mayRepair: Bool {
        isWritable && noted.withLock { firstDamage == nil && !hasFailed }
    }

    private func noteDamage(_ error: FilesystemError, _ logical: UInt64) {
        noted.withLock { firstDamage = firstDamage ?? error.located(logical: logical) }
    }

    // MARK: chunks

    package func takeChunkChanges() -> [ChunkChange] { source.takeChanges() }
    package var deviceItems: [DeviceItem] { source.deviceItems }
    package var systemChunks: [ChunkItem] { source.systemChunks }

    // MARK: durability

    package func write(logical: UInt64, _ bytes: RawSpan) throws(FilesystemError) {
        if isMixed { sums.forget(logical: logical, length: UInt64(bytes.byteCount)) }
        try volume.write(logical: logical, bytes)
    }

    package func flush() throws(FilesystemError) {
        if let damage { throw damage }
        try volume.flush()
    }

    package func writeSuperBlocks(
        _ superBlock: SuperBlock,
        devices: [DeviceItem]
    ) throws(FilesystemError) {
        if let damage { throw damage }
        try volume.writeSuperBlocks(superBlock, devices: devices)
    }

    package func didCommit(_ superBlock: SuperBlock, removed: [ChunkItem]) {
        source.switchCommitted(to: superBlock)
        source.release(removed)
    }
}
