//===-- TreeSpace.swift - what a tree that changes needs from its file system -------------------===//
// A tree never changes a block that an earlier transaction wrote: it asks for one of its own first.
// Where that comes from, and who is told of the references that come and go, is the space's affair
// (TreeStore), so that the tree algorithms can be tested on plain memory.
//
// A call that throws has changed nothing. Where a space cannot keep to that, it must refuse
// everything from then on, and never commit: a tree takes an error for "not done".
//
// None of these calls may change the tree that it is called for.
//
// Locks: the tree mutex is held around every call.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

package protocol TreeSpace: TreeBlockProvider {
    /// Of the running transaction. Blocks that carry it may be changed where they are.
    var generation: UInt64 { get }

    /// A new empty block of this tree: claimed, counted as referenced by the tree, dirty.
    ///
    /// What `TreeBlock.init(empty:…)` makes.
    ///
    /// - Parameter hint: an address that it should lie near; 0: none.
    /// - Throws: `.noSpace`, `.readOnly`, or what reading a group's free space throws.
    func allocateBlock(
        of tree: Tree,
        level: UInt8,
        hint: UInt64
    ) throws(FilesystemError) -> TreeBlock

    /// The block itself where the running transaction made it; otherwise a dirty copy of it at a
    /// new address, for which the references of both, and of what they point at, were put right.
    /// The caller points the parent, or the tree's root, at what it gets. Asked from the root down:
    /// the parent is a block of the running transaction already, and still points at `block`.
    func blockForChange(
        _ block: TreeBlock,
        of tree: Tree
    ) throws(FilesystemError) -> TreeBlock

    /// The tree no longer leads to this block, which the running transaction made. What it points
    /// at is not freed: the tree still leads there, or has let go of it before.
    func freeBlock(_ block: TreeBlock, of tree: Tree) throws(FilesystemError)
}
