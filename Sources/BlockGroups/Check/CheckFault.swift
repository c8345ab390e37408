//===-- CheckFault.swift - one thing that a check found wrong -----------------------------------===//
// What, where and by how much, as values and as one line for people. Like FilesystemError it holds
// static words and numbers only, so that a million of them cost no text until one is shown.
//===-------------------------------------------------------------------------------------------===//

public import BGDiskFormat

/// A fault, or a remark, of ``Filesystem/check(_:progress:report:)``.
public struct CheckFault: Sendable {
    /// What sort of thing is wrong.
    public enum Kind: UInt8, Sendable, CaseIterable {
        /// A copy of the super block, or a field of it that the trees contradict.
        case superBlock
        /// A device item, or a device that it describes.
        case device
        /// A chunk, or the super block's list of system chunks.
        case chunk
        /// The bytes of a device that a chunk takes, against the chunks.
        case deviceExtent
        /// A block group against its chunk, its extents, or the bytes used.
        case blockGroup
        /// A tree block that no copy gives in order; what lies below it was not looked at.
        case treeBlock
        /// A bad copy of a tree block of which another copy is good.
        case treeBlockCopy
        /// A tree that must be there, or must not be empty, or its root item.
        case tree
        /// An item that does not belong into its tree, or whose fields are out of range.
        case item
        /// A record of the extent tree, or space that is used and not recorded.
        case extent
        /// A reference to an extent that is recorded and not there, or there and not recorded.
        case reference
        /// The free-space tree against what no extent holds.
        case freeSpace
        /// The checksum tree: order, overlap, sums of what no extent holds.
        case checksumTree
        /// File data without the checksum that it must have, or with one it must not have.
        case missingChecksum
        /// Data that does not match its checksum.
        case data
        /// An inode's fields.
        case inode
        /// An inode's link count against its names, or an orphan without its mark.
        case linkCount
        /// An inode's bytes against its extents, or its size.
        case fileSize
        /// A directory's size against its names.
        case directorySize
        /// A name that is not the same in entry, index and inode reference.
        case name
        /// A file extent: overlap, alignment, bounds, or the extent that it names.
        case fileExtent
        /// A subvolume against its references and its place in a directory.
        case subvolume

        /// One or two words.
        public var words: StaticString {
            switch self {
            case .superBlock: "super block"
            case .device: "device"
            case .chunk: "chunk"
            case .deviceExtent: "device extent"
            case .blockGroup: "block group"
            case .treeBlock: "tree block"
            case .treeBlockCopy: "copy of a tree block"
            case .tree: "tree"
            case .item: "item"
            case .extent: "extent"
            case .reference: "reference"
            case .freeSpace: "free space"
            case .checksumTree: "checksum tree"
            case .missingChecksum: "checksums of a file"
            case .data: "data"
            case .inode: "inode"
            case .linkCount: "link count"
            case .fileSize: "file size"
            case .directorySize: "directory size"
            case .name: "name"
            case .fileExtent: "file extent"
            case .subvolume: "subvolume"
            }
        }
    }

    public let kind: Kind
    /// Something to know that is not wrong, such as an older copy of the super block that a commit
    /// has yet to reach. Remarks do not count as faults.
    public let isRemark: Bool
    /// Object id of the inode, where it is about one.
    public var inode: UInt64?
    /// Words, values and the rest of the place.
    public let error: FilesystemError

    init(
        _ kind: Kind,
        _ what: StaticString,
        _ value: UInt64? = nil,
        _ secondValue: UInt64? = nil,
        root: UInt64? = nil,
        inode: UInt64? = nil,
        logical: UInt64? = nil,
        slot: Int? = nil,
        devid: UInt64? = nil,
        physical: UInt64? = nil,
        isRemark: Bool = false
    ) {
        self.kind = kind
        self.isRemark = isRemark
        self.inode = inode
        error = FilesystemError(
            .corrupt,
            kind.words,
            what,
            value,
            secondValue,
            root: root,
            logical: logical,
            slot: slot,
            devid: devid,
            physical: physical
        )
    }

    init(_ kind: Kind, _ error: FilesystemError, inode: UInt64? = nil, isRemark: Bool = false) {
        self.kind = kind
        self.isRemark = isRemark
        self.inode = inode
        self.error = error
    }

    /// One line for people, such as
    /// `reference: root=5 inode=257 logical=13631488, recorded 2 times, found 1`.
    public var message: String {
        var text: [UInt8] = []
        append(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends the bytes of ``message`` (UTF-8, no final zero).
    public func append(to text: inout [UInt8]) {
        if isRemark { text.append("note: ") }
        text.append(kind.words)
        text.append(": ")
        if let inode {
            text.append("inode=")
            text.appendDecimal(inode)
            text.append(0x20)
        }
        var plain = error
        // The kind says already what this is; an error from reading has words of its own.
        plain.code = error.code == .corrupt ? .invalidArgument : error.code
        let subject = error.subject
        if subject.utf8CodeUnitCount == kind.words.utf8CodeUnitCount { plain.subject = "" }
        plain.append(to: &text)
    }
}
