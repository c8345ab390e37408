//===-- Checker.swift - what all passes of a check share ----------------------------------------===//
// The tables that the passes fill and compare, reading of tree blocks, and the way out for faults.
//
// Invariants:
//   1. Every table is sorted once the pass that fills it is over.
//   2. A pass that could not read something clears its `…AreWhole`; whoever would report the absence
//      of a thing asks that first.
//
// Threads: none; one check runs on one thread.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTrees

final class Checker {
    let volume: Volume
    let source: VolumeTreeSource
    let options: CheckOptions
    let superBlock: SuperBlock
    let geometry: TreeGeometry
    private let progress: (CheckProgress) -> Bool
    private let reportFault: (CheckFault) -> Void
    private(set) var summary = CheckSummary()
    private(set) var isStopped = false

    // Filled by the passes.
    var chunks: [ChunkItem] = []
    var devices: [DeviceItem] = []
    var roots: [CheckedRoot] = []
    var rootLinks: [RootLink] = []
    var groups: [CheckedGroup] = []
    var extents = ExtentTable()
    var checksums = RunList()
    /// Tree blocks that were met and that the extent tree does not record.
    var unrecordedBlocks: Set<UInt64> = []

    var chunksAreWhole = true
    var rootsAreWhole = true
    var extentsAreWhole = true
    var groupsAreWhole = true
    var checksumsAreWhole = true
    /// Every block that holds references was read.
    var referencesAreWhole = true

    var limits: FormatLimits { geometry.limits }
    var sectorSize: UInt64 { UInt64(superBlock.sectorSize) }
    var nodeSize: UInt64 { UInt64(superBlock.nodeSize) }

    init(
        _ volume: Volume,
        _ options: CheckOptions,
        _ progress: @escaping (CheckProgress) -> Bool,
        _ report: @escaping (CheckFault) -> Void
    ) {
        self.volume = volume
        self.options = options
        self.progress = progress
        reportFault = report
        superBlock = volume.superBlock
        source = VolumeTreeSource(volume)
        geometry = source.geometry
    }

    /// All passes in order; see Filesystem+Check.swift.
    func run() {
        checkSuperBlocks()
        checkChunks()
        checkRootTree()
        checkExtentTree()
        checkBlockGroups()
        checkDeviceExtents()
        if isStopped { return finish() }
        checkChecksumTree()
        checkTrees()
        if isStopped { return finish() }
        checkSubvolumeLinks()
        checkReferences()
        checkFreeSpace()
        if options.verifiesData, !isStopped { verifyData() }
        finish()
    }

    private func finish() {
        summary.isComplete = !isStopped
    }

    // MARK: reporting

    func report(_ fault: CheckFault) {
        if fault.isRemark { summary.remarks += 1 } else { summary.faults += 1 }
        reportFault(fault)
    }

    func report(_ kind: CheckFault.Kind, _ error: FilesystemError) {
        report(CheckFault(kind, error))
    }

    /// Asks whether to go on; later answers are not asked for.
    func advance(_ phase: CheckProgress.Phase, _ done: UInt64, of total: UInt64) {
        guard !isStopped else { return }
        isStopped = !progress(CheckProgress(phase: phase, done: done, total: total))
    }

    func countBlock() {
        summary.treeBlocks += 1
        if summary.treeBlocks % 64 == 0 {
            advance(.trees, summary.treeBlocks, of: extents.treeBlockCount)
        }
    }

    func countInode() { summary.inodes += 1 }
    func countDataExtent() { summary.dataExtents += 1 }
    func countVerified(_ bytes: UInt64) { summary.verifiedBytes += bytes }

    // MARK: reading

    /// The block that `expected` describes, from the first copy that is in order; nil, and a fault,
    /// where none is.
    ///
    /// - Parameter everyCopy: look at the copies behind the good one too.
    func readBlock(_ expected: BlockExpectation, everyCopy: Bool = false) -> TreeBlock? {
        var found: TreeBlock?
        var failures: [(mirror: Int, error: FilesystemError)] = []
        do throws(FilesystemError) {
            guard expected.logical.isAligned(to: superBlock.sectorSize) else {
                throw expected.corrupt("address is not sector-aligned")
            }
            var bytes = [UInt8](repeating: 0, count: geometry.nodeSize)
            for mirror in 0..<(try source.mirrorCount(logical: expected.logical)) {
                if found != nil, !everyCopy { break }
                do throws(FilesystemError) {
                    try source.readBlock(logical: expected.logical, mirror: mirror, into: &bytes)
                    let block = TreeBlock(logical: expected.logical, bytes: bytes)
                    try block.checkStructure(geometry, expected)
                    try block.check(against: expected)
                    found = found ?? block
                } catch {
                    // That a device is not there was said already.
                    if error.code != .missingDevice { failures.append((mirror, error)) }
                }
            }
        } catch {
            failures.append((0, error))
        }
        let place = (root: expected.treeID, logical: expected.logical)
        guard found != nil else {
            let error =
                failures.first?.error
                ?? FilesystemError(.missingDevice, "tree block", "no copy on the devices given")
            report(.treeBlock, error.located(root: place.root, logical: place.logical))
            return nil
        }
        for failure in failures {
            report(
                .treeBlockCopy,
                failure.error.located(
                    root: place.root,
                    logical: place.logical,
                    deviceIndex: nil,
                    devid: devid(ofMirror: failure.mirror, at: place.logical)
                )
            )
        }
        return found
    }

    /// The device that holds a copy, where that is one device.
    func devid(ofMirror mirror: Int, at logical: UInt64) -> UInt64? {
        guard let chunk = volume.chunkMap.chunk(at: logical),
            mirror < chunk.item.profile.copies
        else { return nil }
        let place = chunk.place(offset: logical - chunk.item.logical)
        return chunk.item.stripes[chunk.stripeIndex(of: place, mirror: mirror + 1)].devid
    }

    // MARK: looking up

    /// The group that holds `logical`.
    func groupIndex(at logical: UInt64) -> Int? {
        var low = 0
        var high = groups.count
        while low < high {
            let middle = (low + high) / 2
            if groups[middle].logical <= logical { low = middle + 1 } else { high = middle }
        }
        guard low > 0, logical - groups[low - 1].logical < groups[low - 1].length else {
            return nil
        }
        return low - 1
    }
}

/// A block group's item, and what was found in the group.
struct CheckedGroup {
    let logical: UInt64
    let length: UInt64
    let used: UInt64
    let flags: ChunkFlags
    /// Bytes of the extents recorded inside.
    var found: UInt64 = 0

    var end: UInt64 { logical + length }
}

/// Sorted ranges, apart; neighbours that touch are one.
struct RunList {
    private(set) var runs: [LogicalRange] = []

    /// Adds a range at or behind the end of the last one.
    mutating func append(_ logical: UInt64, _ length: UInt64) {
        if let last = runs.last, last.end == logical {
            runs[runs.count - 1].length += length
        } else {
            runs.append(LogicalRange(logical: logical, length: length))
        }
    }

    /// Bytes of a range that the runs cover. - Complexity: O(log runs + runs covered)
    func covered(_ logical: UInt64, _ length: UInt64) -> UInt64 {
        guard let end = logical.end(adding: length) else { return 0 }
        var low = 0
        var high = runs.count
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].end <= logical { low = middle + 1 } else { high = middle }
        }
        var bytes: UInt64 = 0
        while low < runs.count, runs[low].logical < end {
            bytes += min(runs[low].end, end) - max(runs[low].logical, logical)
            low += 1
        }
        return bytes
    }
}
