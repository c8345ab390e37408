//===-- TreeBlockProvider.swift - checked blocks by address -------------------------------------===//
// What a walk over a tree needs, whether the tree is read from a committed file system (TreeReader)
// or is being changed in memory (TreeStore).

package import BGDiskFormat

package protocol TreeBlockProvider: AnyObject {
    /// `limits.generation` is the highest generation that a block may carry here.
    var geometry: TreeGeometry { get }

    /// The block that `expected` describes, checked.
    ///
    /// - Throws: `.corrupt`, `.io`, `.missingDevice`.
    func block(_ expected: BlockExpectation) throws(FilesystemError) -> TreeBlock
}
