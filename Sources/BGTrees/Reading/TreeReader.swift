//===-- TreeReader.swift - reads, checks and remembers tree blocks ------------------------------===//
// Gets a block from the first mirror whose copy passes every check, and says so to the source when
// that was not the first one. A small cache keeps upper nodes.
//
// Threads: none; each thread, or each operation, makes its own reader. It costs one array.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

package final class TreeReader: TreeBlockProvider {
    package let source: any TreeBlockSource
    package var geometry: TreeGeometry { source.geometry }
    private var cache: BlockCache

    /// - Parameter cacheBlocks: blocks to remember, a power of two.
    package init(_ source: any TreeBlockSource, cacheBlocks: Int = 32) {
        self.source = source
        cache = BlockCache(places: cacheBlocks)
    }

    /// The block that `expected` describes, checked.
    ///
    /// - Throws: what was wrong with the first copy that could be read, when none is good; the
    ///   I/O error when none could be read.
    package func block(_ expected: BlockExpectation) throws(FilesystemError) -> TreeBlock {
        if let block = cache[expected.logical] {
            // Checked once on its own, but this parent may expect something else of it.
            try block.check(against: expected)
            return block
        }
        let block = try Self.readBlock(expected, from: source, source.geometry)
        cache.insert(block)
        return block
    }

    /// Reads a block from the first mirror whose copy passes every check.
    static func readBlock(
        _ expected: BlockExpectation,
        from source: any TreeBlockSource,
        _ geometry: TreeGeometry
    ) throws(FilesystemError) -> TreeBlock {
        guard expected.logical.isAligned(to: geometry.limits.sectorSize) else {
            throw expected.corrupt("address is not sector-aligned")
        }
        let mirrorCount = try source.mirrorCount(logical: expected.logical)
        var failure: FilesystemError?
        var badMirrors = 0
        var bytes = [UInt8](repeating: 0, count: geometry.nodeSize)
        for mirror in 0..<mirrorCount {
            do throws(FilesystemError) {
                try source.readBlock(logical: expected.logical, mirror: mirror, into: &bytes)
                let block = TreeBlock(logical: expected.logical, bytes: bytes)
                try block.checkContents(geometry, expected)
                try block.check(against: expected)
                if badMirrors > 0 {
                    source.noteCorrectedBlock(logical: expected.logical, badMirrors: badMirrors)
                }
                return block
            } catch {
                // A copy on a device that is not there is not a bad one.
                badMirrors += error.code == .missingDevice ? 0 : 1
                failure = moreTelling(failure, error)
            }
        }
        throw (failure ?? expected.corrupt("has no copy"))
            .located(root: expected.treeID, logical: expected.logical)
    }

    /// What was wrong with a copy that could be read says more than that another could not be;
    /// otherwise the first error stands.
    private static func moreTelling(
        _ first: FilesystemError?,
        _ next: FilesystemError
    ) -> FilesystemError {
        guard let first, first.code == .corrupt || next.code != .corrupt else { return next }
        return first
    }
}
